"""How busy each bus is, as signals: ``@bus.CHANNEL.load``, ``load_worst``, ``frames``, ``errors``.

Each bus has a message of its own in the catalog, which no bus carries: one row for every 100 ms of
source time, on a grid that does not depend on when the recording began or how it was cut. A row has
the time of its interval's end, and counts the frames with ``end - 100 ms <= t < end``, known to a
database or not. The interval in which the recording began is not whole and has no row; nor have
those in which all buses slept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.signals.frame_time import Bitrate, FrameTimes
from agent.signals.history import History
from agent.signals.ring import Rows
from agent.signals.timeline import LATENESS_NS, SLEEP_NS
from dbc import Catalog, MessageDef, SignalDef
from dbc.model import NO_IDENTIFIER
from user_lib.contract.clock import MS
from user_lib.contract.frames import ERROR, FrameBatch

__all__ = ["INTERVAL_NS", "BusMeter", "bus_message", "with_buses"]

INTERVAL_NS = 100 * MS
_ROW = np.dtype([("busy", "<u8"), ("worst", "<u8"), ("frames", "<u4"), ("errors", "<u4")])
_PER_CENT = 100 / INTERVAL_NS
_MOST = np.iinfo(np.uint32).max


def bus_message(channel: str) -> MessageDef:
    """Return the message whose rows tell of a bus."""
    return MessageDef(
        name=f"@bus.{channel}" if channel else "@bus",
        can_id=NO_IDENTIFIER,
        extended=False,
        length=_ROW.itemsize,
        channel=channel,
        cycle_time_ms=INTERVAL_NS / MS,
        signals=(
            SignalDef(name="load", start=0, length=48, scale=_PER_CENT, unit="%", minimum=0),
            SignalDef(name="load_worst", start=64, length=48, scale=_PER_CENT, unit="%", minimum=0),
            SignalDef(name="frames", start=128, length=32, minimum=0),
            SignalDef(name="errors", start=160, length=32, minimum=0),
        ),
    )


def with_buses(catalog: Catalog, channels: Sequence[str]) -> Catalog:
    """Return the catalog with a message for each bus, in their order, behind all others."""
    buses = tuple(bus_message(channel) for channel in channels)
    return replace(catalog, messages=(*catalog.messages, *buses))


class BusMeter:
    """Adds up what the frames of each bus take, and writes a row when an interval is complete.

    ``first_message`` is the index of the first bus's message in the history.
    """

    def __init__(
        self,
        history: History,
        first_message: int,
        channels: Sequence[str],
        rates: Mapping[str, Bitrate],
    ) -> None:
        self._history, self._first_message, self._buses = history, first_message, len(channels)
        self._times = FrameTimes([rates.get(channel, Bitrate()) for channel in channels])
        self._open = np.zeros((4, self._buses, 0))
        """Sums of the intervals that are not complete, by the fields of a row."""
        self._next = 0
        """The number of the interval that the first of these is."""
        self._latest_ns: int | None = None

    def add(self, batch: FrameBatch, time_ns: NDArray[np.int64]) -> None:
        """Count frames at the times where `Timeline.place` put them."""
        if self._latest_ns is None:
            self._latest_ns = int(time_ns[0])
            self._next = -(-self._latest_ns // INTERVAL_NS)
        if int(time_ns.max()) - self._latest_ns <= SLEEP_NS:
            self._count(batch, time_ns)
        else:
            for awake in self._periods(time_ns):
                self._count(batch.take(awake), time_ns[awake])
        self.complete(self._latest_ns - LATENESS_NS)

    def _periods(self, time_ns: NDArray[np.int64]) -> Iterator[slice]:
        """Yield the parts between which all buses slept; complete what is before a sleep."""
        newest = np.maximum.accumulate(np.concatenate([[self._latest_ns or 0], time_ns]))
        woke = np.flatnonzero(np.diff(newest) > SLEEP_NS)
        start = 0
        for place in woke.tolist():
            if place > start:
                yield slice(start, place)
            self.complete((int(newest[place]) // INTERVAL_NS + 1) * INTERVAL_NS)
            # frames of before the one that woke us may still come, by as much
            awake_ns = int(newest[place + 1]) - LATENESS_NS
            self._next = max(self._next, awake_ns // INTERVAL_NS)
            start = place
        yield slice(start, len(time_ns))

    def _count(self, batch: FrameBatch, time_ns: NDArray[np.int64]) -> None:
        self._latest_ns = max(self._latest_ns or 0, int(time_ns.max()))
        interval = time_ns // INTERVAL_NS - self._next
        bus = batch.bus.astype(np.intp)
        cell = self._times.cells(bus, batch.flags, batch.length)
        error = (batch.flags & ERROR) != 0
        if int(interval.min()) < 0:  # in the interval in which the recording began
            whole = interval >= 0
            interval, bus, cell, error = interval[whole], bus[whole], cell[whole], error[whole]
        width = int(interval.max(initial=-1)) + 1
        if width > self._open.shape[2]:
            more = np.zeros((4, self._buses, width - self._open.shape[2]))
            self._open = np.concatenate([self._open, more], axis=2)
        place, size = bus * width + interval, self._buses * width
        expected, worst = self._times.expected_ns, self._times.worst_ns
        sums = [np.bincount(place, of.take(cell), size) for of in (expected, worst)]
        sums.append(np.bincount(place[~error], minlength=size))
        if error.any():
            sums.append(np.bincount(place[error], minlength=size))
        for field, found in enumerate(sums):
            self._open[field, :, :width] += found.reshape(self._buses, width)

    def complete(self, known_ns: int) -> None:
        """Write the rows of the intervals that end by ``known_ns``: no frame of theirs follows."""
        n = known_ns // INTERVAL_NS - self._next
        if n <= 0:
            return
        sums = np.zeros((4, self._buses, n))
        there = min(n, self._open.shape[2])
        sums[:, :, :there] = self._open[:, :, :there]
        self._open = self._open[:, :, there:]
        ends_ns = (np.arange(self._next, self._next + n) + 1) * INTERVAL_NS
        self._next += n
        for bus in range(self._buses):
            self._write(self._first_message + bus, ends_ns, sums[:, bus])

    def _write(self, message: int, time_ns: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
        rows = np.zeros(len(time_ns), _ROW)
        rows["busy"], rows["worst"] = sums[0], sums[1]
        rows["frames"], rows["errors"] = np.minimum(sums[2:], _MOST)
        length = np.full(len(rows), _ROW.itemsize, np.uint16)
        data = rows.view(np.uint8).reshape(len(rows), _ROW.itemsize)
        source = np.zeros(len(rows), np.uint8)
        self._history.ring(message).append(Rows(0, time_ns, length, source, data))
