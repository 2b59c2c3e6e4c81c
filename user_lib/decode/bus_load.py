"""How busy the buses of a log were: the bus load of a vehicle's ``@bus`` signals, added up."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.signals.quality.frame_time import Bitrate, FrameTimes
from user_lib.contract.clock import SECOND
from user_lib.contract.frames import ERROR, FrameBatch
from user_lib.decode.summary import BusSummary

__all__ = ["BusLoads"]

_OPEN_SECONDS = 64
"""So many seconds may still get frames: times go back where a log holds several buses."""


class BusLoads:
    """Adds up what the frames of each channel take: over the whole log, and in its worst second.

    ``bitrates`` gives the speed of a channel by its name, or by "" that of every other one.
    """

    def __init__(self, channels: Sequence[str], bitrates: Mapping[str, Bitrate]) -> None:
        self._channels = channels
        self._rates = [bitrates.get(c, bitrates.get("", Bitrate())) for c in channels]
        self._times = [FrameTimes(rate).expected_ns for rate in self._rates]
        n = len(channels)
        self._frames, self._errors = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._busy_ns, self._busiest_ns = np.zeros(n), np.zeros(n)
        self._open: dict[int, NDArray[np.float64]] = {}
        """What each bus was busy in the latest seconds; by the number of the second."""
        self._first_ns: int | None = None
        self._last_ns = 0

    def add(self, batch: FrameBatch) -> None:
        """Take further frames of the log."""
        if not len(batch):
            return
        first, last = int(batch.time_ns.min()), int(batch.time_ns.max())
        self._last_ns = last if self._first_ns is None else max(self._last_ns, last)
        self._first_ns = first if self._first_ns is None else min(self._first_ns, first)
        n = len(self._channels)
        self._frames += np.bincount(batch.bus, minlength=n)
        self._errors += np.bincount(batch.bus[(batch.flags & ERROR) != 0], minlength=n)
        taken = np.zeros(len(batch))
        cells = FrameTimes.cells(batch.flags, batch.length)
        for bus, times in enumerate(self._times):
            here = batch.bus == bus
            taken[here] = times[cells[here]]
        seconds, place = np.unique(batch.time_ns // SECOND, return_inverse=True)
        busy = np.zeros((len(seconds), n))
        np.add.at(busy, (place, batch.bus), taken)
        self._busy_ns += busy.sum(axis=0)
        for second, row in zip(seconds.tolist(), busy, strict=True):
            before = self._open.get(second)
            self._open[second] = row if before is None else before + row
        self._settle(_OPEN_SECONDS)

    def _settle(self, left: int) -> None:
        """Compare the oldest of the open seconds with the busiest, until so many are left.

        The first two stay, since the log may begin within the first (`_busiest_share`).
        """
        for second in sorted(self._open)[2 : max(2, len(self._open) - left)]:
            self._busiest_ns = np.maximum(self._busiest_ns, self._open.pop(second))

    def _busiest_share(self) -> NDArray[np.float64]:
        """Return for each bus how much of its worst second it was busy: never less than on average.

        What is short of a second, where the log begins and ends, is added to its neighbour.
        """
        begin, end = self._first_ns or 0, self._last_ns
        first, last = begin // SECOND, end // SECOND
        seconds = sorted({*self._open, first, min(first + 1, last), max(last - 1, first), last})
        busy = [self._open.get(s, np.zeros(len(self._channels))) for s in seconds]
        length = [min(end, (s + 1) * SECOND) - max(begin, s * SECOND) for s in seconds]
        for short, beside in ((0, 1), (-1, -2)):
            if len(busy) > 1 and length[short] < SECOND:
                busy[beside] = busy[beside] + busy[short]
                length[beside] += length[short]
                del busy[short], length[short]
        shares = [row / ns for row, ns in zip(busy, length, strict=True) if ns]
        busiest: NDArray[np.float64] = np.max([self._busiest_ns / SECOND, *shares], axis=0)
        return busiest

    def summary(self) -> tuple[BusSummary, ...]:
        """Return what there was on each channel, in per cent of the time."""
        busiest = self._busiest_share()
        span_ns = self._last_ns - (self._first_ns or 0)
        return tuple(
            BusSummary(
                channel=channel,
                frames=int(self._frames[bus]),
                error_frames=int(self._errors[bus]),
                load_percent=100 * float(self._busy_ns[bus]) / span_ns if span_ns else 0.0,
                busiest_second_percent=100 * float(busiest[bus]),
                bitrate=self._rates[bus].bitrate,
                data_bitrate=self._rates[bus].data_bitrate,
            )
            for bus, channel in enumerate(self._channels)
        )
