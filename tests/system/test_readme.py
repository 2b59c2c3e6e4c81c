"""The README's tutorial, pasted."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)

README = Path(__file__).resolve().parents[2] / "README.md"
TUTORIAL = "## Five minutes as an analyst"


def blocks(language: str) -> list[str]:
    section = README.read_text().partition(TUTORIAL)[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def environ(simulated_world: Any, tmp_path: Path) -> dict[str, str]:
    """Return an environment in which ``oodida`` is a command and the world is the cloud."""
    command = tmp_path / "bin" / "oodida"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m user_lib.cli "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
        **simulated_world.local.environ("newcomer-with-readme"),
    }


def test_the_tutorials_commands_work_when_pasted(environ: dict[str, str], tmp_path: Path) -> None:
    pasted = [b for b in blocks("console") if "oodida demo" not in b]
    script = "\n".join(re.sub(r"^\$ ", "", b, flags=re.MULTILINE) for b in pasted)
    activate = tmp_path / ".venv" / "bin" / "activate"  # the test's own environment is active
    activate.parent.mkdir(parents=True)
    activate.touch()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "round 10 complete" in done.stdout
    assert (tmp_path / "results.jsonl").stat().st_size > 0


def test_the_tutorials_python_works_when_pasted(environ: dict[str, str], tmp_path: Path) -> None:
    (program,) = [b for b in blocks("python") if "connect()" in b]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "armed on" in done.stdout


def test_the_readme_points_at_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())

    assert len(links) > 3
    assert [link for link in links if not (README.parent / link).exists()] == []
