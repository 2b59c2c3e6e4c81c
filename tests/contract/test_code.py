"""A module that cannot work is refused before it is sent, with the line and what to do."""

import pytest

from user_lib.contract.code import MAX_SOURCE_BYTES, check, version_of
from user_lib.contract.errors import CodeError


@pytest.mark.parametrize(
    "source",
    [
        "def custom(xs):\n    return 1\n",
        "import numpy as np\ndef custom(data, params):\n    return np.mean(data['a'])\n",
        "from user_lib import Result\ndef custom(data, params, k=3):\n    return Result(1, 2)\n",
        "def custom(*args):\n    return 1\n",
    ],
)
def test_a_good_module_passes(source: str) -> None:
    check(source)


@pytest.mark.parametrize(
    ("source", "says", "line"),
    [
        ("def custom(xs:\n", "does not parse", 1),
        ("x = 1\n", "no function custom", None),
        ("def custm(xs): return 1\n", "no function custom", None),
        ("class A:\n    def custom(self): pass\n", "no function custom", None),
        ("def custom(): return 1\n", "0 argument", 1),
        ("\ndef custom(a, b, c): return 1\n", "3 argument", 2),
        ("def custom(xs):\n    import os\n", "'os' is not allowed", 2),
        ("from ..x import y\ndef custom(xs): pass\n", "'..x' is not allowed", 1),
        ("import nunpy\ndef custom(xs): pass\n", "did you mean numpy", 1),
        ("#" * (MAX_SOURCE_BYTES + 1), "bytes", None),
        ("def custom(xs): pass\0", "does not parse", None),
        ("(" * 10_000, "does not parse", 1),
    ],
)
def test_a_bad_module_is_refused(source: str, says: str, line: int | None) -> None:
    with pytest.raises(CodeError, match=says) as caught:
        check(source)

    assert caught.value.line == line


def test_a_stricter_policy_refuses_more() -> None:
    with pytest.raises(CodeError, match="'numpy' is not allowed; allowed are math"):
        check("import numpy\ndef custom(xs): pass", allowed=frozenset({"math"}))


def test_a_version_is_the_hash_of_its_source() -> None:
    assert version_of("def custom(xs): return 1") != version_of("def custom(xs): return 2")
    assert len(version_of("")) == 64


def test_code_nested_too_deeply_is_refused_in_words() -> None:
    with pytest.raises(CodeError, match=r"nested too deeply|recursion"):
        check("def custom(xs): return " + "-" * 50_000 + "1")
