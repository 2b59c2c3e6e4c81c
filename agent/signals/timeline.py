"""Source time: what the stamps of all buses together say about what is known up to when.

Stamps repeat, and step back a little where buses are recorded together. The rules, which do not
depend on how the stream is cut into batches:

* A frame may be up to `LATENESS_NS` older than the newest seen before it. One that is later still
  is placed exactly that far back, and counted. So below the *watermark*, which trails the newest
  stamp by `LATENESS_NS`, nothing will ever appear: what ends there is complete.
* A source whose stamps jump back by more than `RESTART_NS` has begun again (or one of its stamps
  was wrong): from there on its stamps are moved so that time goes on; counted.
* Between two frames more than `SLEEP_NS` apart the buses slept.
"""

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.clock import MS, SECOND
from user_lib.contract.frames import FrameBatch

__all__ = ["LATENESS_NS", "RESTART_NS", "SLEEP_NS", "SourceTime", "Timeline", "rising"]

LATENESS_NS = 50 * MS
"""The recorded drives step back by up to 22 ms from bus to bus."""
RESTART_NS = 60 * SECOND
SLEEP_NS = 1 * SECOND
_SLEEPS_KEPT = 1024


def rising(time_ns: NDArray[np.int64]) -> bool:
    """Whether no time is behind the one before it, as it is nearly always."""
    return bool((time_ns[1:] >= time_ns[:-1]).all())


class SourceTime:
    """The stamps of one source, moved forward where it begins again."""

    def __init__(self) -> None:
        self._latest_ns: int | None = None
        self.offset_ns = 0
        """By how much stamps are moved."""
        self.restarts = 0

    def follow(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the stamps as times that never jump back by more than `RESTART_NS`."""
        if not len(time_ns):
            return time_ns
        moved = time_ns + self.offset_ns if self.offset_ns else time_ns
        if self._goes_on(moved):
            self._latest_ns = int(moved[-1])
            return moved
        before = np.empty_like(moved)
        before[0] = moved[0] if self._latest_ns is None else self._latest_ns
        before[1:] = moved[:-1]
        np.maximum.accumulate(before, out=before)
        jumps = np.flatnonzero(moved < before - RESTART_NS)
        if not len(jumps):
            self._latest_ns = max(int(before[-1]), int(moved[-1]))
            return moved
        first = int(jumps[0])
        self._latest_ns = int(before[first])
        self.offset_ns += self._latest_ns - int(moved[first])
        self.restarts += 1
        return np.concatenate([moved[:first], self.follow(time_ns[first:])])

    def _goes_on(self, moved: NDArray[np.int64]) -> bool:
        return (self._latest_ns is None or self._latest_ns <= moved[0]) and rising(moved)

    def follow_batch(self, batch: FrameBatch) -> FrameBatch:
        """Return the batch with its stamps moved."""
        time_ns = self.follow(batch.time_ns)
        return batch if time_ns is batch.time_ns else replace(batch, time_ns=time_ns)


class Timeline:
    """Places the frames of the merged stream in source time and knows what is complete."""

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._latest_ns = 0
        self._over = False
        self._sleeps: deque[tuple[int, int]] = deque(maxlen=_SLEEPS_KEPT)
        self.late = 0
        """Frames that came more than `LATENESS_NS` late and were moved."""
        self.slept_ns = 0

    @property
    def first_ns(self) -> int | None:
        """The time of the first frame; None before it."""
        return self._first_ns

    @property
    def latest_ns(self) -> int | None:
        """The newest time seen; None before the first frame."""
        return None if self._first_ns is None else self._latest_ns

    @property
    def watermark_ns(self) -> int | None:
        """The time below which everything has been seen; None before the first frame."""
        if self._first_ns is None:
            return None
        if self._over:
            return self._latest_ns + 1
        return max(self._first_ns, self._latest_ns - LATENESS_NS)

    def place(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time that each frame gets, at most `LATENESS_NS` before the newest."""
        if not len(time_ns):
            return time_ns
        if self._first_ns is None:
            self._first_ns = self._latest_ns = int(time_ns[0])
        if self._latest_ns <= time_ns[0] and rising(time_ns):
            before_ns, self._latest_ns = self._latest_ns, int(time_ns[-1])
            if self._latest_ns - before_ns > SLEEP_NS:
                self._note_sleeps(np.concatenate([[before_ns], time_ns]))
            return time_ns
        newest = np.empty(len(time_ns) + 1, np.int64)
        newest[1:] = time_ns
        newest[0] = self._latest_ns
        np.maximum.accumulate(newest, out=newest)
        self._note_sleeps(newest)
        self._latest_ns = int(newest[-1])
        earliest = np.maximum(newest[1:] - LATENESS_NS, self._first_ns)
        placed = np.maximum(time_ns, earliest)
        self.late += int(np.count_nonzero(placed != time_ns))
        return placed

    def _note_sleeps(self, newest: NDArray[np.int64]) -> None:
        gaps = np.diff(newest)
        for i in np.flatnonzero(gaps > SLEEP_NS):
            self._sleeps.append((int(newest[i]), int(newest[i + 1]) - LATENESS_NS))
            self.slept_ns += int(gaps[i])

    def finish(self) -> None:
        """Say that no frame will follow: everything seen is complete."""
        self._over = True

    def slept_through(self, start_ns: int, stop_ns: int) -> int | None:
        """Return when the buses woke, if there is no frame at all with ``start <= t < stop``."""
        for asleep_ns, awake_ns in reversed(self._sleeps):
            if awake_ns < start_ns:
                return None
            if asleep_ns < start_ns and stop_ns <= awake_ns:
                return awake_ns
        return None
