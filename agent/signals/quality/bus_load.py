"""How busy each bus is, as signals: ``@bus.CHANNEL.load``, ``load_worst``, ``frames``, ``errors``.

Each bus has a message of its own in the catalog, which no bus carries: one row for every 100 ms of
source time, on a grid that does not depend on when the recording began or how it was cut. A row has
the time of its interval's end, and counts the frames with ``end - 100 ms <= t < end``, known to a
database or not. The interval in which the recording began is not whole and has no row; nor have
those in which all buses slept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.payloads import History
from agent.signals.history.rows import Rows
from agent.signals.quality.frame_time import Bitrate, FrameTimes
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
_MOST_HELD = 4096


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


class _Frames(NamedTuple):
    """What counts of frames. Shapes: (n,)."""

    time_ns: NDArray[np.int64]
    bus: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]

    def part(self, which: slice | NDArray[np.bool_]) -> "_Frames":
        return _Frames(self.time_ns[which], self.bus[which], self.flags[which], self.length[which])


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
        rate_of = [rates.get(channel, Bitrate()) for channel in channels]
        self._times = {rate: FrameTimes(rate) for rate in rate_of}
        self._with_rate = {rate: np.array([own == rate for own in rate_of]) for rate in self._times}
        self._open = np.zeros((4, self._buses, 0))
        """Sums of the intervals that are not complete, by the fields of a row."""
        self._next = 0
        """The number of the interval that the first of these is."""
        self._first_ns: int | None = None
        self._latest_ns = 0
        self._held: list[_Frames] = []
        self._held_frames = 0
        self._watched = False
        self._before_held_ns = 0
        """The newest time before the frames that are held."""

    def add(self, batch: FrameBatch, time_ns: NDArray[np.int64]) -> None:
        """Count frames at the times where `Timeline.place` put them.

        They are held to be counted together: until an interval is complete, if someone watches.
        """
        if self._first_ns is None:
            self._first_ns = self._latest_ns = self._before_held_ns = int(time_ns[0])
            self._next = -(-self._first_ns // INTERVAL_NS)
        before_ns, self._latest_ns = self._latest_ns, max(self._latest_ns, int(time_ns.max()))
        self._held.append(_Frames(time_ns, batch.bus, batch.flags, batch.length))
        self._held_frames += len(time_ns)
        completes = self._watched and self._known_ns >= (self._next + 1) * INTERVAL_NS
        slept = self._latest_ns - before_ns > SLEEP_NS
        if completes or slept or self._held_frames >= _MOST_HELD:
            self._count_held(slept=slept)
            self._complete(self._known_ns)

    @property
    def _known_ns(self) -> int:
        """The time below which every frame is in."""
        return self._latest_ns - LATENESS_NS

    def watch(self) -> None:
        """Write every row as soon as it is complete, from now on."""
        self._watched = True
        self._count_held(slept=False)
        if self._first_ns is not None:
            self._complete(self._known_ns)

    def finish(self) -> None:
        """Count what is left; no frame will follow."""
        if self._first_ns is not None:
            self._count_held(slept=False)
            self._complete(self._latest_ns + 1)

    def _count_held(self, *, slept: bool) -> None:
        if not self._held:
            return
        if len(self._held) > 1:
            frames = _Frames(*map(np.concatenate, zip(*self._held, strict=True)))
        else:
            frames = self._held[0]
        if not slept:
            self._count(frames)
        else:
            for awake in self._periods(frames.time_ns):
                self._count(frames.part(awake))
        self._held.clear()
        self._held_frames, self._before_held_ns = 0, self._latest_ns

    def _periods(self, time_ns: NDArray[np.int64]) -> Iterator[slice]:
        """Yield the parts between which all buses slept; complete what is before a sleep."""
        newest = np.maximum.accumulate(np.concatenate([[self._before_held_ns], time_ns]))
        start = 0
        for place in np.flatnonzero(np.diff(newest) > SLEEP_NS).tolist():
            if place > start:
                yield slice(start, place)
            self._complete((int(newest[place]) // INTERVAL_NS + 1) * INTERVAL_NS)
            # frames of before the one that woke us may still come, by as much
            awake_ns = int(newest[place + 1]) - LATENESS_NS
            self._next = max(self._next, awake_ns // INTERVAL_NS)
            start = place
        yield slice(start, len(time_ns))

    def _count(self, frames: _Frames) -> None:
        interval = frames.time_ns // INTERVAL_NS - self._next
        if int(interval.min()) < 0:  # in the interval in which the recording began
            whole = interval >= 0
            frames, interval = frames.part(whole), interval[whole]
        width = max(int(interval.max(initial=-1)) + 1, self._open.shape[2])
        if width > self._open.shape[2]:
            more = np.zeros((4, self._buses, width - self._open.shape[2]))
            self._open = np.concatenate([self._open, more], axis=2)
        place = frames.bus.astype(np.intp) * width + interval

        def sums(of: NDArray[np.intp], weights: NDArray[np.float64] | None) -> NDArray[Any]:
            return np.bincount(of, weights, self._buses * width).reshape(self._buses, width)

        cell = FrameTimes.cells(frames.flags, frames.length)
        for rate, times in self._times.items():
            buses = self._with_rate[rate]
            self._open[0, buses] += sums(place, times.expected_ns.take(cell))[buses]
            self._open[1, buses] += sums(place, times.worst_ns.take(cell))[buses]
        self._open[2] += sums(place, None)
        error = (frames.flags & ERROR) != 0
        if error.any():
            errors = sums(place[error], None)
            self._open[2] -= errors
            self._open[3] += errors

    def _complete(self, known_ns: int) -> None:
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
