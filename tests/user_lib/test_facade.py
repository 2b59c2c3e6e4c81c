import subprocess
import sys

import pytest

import user_lib


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import user_lib", "import user_lib.contract.assignment", "from user_lib import Result"],
)
def test_the_contract_loads_neither_sockets_nor_the_sandbox(statement: str) -> None:
    loaded = modules_after(statement)

    assert "zmq" not in loaded
    assert not {m for m in loaded if m.split(".")[0] in ("agent", "cloud", "hw", "dbc")}


def test_every_name_of_the_facade_is_there() -> None:
    for name in user_lib.__all__:
        assert getattr(user_lib, name) is not None
    assert set(user_lib.__all__) <= set(dir(user_lib))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fleat'"):
        _ = user_lib.fleat
