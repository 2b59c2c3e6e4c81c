"""A writer is killed again and again: what it acknowledged is in the ledger, exactly once."""

import subprocess
import sys
from pathlib import Path

from cloud.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 6

WRITER = """
import sys
from pathlib import Path
from cloud.ledger import Ledger
from user_lib.contract.messages import Result

ledger = Ledger(Path(sys.argv[1]))
row = ledger.find("job-1")
first = row.results + 1
while True:
    for i in range(first, first + 3):
        ledger.add_result(row, Result(
            assignment_id="job-1", vehicle_id="kona-1", epoch="e", iteration=i, status="ok",
            value="x" * 2000, method="mean", dbc_hash="d", window_start_ns=0, window_stop_ns=1,
            agent_version="1", created_ns=0), i)
    ledger.commit()
    for i in range(first, first + 3):
        sys.stdout.write(f"{i}\\n")
    sys.stdout.flush()
    first += 3
"""

SETUP = """
import sys
from pathlib import Path
from cloud.ledger import AssignmentRow, Ledger
from user_lib.contract.validation import parse
from user_lib.contract.states import JobState

ledger = Ledger(Path(sys.argv[1]))
spec = parse({"signals": ["S"], "onboard": "mean", "window": {"samples": 1}})
row = AssignmentRow(
    row=0, assignment_id="job-1", analyst="ada", spec=spec, state=JobState.RUNNING, reason="",
    detail="", created_ns=1, started_ns=1, ended_ns=None, last_seq=0, results=0, rounds_closed=0)
ledger.assignments.add(row, "t", ["kona-1"])
ledger.commit()
ledger.close()
"""


def test_everything_acknowledged_survives_kill_minus_nine(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    subprocess.run([sys.executable, "-c", SETUP, str(path)], check=True, cwd=ROOT)
    acknowledged: set[int] = set()

    for life in range(ROUNDS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(20 + 7 * life):
            acknowledged.add(int(writer.stdout.readline()))
        writer.kill()
        rest = writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        acknowledged.update(int(line) for line in rest.split(b"\n")[:-1])

        ledger = Ledger(path)
        row = ledger.find("job-1")
        assert row is not None
        kept = _all_iterations(ledger)
        ledger.close()
        assert acknowledged <= set(kept)
        assert len(kept) == len(set(kept)) == row.results == row.last_seq
        assert max(kept) - max(acknowledged) <= 3


def _all_iterations(ledger: Ledger) -> list[int]:
    row = ledger.find("job-1")
    assert row is not None
    found: list[int] = []
    after = 0
    while after < row.last_seq:
        page = ledger.events.page(row, after, 1000, ("result",))
        found += [e.item.iteration for e in page.events]
        after = page.next_seq
    return found
