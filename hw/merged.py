"""Several sources as one: what the agent reads when a vehicle has more than one."""

import threading
from collections.abc import Sequence

import numpy as np

from hw.source import GATHER_S, Source, SourceEnded, SourceStats
from user_lib.contract.clock import SECOND, Clock, SystemClock
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import FrameBatch

__all__ = ["MergedSource", "merge"]

_MOST_CHANNELS = 255


class MergedSource:
    """Sources read together: their channels end to end, the frames of one read in time order.

    A source that ends is left out from then on; when all have ended, so has this one.
    """

    def __init__(self, sources: Sequence[Source], clock: Clock) -> None:
        self._all = tuple(sources)
        self._clock = clock
        self._offsets: dict[int, int] = {}
        names: list[str] = []
        for i, source in enumerate(self._all):
            self._offsets[i] = len(names)
            names.extend(source.channels)
        if len(names) > _MOST_CHANNELS:
            raise SourceError(
                f"{len(names)} channels in all sources together; at most {_MOST_CHANNELS} fit"
            )
        self._channels = tuple(names)
        self._going = dict(enumerate(self._all))
        self._closed = threading.Event()

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the buses of all sources, in the sources' order."""
        return self._channels

    @property
    def live(self) -> bool:
        """True when any source follows a clock."""
        return any(source.live for source in self._all)

    def read(self, timeout_s: float) -> FrameBatch:
        """Return what has arrived at any source, in time order; see `Source.read`.

        Raises: SourceEnded, once all sources have ended, or after closing.
        """
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * SECOND)
        while True:
            left_s = (deadline_ns - self._clock.monotonic_ns()) / SECOND
            if left_s > 0 and all(source.live for source in self._going.values()):
                self._closed.wait(min(left_s, GATHER_S))
            batch = self._read_now()
            if len(batch) or left_s <= 0:
                return batch

    def stats(self) -> SourceStats:
        """Return the sum over all sources; ended only when all are, connected only when all."""
        total = SourceStats(ended=True)
        for source in self._all:
            total = total + source.stats()
        return total

    def close(self) -> None:
        """Close every source."""
        self._closed.set()
        for source in self._all:
            source.close()

    def _read_now(self) -> FrameBatch:
        parts: list[FrameBatch] = []
        for i, source in list(self._going.items()):
            try:
                batch = source.read(0)
            except SourceEnded:
                del self._going[i]
                continue
            if len(batch):
                parts.append(_moved(batch, self._offsets[i]))
        if not parts and not self._going:
            raise SourceEnded("all sources have ended")
        if len(parts) < 2:
            return parts[0] if parts else FrameBatch.empty()
        merged = FrameBatch.concatenate(parts)
        return merged.take(np.argsort(merged.time_ns, kind="stable"))


def _moved(batch: FrameBatch, offset: int) -> FrameBatch:
    if not offset:
        return batch
    bus = batch.bus + np.uint8(offset)
    return FrameBatch(batch.time_ns, bus, batch.can_id, batch.flags, batch.length, batch.data)


def merge(sources: Sequence[Source], *, clock: Clock | None = None) -> Source:
    """Return one source over several; a single one is returned as it is.

    Raises: SourceError, when there is none, or they name more channels than an index holds.
    """
    if not sources:
        raise SourceError("no source to read from; name at least one in the configuration")
    return sources[0] if len(sources) == 1 else MergedSource(sources, clock or SystemClock())
