"""What every source of CAN frames is: batches of frames, names of buses, and honest counts."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from user_lib.contract.errors import SourceError
from user_lib.contract.frames import ERROR, REMOTE, FrameBatch

__all__ = [
    "GATHER_S",
    "HoldingSource",
    "Source",
    "SourceEnded",
    "SourceStats",
    "Tally",
    "ThreadedSource",
]

GATHER_S = 0.02
"""How long a read lingers after the first frame, so that a busy bus gives few, big batches."""


class SourceEnded(SourceError):
    """A log or a drive is over: every frame was delivered, and no more will come."""


@dataclass(frozen=True, slots=True)
class SourceStats:
    """What a source has delivered and what it has lost since it was opened."""

    frames: int = 0
    """Frames delivered by `Source.read`, all kinds."""
    error_frames: int = 0
    remote_frames: int = 0
    dropped: int = 0
    """Frames that arrived while the buffer was full."""
    malformed: int = 0
    """Lines, records or messages that hold no readable frame."""
    loops: int = 0
    """How often a looping log has begun again."""
    reconnects: int = 0
    """How often an interface came back after it had gone away."""
    bus_offs: int = 0
    """How often a controller has left its bus, as error frames tell."""
    away: frozenset[str] = frozenset()
    """The channels whose interface is away for now; all of them, once the source was closed."""
    ended: bool = False

    @property
    def connected(self) -> bool:
        """Whether every interface is there."""
        return not self.away

    def __add__(self, other: "SourceStats") -> "SourceStats":
        return SourceStats(
            frames=self.frames + other.frames,
            error_frames=self.error_frames + other.error_frames,
            remote_frames=self.remote_frames + other.remote_frames,
            dropped=self.dropped + other.dropped,
            malformed=self.malformed + other.malformed,
            loops=self.loops + other.loops,
            reconnects=self.reconnects + other.reconnects,
            bus_offs=self.bus_offs + other.bus_offs,
            away=self.away | other.away,
            ended=self.ended and other.ended,
        )


@dataclass(slots=True)
class Tally:
    """Counts the frames that a source delivers."""

    frames: int = 0
    error_frames: int = 0
    remote_frames: int = 0

    def count(self, batch: FrameBatch) -> None:
        """Add the frames of one read."""
        self.frames += len(batch)
        if (batch.flags & (ERROR | REMOTE)).any():
            self.error_frames += int(np.count_nonzero(batch.flags & ERROR))
            self.remote_frames += int(np.count_nonzero(batch.flags & REMOTE))

    def stats(self, **others: Any) -> SourceStats:  # noqa: ANN401 -- fields of SourceStats
        """Return these counts with the source's other ones."""
        return SourceStats(
            frames=self.frames,
            error_frames=self.error_frames,
            remote_frames=self.remote_frames,
            **others,
        )


@runtime_checkable
class Source(Protocol):
    """Where frames come from. One thread reads a source; `close` may be called from any."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the buses; ``FrameBatch.bus`` indexes them. Fixed while the source is open."""
        ...

    @property
    def live(self) -> bool:
        """True when frames come at the pace of a clock; False for a log at full speed."""
        ...

    def read(self, timeout_s: float) -> FrameBatch:
        """Return the frames that have arrived, in order; an empty batch after ``timeout_s``.

        A live source lingers up to `GATHER_S` (within ``timeout_s``) once a frame is there;
        ``read(0)`` never waits.

        Raises: SourceEnded, once a log is over and everything of it was delivered;
                SourceError, when the source cannot be read any more.
        """
        ...

    def stats(self) -> SourceStats:
        """Return the counts since the source was opened."""
        ...

    def close(self) -> None:
        """Release interface, file and thread; a waiting `read` returns. May be called twice."""
        ...


@runtime_checkable
class HoldingSource(Source, Protocol):
    """A live source that can keep frames as they came until someone needs them.

    Making frames of what has arrived costs more a call than a frame: so it is put off, while
    `waiting` and `now_ns` say that nothing anyone waits for can be among them.
    """

    def hold(self) -> bool:
        """Take what has arrived out of the kernel's buffers; False when `read` is due now.

        It is when there is no room for more, or an interface is away, or the source was closed.
        """
        ...

    def waiting(self, can_id: int, *, extended: bool) -> int:
        """Return how many of the frames held may have this identifier: never too few."""
        ...

    def now_ns(self) -> int:
        """Return a time that no frame held is younger than; source time, as in the frames."""
        ...


@runtime_checkable
class ThreadedSource(Source, Protocol):
    """A live source whose frames are fetched by a thread of its own, which a driver can hold up."""

    @property
    def turned_ns(self) -> int:
        """When that thread last came round, by the monotonic clock; it does while frames are few.

        A thread that waits for an interface that is away comes round as well.
        """
        ...
