"""Speed of reading candump logs, alone and into the rings, against python-can and cantools.

Run ``python -m tests.benchmarks logs``. "Into the rings": from a file to the history from which
any signal's window is read, against python-can's reader, cantools, and a deque a signal. The log is
of a generated bus of VW MQB's shape: 100 ids, 8 bytes, 14 signals a frame.
"""

import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import can
import cantools
import numpy as np

from agent.signals.recording import Recording
from dbc import Catalog, DatabaseRef, Decoder, load
from hw import read_log, simulate, write_candump
from tests.benchmarks.decode import frames, generated_dbc
from tests.benchmarks.ratios import Row, cpu_ns, medians

__all__ = ["run"]

ROUNDS = 7
FRAMES, NAIVE_FRAMES = 200_000, 10_000
START_NS = 1_700_000_000_000_000_000
RING_SAMPLES = 10_000


def naive(log: Path, known: cantools.database.Database) -> None:
    """Decode a log into rings as one would with python-can and cantools alone."""
    rings: dict[tuple[int, str], deque[tuple[float, float]]] = {}
    for message in can.CanutilsLogReader(str(log)):
        values = known.decode_message(message.arbitration_id, message.data, decode_choices=False)
        for name, value in values.items():
            key = (message.arbitration_id, name)
            if key not in rings:
                rings[key] = deque(maxlen=RING_SAMPLES)
            rings[key].append((message.timestamp, value))


def into_rings(log: Path, catalog: Catalog) -> None:
    recording = Recording(catalog, ["can0"], history_mb=64)
    for batch in read_log(log):
        recording.add(batch)


def all_decoded(log: Path, decoder: Decoder) -> None:
    for batch in read_log(log):
        decoder.decode_batch(batch)


def reading(log: Path) -> None:
    read_log(log).scan()


def python_can_reading(log: Path) -> None:
    for _ in can.CanutilsLogReader(str(log)):
        pass


def run() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "generated.dbc"
        database.write_text(generated_dbc())
        catalog = load([DatabaseRef(database, "can0")])
        batch = frames(catalog, FRAMES)
        batch.time_ns[:] += START_NS
        log, short = folder / "whole.log", folder / "short.log"
        write_candump(log, [batch], ["can0"])
        write_candump(short, [batch.take(np.s_[:NAIVE_FRAMES])], ["can0"])
        decoder = Decoder(catalog, ["can0"])
        known = cantools.database.load_file(database)
        stack = "python-can + cantools + deques"
        pairs = {"rings": [], "decoded": [], "reading": []}
        for _ in range(ROUNDS):
            slow = cpu_ns(lambda: naive(short, known), NAIVE_FRAMES)
            pairs["rings"].append((cpu_ns(lambda: into_rings(log, catalog), FRAMES), slow))
            pairs["decoded"].append((cpu_ns(lambda: all_decoded(log, decoder), FRAMES), slow))
            plain = cpu_ns(lambda: python_can_reading(short), NAIVE_FRAMES)
            pairs["reading"].append((cpu_ns(lambda: reading(log), FRAMES), plain))
        yield row("log to rings", stack, pairs["rings"], least=20, aim=30)
        yield row("log to all values", stack, pairs["decoded"])
        yield row("candump reading alone", "python-can", pairs["reading"])
        yield drive_row(folder / "drive.log")


def drive_row(log: Path) -> Row:
    """A simulated drive: shorter payloads, 3 % CAN FD frames in between."""
    drive = simulate("compact", 7, 60.0)
    count = write_candump(log, drive, drive.channels)
    rounds = [
        (cpu_ns(lambda: reading(log), count), cpu_ns(lambda: python_can_reading(log), count))
        for _ in range(ROUNDS)
    ]
    return row("candump reading, 3 % CAN FD", "python-can", rounds)


def row(
    what: str,
    against: str,
    rounds: list[tuple[float, float]],
    least: float | None = None,
    aim: float | None = None,
) -> Row:
    ours, theirs, ratio = medians(rounds)
    return Row(what, against, f"{ours:.0f} ns", f"{theirs:.0f} ns", ratio, least, aim)
