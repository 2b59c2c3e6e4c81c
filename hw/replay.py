"""A log, or anything that yields batches, played back: in real time, faster, or at once."""

import threading
from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hw.logs import Log
from hw.source import GATHER_S, SourceEnded, SourceStats, Tally
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import FrameBatch

__all__ = ["MEMORY_FRAMES", "Looped", "Playable", "Recorded", "ReplaySource", "Speed"]

Speed = float | Literal["max"]
"""How many times faster than recorded; ``"max"`` releases everything as fast as it is read."""

MEMORY_FRAMES = 50_000
"""A log of at most this many frames is parsed once and kept; a longer one is read again a pass."""


class Playable(Protocol):
    """What can be played: a recorded log or a simulated drive. Every iteration is a pass."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all buses, by index."""
        ...

    @property
    def malformed(self) -> int:
        """What of it could not be read."""
        ...

    def __iter__(self) -> Iterator[FrameBatch]: ...


class Recorded:
    """A log whose channels are all known, for a pass was made over it; short ones are kept."""

    def __init__(self, log: Log, rename: Mapping[str, str]) -> None:
        """``rename``: other names for some of the log's channels.

        Raises: SourceError, when the log cannot be read, has no frames, or lacks a channel that
        is to be renamed.
        """
        self._log = log
        self._kept: list[FrameBatch] | None = []
        frames = 0
        for batch in log:
            frames += len(batch)
            if self._kept is not None:
                self._kept.append(batch)
            if frames > MEMORY_FRAMES:
                self._kept = None
        if not frames:
            raise SourceError(f"the log {log.path} holds no frames; there is nothing to replay")
        for name in rename:
            if name not in log.channels:
                found = ", ".join(map(repr, log.channels))
                raise SourceError(f"the log {log.path} has no channel {name!r}; it has {found}")
        self.channels = tuple(rename.get(name, name) for name in log.channels)
        self.malformed = log.malformed

    def __iter__(self) -> Iterator[FrameBatch]:
        return iter(self._log if self._kept is None else self._kept)


class Looped:
    """The batches of something played, again and again, with times that go on rising.

    Each pass begins one median gap after the last frame of the pass before it.
    """

    _SAMPLED_GAPS = 65_536

    def __init__(self, played: Playable) -> None:
        self._played = played
        self.passes = 0

    def __iter__(self) -> Iterator[FrameBatch]:
        period_ns = shift_ns = 0
        while True:
            for batch in self._played if self.passes else self._measured():
                yield _shifted(batch, shift_ns) if shift_ns else batch
            if not self.passes:
                period_ns = self._period_ns
            if not period_ns:
                return
            self.passes += 1
            shift_ns += period_ns

    def _measured(self) -> Iterator[FrameBatch]:
        """Make the first pass, and find from it how long one is; 0 for one without frames."""
        gaps: list[NDArray[np.int64]] = []
        sampled = 0
        first_ns = last_ns = 0
        self._period_ns = 0
        for batch in self._played:
            if not len(batch):
                continue
            if not gaps:
                first_ns = last_ns = int(batch.time_ns[0])
            if sampled < self._SAMPLED_GAPS:
                gaps.append(np.diff(batch.time_ns))
                sampled += len(gaps[-1])
            first_ns = min(first_ns, int(batch.time_ns.min()))
            last_ns = max(last_ns, int(batch.time_ns.max()))
            yield batch
        if gaps:
            median_ns = int(np.median(np.concatenate(gaps))) if sampled else SECOND
            self._period_ns = last_ns - first_ns + max(median_ns, 1)


def _shifted(batch: FrameBatch, by_ns: int) -> FrameBatch:
    return FrameBatch(
        batch.time_ns + by_ns, batch.bus, batch.can_id, batch.flags, batch.length, batch.data
    )


class ReplaySource:
    """Plays a log back. Times stay the log's own; in a loop, they go on rising.

    At speed S a frame is released once (its time - the first frame's) / S has passed on the
    monotonic clock since the first read; a frame whose time goes back comes with the one before
    it. Nothing is dropped, and a slow reader gets its frames later; unless ``capacity_frames``
    are given: then it loses what is due on top of them, as it would of an interface.
    """

    def __init__(
        self,
        played: Playable,
        clock: Clock,
        *,
        speed: Speed = 1.0,
        loop: bool = False,
        capacity_frames: int | None = None,
    ) -> None:
        self._played, self._clock = played, clock
        self._capacity_frames = None if speed == "max" else capacity_frames
        self._dropped = 0
        self._speed: float | None = None if speed == "max" else float(speed)
        self._looped = Looped(played) if loop else None
        self._batches = iter(self._looped or played)
        self._waiting = FrameBatch.empty()
        self._due_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self._started_ns: int | None = None
        self._first_ns = 0
        self._tally = Tally()
        self._ended = False
        self._closed = threading.Event()

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the buses, by index."""
        return self._played.channels

    @property
    def live(self) -> bool:
        """True unless the log is played at full speed."""
        return self._speed is not None

    def read(self, timeout_s: float) -> FrameBatch:
        """Return the frames that are due; see `Source.read`.

        Raises: SourceEnded, after the last frame of a log that does not loop, or once closed.
        """
        if not self._closed.is_set() and not len(self._waiting):
            self._fetch()
        if self._closed.is_set() or self._ended:
            raise SourceEnded("the source was closed" if not self._ended else "the log is over")
        if self._speed is not None:
            self._wait(timeout_s)
        batch = self._due()
        if self._capacity_frames is not None:
            batch = self._bounded(batch, self._capacity_frames)
        self._tally.count(batch)
        return batch

    def _due(self) -> FrameBatch:
        """Take the frames that are due of those fetched."""
        count = len(self._waiting)
        if self._speed is not None:
            count = int(np.searchsorted(self._due_ns, self._elapsed_ns(), side="right"))
        batch = self._waiting.take(slice(0, count))
        self._waiting = self._waiting.take(slice(count, None))
        self._due_ns = self._due_ns[count:]
        return batch

    def _bounded(self, batch: FrameBatch, capacity_frames: int) -> FrameBatch:
        """Take all that is due, fetching more of it; keep what fits, and count the rest."""
        kept = [batch.take(slice(0, capacity_frames))]
        due = len(batch)
        while not len(self._waiting) and not self._ended:
            self._fetch()
            more = self._due()
            kept.append(more.take(slice(0, max(0, capacity_frames - due))))
            due += len(more)
        self._dropped += max(0, due - capacity_frames)
        self._ended = self._ended and not due  # the end comes after the last frames
        return kept[0] if len(kept) == 1 else FrameBatch.concatenate(kept)

    def stats(self) -> SourceStats:
        """Return the counts since the source was opened."""
        loops = self._looped.passes if self._looped else 0
        return self._tally.stats(
            dropped=self._dropped,
            malformed=self._played.malformed,
            loops=loops,
            ended=self._ended,
        )

    def close(self) -> None:
        """Stop playing; a waiting read returns at once."""
        self._closed.set()

    def _fetch(self) -> None:
        """Take the next frames of the log and note when each is due; or note the end."""
        for batch in self._batches:
            if len(batch):
                break
        else:
            self._ended = True
            return
        self._waiting = batch
        if self._speed is None:
            return
        if self._started_ns is None:
            self._started_ns = self._clock.monotonic_ns()
            self._first_ns = int(batch.time_ns[0])
        since_ns = np.maximum.accumulate(batch.time_ns - self._first_ns)
        self._due_ns = (since_ns / self._speed).astype(np.int64)

    def _elapsed_ns(self) -> int:
        return self._clock.monotonic_ns() - (self._started_ns or 0)

    def _wait(self, timeout_s: float) -> None:
        """Wait until the first frame has been due for `GATHER_S`, or all are, or time is up."""
        gathered_ns = min(int(self._due_ns[0]) + int(GATHER_S * SECOND), int(self._due_ns[-1]))
        wait_s = min((gathered_ns - self._elapsed_ns()) / SECOND, timeout_s)
        if wait_s > 0:
            self._closed.wait(wait_s)
