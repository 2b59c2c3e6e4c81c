"""A ledger that is copied while it is in use, and one whose pages were damaged."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud.ledger import Ledger
from user_lib.contract.messages import Cancel, Ping, ReadEvents

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Any]


def run(ledger: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud", "--ledger", str(ledger), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def damage(path: Path) -> None:
    """Overwrite all pages but the first ones, as a failing disk might."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def test_a_copy_of_a_ledger_in_use_is_a_ledger(
    cloud: Any, vehicle: Make, analyst: Make, tmp_path: Path
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.settle()

    copied = run(cloud.ledger, "--backup-ledger", str(tmp_path / "copy.db"))
    assert copied.returncode == 0, copied.stderr
    assert "is whole: 1 assignments, 1 results" in copied.stderr
    again = run(cloud.ledger, "--backup-ledger", str(tmp_path / "copy.db"))
    assert (again.returncode, "exists" in again.stderr) == (2, True)

    copy = Ledger(tmp_path / "copy.db")
    row = copy.find(job)
    assert row is not None
    assert row.results == 1
    copy.close()


def test_a_damaged_ledger_is_named_by_the_check_and_at_the_start(cloud: Any, analyst: Make) -> None:
    analyst().ask(Ping())
    assert cloud.stop() == 0
    damage(cloud.ledger)

    checked = run(cloud.ledger, "--check-ledger")
    assert checked.returncode == 1
    assert "--backup-ledger" in checked.stderr
    started = run(cloud.ledger, "--insecure")
    assert started.returncode == 2
    assert "restore a copy" in started.stderr
    missing = run(cloud.ledger.with_name("none.db"), "--check-ledger")
    assert (missing.returncode, "--ledger" in missing.stderr) == (2, True)


def test_damage_that_is_found_while_running_ends_the_cloud(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)
    for i in range(1, 60):
        kona.answer(job, i, "x" * 100_000)
    kona.settle()
    ada.ask(Cancel(assignment_id=job))
    assert cloud.stop() == 0
    cloud.restart()  # nothing is left to do, so nothing is written from here on
    damage(cloud.ledger)

    analyst().post(ReadEvents(assignment_id=job, wait_s=0.0))
    assert cloud.process.wait(timeout=30) == 1
    assert "restore a copy" in cloud.log.read_text()
