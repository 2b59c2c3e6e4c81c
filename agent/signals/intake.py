"""All sources of a vehicle read as one stream, with honest counts of what they lost."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from agent.signals.timeline import SourceTime
from hw.source import HoldingSource, Source, SourceEnded, SourceStats, ThreadedSource
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import FrameBatch

__all__ = ["Intake", "Turn"]

_log = logging.getLogger(__name__)


class Turn(NamedTuple):
    """When somebody who takes frames in last came round, by the monotonic clock."""

    who: str
    at_ns: int


class _Inlet:
    """One source: its place among the buses, its time, and whether it still brings frames."""

    def __init__(self, source: Source, first_bus: int) -> None:
        self.source, self.first_bus = source, first_bus
        self.holds = source if isinstance(source, HoldingSource) else None
        self.fetches = source if isinstance(source, ThreadedSource) else None
        self.time = SourceTime()
        self.ended = ""
        self.counts = SourceStats()
        """As of the latest reading."""
        self.away: frozenset[str] = frozenset()
        """The channels whose interface is away, or was since the reading before the latest."""

    def read(self) -> FrameBatch:
        if self.ended:
            return FrameBatch.empty()
        try:
            batch = self.time.follow_batch(self.source.read(0.0))
        except SourceEnded as error:
            self.ended = str(error) or "the source has ended"
            _log.info("channels %s: %s", ", ".join(self.source.channels), self.ended)
            return FrameBatch.empty()
        if not self.first_bus:
            return batch
        return replace(batch, bus=(batch.bus + self.first_bus).astype(np.uint8))

    @property
    def latest_ns(self) -> int:
        """A time that no frame which the source holds will be younger than."""
        return self.holds.now_ns() + self.time.offset_ns if self.holds else 0

    def newly_dropped(self) -> int:
        """Take the source's counts; return how many frames it has lost since the last call."""
        before, self.counts = self.counts, self.source.stats()
        self.away = self.counts.away
        if self.counts.reconnects > before.reconnects and not before.away:
            self.away = frozenset(self.source.channels)  # gone and back between two looks
        return self.counts.dropped - before.dropped


class Intake:
    """Reads every source without waiting. Of the pump's thread, but for `close`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._inlets: list[_Inlet] = []
        channels: list[str] = []
        for source in sources:
            self._inlets.append(_Inlet(source, len(channels)))
            channels += source.channels
        self.channels = tuple(channels)
        self.errors = 0
        holding = [inlet.holds for inlet in self._inlets if inlet.holds is not None]
        self.holding = holding if len(holding) == len(self._inlets) else []
        """The sources, if all of them can let frames wait."""

    @property
    def live(self) -> bool:
        """Whether every source that still brings frames follows a clock."""
        return all(inlet.source.live for inlet in self._inlets if not inlet.ended)

    def turns(self) -> Iterator[Turn]:
        """Say when each thread that fetches frames came round last. For any thread."""
        for inlet in self._inlets:
            if inlet.fetches is not None and not inlet.ended:
                who = f"the driver of channel {inlet.source.channels[0]}"
                yield Turn(who, inlet.fetches.turned_ns)

    @property
    def ended(self) -> frozenset[str]:
        """The channels that bring no frames any more."""
        return frozenset(c for i in self._inlets if i.ended for c in i.source.channels)

    @property
    def over(self) -> str:
        """Why no frame will come any more; empty while some may."""
        if not self._inlets or not all(inlet.ended for inlet in self._inlets):
            return ""
        return "; ".join(dict.fromkeys(inlet.ended for inlet in self._inlets))

    def hold(self) -> bool:
        """Let what has arrived wait in the sources; False when it is to be read now."""
        if not self.holding:
            return False
        room = [source.hold() for source in self.holding]  # each of them, whatever the others say
        return all(room)

    @property
    def away(self) -> frozenset[str]:
        """The channels that an interface brought nothing of, as of the latest reading."""
        return frozenset[str]().union(*(inlet.away for inlet in self._inlets))

    @property
    def latest_ns(self) -> int:
        """A time that no frame which waits in the sources is younger than."""
        return max(inlet.latest_ns for inlet in self._inlets)

    def read(self) -> tuple[FrameBatch, int]:
        """Return what has arrived at all sources, by time, and how many frames they lost."""
        batches = []
        for inlet in self._inlets:
            try:
                batches.append(inlet.read())
            except SourceError as error:
                self.errors += 1
                inlet.ended = f"it cannot be read any more: {error}"
                _log.error("channels %s: %s", ", ".join(inlet.source.channels), inlet.ended)
        filled = [batch for batch in batches if len(batch)]
        dropped = sum(inlet.newly_dropped() for inlet in self._inlets)
        if len(filled) < 2:
            return (filled[0] if filled else FrameBatch.empty()), dropped
        merged = FrameBatch.concatenate(filled)
        return merged.take(np.argsort(merged.time_ns, kind="stable")), dropped

    def stats(self) -> dict[str, float]:
        """Return the sources' counts, added up."""
        total = sum((inlet.counts for inlet in self._inlets), SourceStats())
        return {
            "frames.dropped": total.dropped,
            "frames.errors": total.error_frames,
            "frames.remote": total.remote_frames,
            "frames.malformed": total.malformed,
            "source.errors": self.errors,
            "source.loops": total.loops,
            "source.reconnects": total.reconnects,
            "source.bus_offs": total.bus_offs,
            "source.ended": sum(1 for inlet in self._inlets if inlet.ended),
            "source.disconnected": len(total.away),
            "time.restarts": sum(inlet.time.restarts for inlet in self._inlets),
        }

    def close(self) -> None:
        """Close every source."""
        for inlet in self._inlets:
            inlet.source.close()
