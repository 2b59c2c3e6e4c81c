"""Speed of reading candump logs against python-can, on drives of our own making.

Run ``python tests/benchmarks/log_reading.py``. Ratios are medians of paired runs: every round times
both readers on the same log, so that a busy machine slows each alike.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import can

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hw import read_log, simulate, write_candump
from user_lib.contract.frames import FD, FrameBatch

ROUNDS = 7
DRIVE_S = 300.0


def seconds(run: Callable[[], int]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def write_log(path: Path, *, classic_only: bool) -> int:
    """Write a drive of the compact car, with or without its CAN FD message; return the frames."""
    drive = simulate("compact", 7, DRIVE_S)

    def kept(batch: FrameBatch) -> FrameBatch:
        return batch.take((batch.flags & FD) == 0) if classic_only else batch

    return write_candump(path, (kept(batch) for batch in drive), drive.channels)


def measure(path: Path, frames: int) -> tuple[float, float, float]:
    """Return ns a frame of both readers, and the median ratio."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: read_log(path).scan()) / frames * 1e9)
        theirs.append(
            seconds(lambda: sum(1 for _ in can.CanutilsLogReader(str(path)))) / frames * 1e9
        )
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)


def main() -> None:
    sys.stdout.write(
        f"{'candump log':16} {'frames':>8} {'hw, ns':>8} {'python-can, ns':>15} {'ratio':>7}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, classic_only in (("classic CAN", True), ("with 3 % CAN FD", False)):
            path = Path(folder) / "drive.log"
            frames = write_log(path, classic_only=classic_only)
            ours, theirs, ratio = measure(path, frames)
            sys.stdout.write(f"{name:16} {frames:8} {ours:8.0f} {theirs:15.0f} {ratio:6.1f}x\n")


if __name__ == "__main__":
    main()
