"""What has come in so far: the frames in their rings, their time, and what was lost on the way."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.payloads import History
from agent.signals.names import Derivation, SignalNames
from agent.signals.outages import Outages
from agent.signals.quality.bus_load import BusMeter, with_buses
from agent.signals.quality.frame_time import Bitrate
from agent.signals.series import SeriesReader
from agent.signals.timeline import Timeline
from dbc import Catalog, Decoder, MessageDef
from dbc.model import NO_IDENTIFIER
from dbc.transport.reassembly import Reassembler
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.frames import FrameBatch

__all__ = ["SLICE_FRAMES", "Recording", "slices"]

SLICE_FRAMES = 1024
"""Cursors look at the recording at least this often, whatever the size of the batches."""
_DROPS_KEPT = 4096


def slices(batch: FrameBatch) -> Iterator[FrameBatch]:
    """Cut a batch into parts of at most `SLICE_FRAMES`."""
    for start in range(0, len(batch), SLICE_FRAMES):
        yield batch.take(slice(start, start + SLICE_FRAMES))


def _only_identifier(message: MessageDef) -> tuple[int, bool] | None:
    if message.j1939 or message.can_id == NO_IDENTIFIER:
        return None
    return message.can_id, message.extended


class Recording:
    """The history of one vehicle and all that cursors need beside it. Owned by one thread.

    ``channels`` are the buses in the order in which ``FrameBatch.bus`` counts them; ``bitrates``
    are their speeds, as far as they are known. ``catalog`` has a message for each bus besides.

    Raises: ConfigError, if a derived signal cannot be computed, or ``history_mb`` is too little.
    """

    def __init__(
        self,
        catalog: Catalog,
        channels: Sequence[str],
        *,
        derived: Mapping[str, Derivation] | None = None,
        bitrates: Mapping[str, Bitrate] | None = None,
        history_mb: float = 64.0,
    ) -> None:
        self.channels = tuple(channels)
        self.decoder = Decoder(with_buses(catalog, self.channels), self.channels)
        self.catalog = self.decoder.catalog
        self.identifiers = [_only_identifier(message) for message in self.catalog.messages]
        """Of each message the one identifier, and whether it has 29 bits, whose frames bring it.

        None, if others do as well: other senders', parts of longer payloads, or all of a bus.
        """
        self._reassembler = Reassembler(self.catalog.messages, self.channels)
        self.names = SignalNames(self.catalog, derived)
        lengths = [message.length for message in self.catalog.messages]
        self.history = History(lengths, history_mb=history_mb)
        self._first_bus = len(lengths) - len(self.channels)
        self._meter = BusMeter(self.history, self._first_bus, self.channels, bitrates or {})
        self.timeline = Timeline()
        self.reader = SeriesReader(self.history, self.decoder)
        self.frames = 0
        self.transport_frames = 0
        """Parts of payloads longer than a frame."""
        self._matched = 0
        self.bus_frames = np.zeros(len(self.channels), np.int64)
        self._drops: deque[tuple[int, int]] = deque(maxlen=_DROPS_KEPT)
        self.outages = Outages()
        """When the interfaces of these channels were away."""

    def add(self, batch: FrameBatch) -> None:
        """Take frames in, in the order in which they were read."""
        if not len(batch):
            return
        message = self.decoder.match(batch)
        time_ns = self.timeline.place(batch.time_ns)
        self.frames += len(batch)
        if len(self.channels) == 1:
            self.bus_frames += len(batch)
        else:
            self.bus_frames += np.bincount(batch.bus, minlength=len(self.channels))
        self._meter.add(batch, time_ns)
        done = 0
        if self._reassembler.needed:
            whole, parts = self._reassembler.add(batch, message)
            message = np.where(parts, np.int32(-1), message)
            self.transport_frames += int(np.count_nonzero(parts))
            for long in whole:  # each takes its place in the order of arrival
                stop = long.row + 1
                self._keep(batch, time_ns, message, slice(done, stop))
                source = int(batch.can_id[long.row]) & 0xFF
                at_ns = int(time_ns[long.row])
                self.history.append_long(long.message, at_ns, source, long.payload)
                done = stop
        self._keep(batch, time_ns, message, slice(done, len(batch)))

    def _keep(
        self,
        batch: FrameBatch,
        time_ns: NDArray[np.int64],
        message: NDArray[np.int32],
        which: slice,
    ) -> None:
        if which.start == 0 and which.stop == len(batch):
            self._matched += self.history.append(batch, time_ns, message)
        else:
            self._matched += self.history.append(batch.take(which), time_ns[which], message[which])

    def add_in_slices(self, batch: FrameBatch) -> Iterator[None]:
        """Take frames in, giving way after every slice so that cursors can look."""
        for part in slices(batch):
            self.add(part)
            yield

    def note_dropped(self, frames: int) -> None:
        """Remember that the sources lost frames between the newest frame and the next one."""
        self._drops.append((self.next_ns() or 0, frames))

    def dropped_between(self, start_ns: int, stop_ns: int) -> int:
        """How many frames the sources lost in that time, of whatever message."""
        return sum(frames for at_ns, frames in self._drops if start_ns <= at_ns < stop_ns)

    def away_ms(self, messages: Iterable[int], start_ns: int, stop_ns: int) -> int:
        """How long in that time an interface was away that any of these messages comes by.

        Begun milliseconds count: none only if none was away.
        """
        channels = {self.catalog.messages[message].channel for message in messages}
        return -(-self.outages.between(channels, start_ns, stop_ns) // MS)

    def watch_buses(self, messages: Iterable[int]) -> None:
        """Keep the rows of buses up to date if a bus is among these messages."""
        if any(message >= self._first_bus for message in messages):
            self._meter.watch()

    def finish(self) -> None:
        """Say that no frame will follow."""
        self.timeline.finish()
        self._meter.finish()

    def known_ns(self, messages: Iterable[int]) -> int | None:
        """Return the time below which every row of these messages is in; None before any frame.

        A ring's times never step back: up to its newest row, nothing of it can be missing.
        """
        watermark_ns = self.timeline.watermark_ns
        if watermark_ns is None:
            return None
        rings = [self.history.ring(message) for message in messages]
        newest = [ring.latest_ns if ring.head else watermark_ns for ring in rings]
        return max(watermark_ns, min(newest, default=watermark_ns))

    def is_complete(self, message: int) -> bool:
        """Whether every row of a message that time has reached is in."""
        watermark_ns = self.timeline.watermark_ns
        ring = self.history.ring(message)
        return watermark_ns is not None and (ring.head == 0 or watermark_ns > ring.latest_ns)

    def stats(self) -> dict[str, float]:
        """Return counters by dotted name."""
        history, timeline = self.history, self.timeline
        found = {
            "frames.total": self.frames,
            "frames.unmatched": self.frames - self._matched - self.transport_frames,
            "transfers.dropped": self._reassembler.stats().dropped,
            "history.mb": history.used_bytes / (1 << 20),
            "history.overwritten": history.overwritten,
            "history.depth_s": history.depth_ns(timeline.latest_ns or 0) / SECOND,
            "time.late": timeline.late,
            "time.stepped_back": history.stepped_back,
            "time.slept_s": timeline.slept_ns / SECOND,
        }
        for channel, frames in zip(self.channels, self.bus_frames.tolist(), strict=True):
            found[f"bus.{channel}.frames"] = frames
        return found

    def next_ns(self) -> int | None:
        """Return the time from which on everything is still to come; None before any frame."""
        latest_ns = self.timeline.latest_ns
        return None if latest_ns is None else latest_ns + 1
