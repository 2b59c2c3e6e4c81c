"""The decoder of a vehicle: all its databases and channels, compiled once, run on batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dbc.bits import WORD_BITS, raw_integers
from dbc.catalog import Catalog
from dbc.decoding.batch import BatchPlan, Decoded, DecodedBatch, Groups
from dbc.decoding.decode import Absent, decode_node, padded
from dbc.decoding.plan import Node, compile_node
from dbc.match import Matcher
from dbc.model import MessageDef
from dbc.transport.protocols import TransportStats
from dbc.transport.reassembly import Reassembled, Reassembler
from user_lib.contract.errors import DatabaseError
from user_lib.contract.frames import ERROR, REMOTE, FrameBatch

__all__ = ["DecodeStats", "Decoder", "MessageStats"]

_PLANS_KEPT = 4096
_RADIX_KEYS = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class MessageStats:
    """What was absent from the frames of one message."""

    frames: int = 0
    short_frames: int = 0
    """Payloads too short to hold every signal of the message."""
    long_frames: int = 0
    """Payloads with more bytes than the message has; the rest was ignored."""
    unknown_switch_frames: int = 0
    """Frames with a multiplexer value that the database does not know."""
    unavailable_values: int = 0
    """Values by which J1939 says "error" or "not available"."""


@dataclass(frozen=True, slots=True)
class DecodeStats:
    """What `Decoder.decode_batch` met so far. ``messages`` is keyed by message index."""

    frames: int = 0
    unmatched_frames: int = 0
    remote_frames: int = 0
    error_frames: int = 0
    transport_frames: int = 0
    """Parts of longer payloads, not decoded by themselves."""
    transfers: TransportStats = field(default_factory=TransportStats)
    """Longer payloads that were put together, and those that were dropped on the way."""
    messages: Mapping[int, MessageStats] = field(default_factory=dict)


class Decoder:
    """Decodes batches of frames; message indices are those of ``catalog.messages``.

    ``catalog`` is the given one bound to ``channels``, the names of the buses by index: resolve
    names with it.
    """

    def __init__(self, catalog: Catalog, channels: Sequence[str]) -> None:
        self.catalog = catalog.bind(channels)
        self.channels = tuple(channels)
        self.messages: tuple[MessageDef, ...] = self.catalog.messages
        self._matcher = Matcher(self.messages, channels)
        self._plans: dict[tuple[int, tuple[int, ...] | None], Node] = {}
        self._reassembler = Reassembler(self.messages, channels)
        j1939 = np.array([m.j1939 for m in self.messages] + [False], np.bool_)
        self._j1939 = j1939 if j1939.any() else None  # the last entry is for frames without match
        self._no_source = np.full(len(self.messages), -1, np.int16)
        self._counts = _Counts(self.messages)

    def match(self, batch: FrameBatch) -> NDArray[np.int32]:
        """Return the message index of each frame, or -1 where no database knows it; (n,) int32.

        Remote and error frames never match; 11- and 29-bit ids are apart even below 0x800.
        """
        return self._matcher.match(batch)

    def decode(
        self,
        message: int,
        data: NDArray[np.uint8],
        length: NDArray[np.integer],
        columns: Sequence[int] | None = None,
    ) -> NDArray[np.float64]:
        """Decode payloads of one message.

        Shapes: data (n, stride), length (n,); result (n, k) float64, a column for each of
                ``columns`` (default: every signal of the message, in order).
        Units:  each signal's own; a value table's value is its number.
        Gaps:   NaN beyond a short payload, and where the multiplexer chose other signals.
        """
        return self._decode(message, data, length, columns)

    def decode_raw(
        self, message: int, column: int, data: NDArray[np.uint8], length: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64] | NDArray[np.uint64], NDArray[np.bool_]]:
        """Return the exact raw integers of one signal, and where the signal is present.

        Shapes: (n,) int64 if signed, else uint64; (n,) bool.
        Raises: DatabaseError, for a signal of more than 64 bits.
        """
        signal = self.messages[message].signals[column]
        if signal.length > WORD_BITS:
            raise DatabaseError(
                f"signal {signal.name} has {signal.length} bits, more than an integer of numpy; "
                "decode it instead"
            )
        raw = raw_integers(np.ascontiguousarray(data), signal)
        present = ~np.isnan(self.decode(message, data, length, [column])[:, 0])
        if signal.is_float:  # a float that is not a number is there all the same
            present = np.asarray(length >= signal.needed_bytes)
        return raw, present

    def decode_batch(self, batch: FrameBatch) -> DecodedBatch:
        """Decode every frame that a database knows, message by message, and count what was absent.

        The result has one entry a message met (and source address, for J1939), in catalog order.
        """
        found = self.match(batch)
        whole: list[Reassembled] = []
        parts = 0
        if self._reassembler.needed:
            whole, is_part = self._reassembler.add(batch, found)
            found = np.where(is_part, np.int32(-1), found)
            parts = int(np.count_nonzero(is_part))
        groups = self._group(batch, found)
        decoded = self._everything.decode(batch, groups)
        self._counts.add(batch, groups, decoded, parts)
        if whole:
            decoded.extra += [self._decode_whole(long) for long in whole]
        return decoded

    @cached_property
    def _everything(self) -> BatchPlan:
        everything = {i: range(len(m.signals)) for i, m in enumerate(self.messages)}
        return BatchPlan(self.messages, everything)

    def _decode_whole(self, long: Reassembled) -> Decoded:
        absent = Absent()
        data = np.frombuffer(long.payload, np.uint8)[None, :]
        length = np.array([len(long.payload)], np.uint16)
        values = self._decode(long.message, data, length, None, absent)
        self._counts.add_one(long.message, len(long.payload), absent)
        return Decoded(long.message, np.array([long.row], np.intp), values, long.source)

    def stats(self) -> DecodeStats:
        """Return what `decode_batch` met so far."""
        return self._counts.snapshot(self._reassembler.stats())

    def _group(self, batch: FrameBatch, found: NDArray[np.int32]) -> Groups:
        shifted = found + 1
        counts = np.bincount(shifted, minlength=len(self.messages) + 1)
        # numpy sorts 16-bit keys by radix, three times faster than wider ones
        key = shifted.astype(np.uint16) if len(self.messages) < _RADIX_KEYS else shifted
        if self._j1939 is None:
            order = key.argsort(kind="stable")[counts[0] :]
            counts = counts[1:]
            message = counts.nonzero()[0]
            met = counts.take(message)
            stop = met.cumsum()
            source = self._no_source[: len(message)]
            return Groups(order, counts, message, stop - met, stop, source)
        sender = np.where(self._j1939[found], batch.can_id & np.uint32(0xFF), 0).astype(np.uint16)
        by_sender = np.argsort(sender, kind="stable")
        order = by_sender[np.argsort(key[by_sender], kind="stable")][counts[0] :]
        message_of, sender_of = found[order], sender[order]
        changes = (np.diff(message_of) != 0) | (np.diff(sender_of.astype(np.int32)) != 0)
        start = np.flatnonzero(np.concatenate([np.ones(min(len(order), 1), np.bool_), changes]))
        stop = np.append(start[1:], len(order))[: len(start)]
        message = message_of[start].astype(np.intp)
        source = np.where(self._j1939[message], sender_of[start], -1).astype(np.int16)
        return Groups(order, counts[1:], message, start, stop, source)

    def _decode(
        self,
        message: int,
        data: NDArray[np.uint8],
        length: NDArray[np.integer],
        columns: Sequence[int] | None,
        absent: Absent | None = None,
    ) -> NDArray[np.float64]:
        node = self._plan(message, columns)
        width = len(self.messages[message].signals) if columns is None else len(columns)
        out = padded(width, len(data))
        if node.branches or len(node.block.places) + len(node.block.wide) < width:
            out.fill(np.nan)
        decode_node(node, np.ascontiguousarray(data), length, out, absent)
        return out.T

    def _plan(self, message: int, columns: Sequence[int] | None) -> Node:
        key = (message, None if columns is None else tuple(columns))
        node = self._plans.get(key)
        if node is None:
            definition = self.messages[message]
            wanted = range(len(definition.signals)) if columns is None else columns
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            node = self._plans[key] = compile_node(definition, list(wanted))
        return node


class _Counts:
    """Adds up what `DecodeStats` tells, without a loop over messages."""

    def __init__(self, messages: Sequence[MessageDef]) -> None:
        self._needed = np.array(
            [max((s.needed_bytes for s in m.signals), default=0) for m in messages], np.int64
        )
        self._length = np.array([m.length for m in messages], np.int64)
        self._most_needed = int(self._needed.max(initial=0))
        self._shortest_message = int(self._length.min(initial=0x7FFF))
        self._frames, self._short, self._long, self._unknown_switch, self._unavailable = (
            np.zeros(len(messages), np.int64) for _ in range(5)
        )
        self._seen = self._unmatched = self._remote = self._error = self._parts = 0

    def add(self, batch: FrameBatch, groups: Groups, decoded: DecodedBatch, parts: int) -> None:
        """Count a batch of which ``parts`` frames were not decoded by themselves."""
        self._seen += len(batch)
        self._parts += parts
        self._unmatched += len(batch) - len(groups.order) - parts
        if batch.flags.max(initial=0) >= REMOTE:
            self._remote += int(np.count_nonzero(batch.flags & REMOTE))
            self._error += int(np.count_nonzero(batch.flags & ERROR))
        self._frames += groups.counts
        self._count_lengths(decoded.length, groups)
        if decoded.unavailable is not None:
            self._unavailable += decoded.unavailable.astype(np.int64)
        for index, (_, absent) in decoded.apart.items():
            self._unknown_switch[index] += absent.unknown_switch_frames
            self._unavailable[index] += absent.unavailable_values

    def _count_lengths(self, length: NDArray[np.integer], groups: Groups) -> None:
        if not len(length):
            return
        short = int(np.minimum.reduce(length)) < self._most_needed
        long = int(np.maximum.reduce(length)) > self._shortest_message
        if not short and not long:
            return
        message = np.repeat(groups.message, groups.stop - groups.start)
        self._short += self._per_message(message[length < self._needed.take(message)])
        self._long += self._per_message(message[length > self._length.take(message)])

    def add_one(self, message: int, length: int, absent: Absent) -> None:
        """Count a payload that came in several frames."""
        self._frames[message] += 1
        self._short[message] += length < self._needed[message]
        self._long[message] += length > self._length[message]
        self._unknown_switch[message] += absent.unknown_switch_frames
        self._unavailable[message] += absent.unavailable_values

    def _per_message(self, messages: NDArray[np.intp]) -> NDArray[np.intp] | int:
        return np.bincount(messages, minlength=len(self._frames)) if len(messages) else 0

    def snapshot(self, transfers: TransportStats) -> DecodeStats:
        """Return the counts so far; messages never met are left out."""
        columns = (
            self._frames,
            self._short,
            self._long,
            self._unknown_switch,
            self._unavailable,
        )
        return DecodeStats(
            frames=self._seen,
            unmatched_frames=self._unmatched,
            remote_frames=self._remote,
            error_frames=self._error,
            transport_frames=self._parts,
            transfers=transfers,
            messages={
                index: MessageStats(*(int(column[index]) for column in columns))
                for index in np.flatnonzero(self._frames).tolist()
            },
        )
