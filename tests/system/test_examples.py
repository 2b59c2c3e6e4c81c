"""Each example as an analyst runs it: a script, a fleet, something to read."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import user_lib.examples

pytestmark = pytest.mark.timeout(240)

FOLDER = Path(user_lib.examples.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_there_is_an_example_for_each_published_use_case() -> None:
    assert NAMES == [
        "batch",
        "code_swap_ab",
        "federated_learning",
        "mapreduce",
        "monitoring",
        "sampling",
        "stream",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs_as_a_script(simulated_world: Any, name: str, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        **simulated_world.local.environ(f"reader-of-{name}"),
        "PYTHONPATH": str(FOLDER.parents[1]),
    }
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=200,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
