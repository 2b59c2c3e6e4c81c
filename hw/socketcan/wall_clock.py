"""From the kernel's stamps, which are of the wall clock, to times that no setting of it moves.

The wall clock is the monotonic clock plus a number that changes only when the wall clock is set.
The number is kept as long as it holds; both clocks are read once a batch to see whether it does.
When it was set while the frames of one batch came in, the step shows in their stamps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.clock import Clock

__all__ = ["ArrivalTimes", "Reading", "monotonic_of"]

_HOLDS_NS = 200_000
"""Readings that differ by less are taken for the same: reading two clocks takes time."""
_CLOSE_NS = 50_000
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment: the monotonic one, and how far the wall clock is ahead of it."""

    monotonic_ns: int
    ahead_ns: int


def read_clocks(clock: Clock) -> Reading:
    """Read both clocks, again if something came between the one and the other."""
    best_ns, best = 1 << 62, Reading(0, 0)
    for _ in range(_TRIES):
        before_ns = clock.monotonic_ns()
        wall_ns = clock.unix_ns()
        after_ns = clock.monotonic_ns()
        if after_ns - before_ns < best_ns:
            best_ns = after_ns - before_ns
            best = Reading(after_ns, wall_ns - (before_ns + after_ns) // 2)
        if best_ns <= _CLOSE_NS:
            break
    return best


def monotonic_of(stamps_ns: NDArray[np.int64], before: Reading, now: Reading) -> NDArray[np.int64]:
    """Return when the frames arrived that came between two readings of the clocks.

    Shapes: (n,), in the order of arrival.
    Units:  stamps, ns of the wall clock, 0 for none (the frame then came now); result, ns of the
            monotonic clock.
    """
    times = stamps_ns - now.ahead_ns
    step_ns = now.ahead_ns - before.ahead_ns
    if step_ns:
        first, last = before.monotonic_ns + before.ahead_ns, now.monotonic_ns + now.ahead_ns
        gaps = np.diff(stamps_ns, prepend=first, append=last)
        set_at = int(np.argmax(gaps) if step_ns > 0 else np.argmin(gaps))
        times[:set_at] += step_ns
        np.maximum(times, before.monotonic_ns, out=times)
    times[stamps_ns == 0] = now.monotonic_ns
    return np.minimum(times, now.monotonic_ns)


class ArrivalTimes:
    """Times of a live source: ns since the epoch at its opening, from then on monotonic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before = read_clocks(clock)
        self._epoch_ns = self._before.ahead_ns

    def now_ns(self) -> int:
        """Return the source time of a frame that would come now."""
        return self._clock.monotonic_ns() + self._epoch_ns

    def of(self, stamps_ns: NDArray[np.int64], bus: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the source times of frames that arrived since the last call.

        Shapes: (n,); those of one bus are in the order of arrival. Units: as `monotonic_of`.
        """
        now = read_clocks(self._clock)
        if abs(now.ahead_ns - self._before.ahead_ns) < _HOLDS_NS:
            now = Reading(now.monotonic_ns, self._before.ahead_ns)
            times = monotonic_of(stamps_ns, now, now)
        else:
            times = np.empty_like(stamps_ns)
            for number in np.unique(bus):
                rows = bus == number
                times[rows] = monotonic_of(stamps_ns[rows], self._before, now)
        self._before = now
        return times + self._epoch_ns
