"""What `apply` returned from is on disk, whole, however the process ends."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from agent.store import Store
from user_lib.contract.messages import Result

ROUNDS = 12
WRITER = """
import sys
from pathlib import Path
from agent.store import Enqueue, SavePosition, SaveTask, Store
from agent.tasks.task import Position
from user_lib.contract.validation import parse
from user_lib.contract.messages import Result

store = Store(Path(sys.argv[1]), outbox_mb=50)
if not store.tasks:
    spec = parse({"signals": ["a"], "onboard": "mean", "window": {"samples": 1}})
    store.apply([SaveTask("job-1", "ana", spec, Position(iteration=1))])
    start = 1
else:
    start = store.tasks[0].position.iteration
for i in range(start, start + 100_000):
    result = Result(
        assignment_id="job-1", epoch=store.epoch, iteration=i, status="ok", method="mean",
        value="x" * 3000, dbc_hash="d", window_start_ns=0, window_stop_ns=1, agent_version="0",
        created_ns=0,
    )
    position = Position(iteration=i + 1, committed=i, memory=i)
    store.apply([Enqueue(result, 5), SavePosition("job-1", position)])
    sys.stdout.write(f"{i}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    seeded = random.Random(7)
    epochs = set()
    said = 0
    for _ in range(ROUNDS):
        said = max(said, write_until_killed(tmp_path, lines=seeded.randint(1, 25)))
        store = Store(tmp_path, outbox_mb=50)
        epochs.add(store.epoch)
        (kept,) = store.tasks
        (entries,) = {store.entries}
        assert kept.position.memory == kept.position.committed == kept.position.iteration - 1
        assert said <= kept.position.committed
        assert entries == kept.position.committed
        store.close()

    store = Store(tmp_path, outbox_mb=50)
    iterations = [
        item.iteration
        for e in range(1, store.entries + 1)
        if isinstance(item := store.load(e), Result)
    ]
    assert iterations == list(range(1, store.entries + 1))
    assert len(epochs) == 1
    store.close()


def write_until_killed(path: Path, lines: int) -> int:
    """Let a process write until it said so many lines, and kill it; return the last line."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    last = b"0"
    for _ in range(lines):
        last = writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().splitlines()
    writer.stdout.close()
    writer.wait()
    complete = [line for line in (last, *rest) if line.strip()]
    return int(complete[-1])
