"""Frames into the history, and what a bus of 4,000 frames/s with 10 subscribed signals costs.

Run ``python tests/benchmarks/history.py``.
"""

import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.signals.cursors import open_cursor
from agent.signals.hub import SignalHub
from agent.signals.plan import plan_of
from agent.signals.profile import Profile
from agent.signals.recording import Recording
from dbc import DatabaseRef, load
from hw import SourceStats
from user_lib.contract.frames import FrameBatch
from user_lib.contract.validation import parse

MESSAGES, SIGNALS = 100, 4
RATE = 4_000
SECONDS = 10


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def database(path: Path) -> Path:
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: A"]
    for m in range(MESSAGES):
        lines.append(f"BO_ {256 + m} M{m}: 8 A")
        lines += [
            f' SG_ S{s} : {16 * s}|16@{s % 2}+ (0.01,0) [0|655] "" A'
            if s % 2
            else f' SG_ S{s} : {16 * s + 7}|16@0+ (0.01,0) [0|655] "" A'
            for s in range(SIGNALS)
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def frames(n: int, start_ns: int) -> FrameBatch:
    rng = np.random.default_rng(1)
    batch = FrameBatch.zeros(n)
    batch.time_ns[:] = start_ns + np.arange(n) * (1_000_000_000 // RATE)
    batch.can_id[:] = 256 + rng.integers(0, MESSAGES, n)
    batch.length[:] = 8
    batch.data[:] = rng.integers(0, 256, (n, 8))
    return batch


def into_rings(path: Path, size: int) -> float:
    """Seconds a frame when batches of ``size`` go into a history of 64 MB that is full."""
    recording = Recording(load([DatabaseRef(path=path, channel="b")]), ["b"], history_mb=64)
    batches = [frames(size, i * size * 250_000) for i in range(max(200_000 // size, 20))]
    runs = []
    for run in range(5):
        for batch in batches:
            batch.time_ns[:] += min(run, 1) * size * len(batches) * 250_000
        started = time.perf_counter()
        for batch in batches:
            recording.add(batch)
        runs.append((time.perf_counter() - started) / (size * len(batches)))
    return statistics.median(runs)


def reading(path: Path) -> dict[str, float]:
    """Seconds to build a window of 1,000 samples, by the number of signals and messages."""
    recording = Recording(load([DatabaseRef(path=path, channel="b")]), ["b"], history_mb=64)
    for i in range(100):
        recording.add(frames(8192, i * 8192 * 250_000))
    found = {}
    for label, names in (
        ("1 signal", ["M0.S0"]),
        ("4 signals of 1 message", [f"M0.S{s}" for s in range(4)]),
        ("10 signals of 10 messages", [f"M{m}.S0" for m in range(10)]),
    ):
        spec = parse({"signals": names, "onboard": "mean", "window": {"samples": 1000}})
        cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
        started, n = time.perf_counter(), 0
        while cursor.take() is not None:
            n += 1
        found[label] = (time.perf_counter() - started) / n
    return found


class Bus:
    """A live bus at a steady rate; frames appear as time passes."""

    channels, live = ("b",), True

    def __init__(self) -> None:
        self._frames = frames(RATE * (SECONDS + 5), 0)
        self._started = time.monotonic()
        self._sent = 0

    def read(self, timeout_s: float) -> FrameBatch:
        due = int((time.monotonic() - self._started) * RATE)
        batch = self._frames.take(slice(self._sent, due))
        self._sent = due
        return batch

    def stats(self) -> SourceStats:
        return SourceStats()

    def close(self) -> None:
        pass


def live(path: Path, tick_ms: float, subscribed: int) -> tuple[float, int, float]:
    """CPU share of a core, windows delivered, and the worst lateness of a tick in ms."""
    profile = Profile("bench", "bench", (DatabaseRef(path=path, channel="b"),))
    hub = SignalHub(profile, [Bus()], history_mb=64, tick_ms=tick_ms)
    delivered = 0

    def subscribe(m: int) -> None:
        spec = parse({"signals": [f"M{m}.S0"], "onboard": "mean", "window": {"samples": 40}})

        def deliver(delivery: object) -> None:
            nonlocal delivered
            delivered += 1
            subscription.request()

        subscription = hub.subscribe(spec, deliver)
        subscription.request()

    for m in range(subscribed):
        subscribe(m)
    hub.start()
    before = resource.getrusage(resource.RUSAGE_SELF)
    threading.Event().wait(SECONDS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    lag_ms = hub.stats()["pump.lag_ms"]
    hub.close()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / SECONDS, delivered, lag_ms


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = database(Path(folder) / "bench.dbc")
        for size in (80, 256, 1024, 8192):
            cost = into_rings(path, size)
            say(
                f"into rings, batches of {size:5}: {cost * 1e6:6.2f} us a frame, "
                f"{1 / cost:12,.0f} frames/s"
            )
        for label, cost in reading(path).items():
            say(f"window of 1,000 samples, {label:26}: {cost * 1e6:7.0f} us")
        for tick_ms in (10, 20, 50):
            for subscribed in (0, 10):
                share, n, lag_ms = live(path, tick_ms, subscribed)
                say(
                    f"{RATE} frames/s, tick {tick_ms} ms, {subscribed:2} subscriptions: "
                    f"{share:6.1%} of a core, {n} windows, lag {lag_ms:.1f} ms"
                )


if __name__ == "__main__":
    main()
