"""Decode a batch of many messages with few numpy calls, however few frames each message has.

Frames are ordered by message. Each frame gives a row for every word that its message's fields are
cut from; rows with about as many fields are laid side by side in one matrix, with tables of the
same shape that hold each field's shift, mask, scale and offset. So the cost is a fixed number of
calls a matrix, and not of calls a message. Messages that are multiplexed, or hold floats or fields
wider than 52 bits, are decoded one message at a time instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dbc.decoding.decode import Absent, decode_node, padded
from dbc.decoding.matrix import all_lanes, build_matrix, fill, width_classes
from dbc.decoding.plan import Lane, Node, compile_node
from dbc.model import MessageDef
from user_lib.contract.frames import FrameBatch

__all__ = ["BatchPlan", "Decoded", "DecodedBatch", "Groups"]

_WORD = 8


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The frames of one message in a batch.

    Shapes: rows (m,) indices into the batch, ascending; values (m, k) float64, column j the
            j-th of the columns asked for (`Decoder.decode_batch`: all signals of the message).
    Gaps:   NaN where a signal was absent from its frame.
    """

    message: int
    rows: NDArray[np.intp]
    values: NDArray[np.float64]
    source: int | None = None
    """The J1939 source address that sent these frames; None for other messages."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The frames of a batch that matched, put together by message, and by source for J1939.

    Shapes: order (m,) indices into the batch; counts, a number for each message of the catalog;
            message, start, stop, source (g,), the groups: source -1 for messages without one.
    """

    order: NDArray[np.intp]
    counts: NDArray[np.intp]
    message: NDArray[np.intp]
    start: NDArray[np.intp]
    stop: NDArray[np.intp]
    source: NDArray[np.int16]


class BatchPlan:
    """How to decode some columns of some messages out of a batch."""

    def __init__(
        self, messages: Sequence[MessageDef], columns: Mapping[int, Sequence[int]]
    ) -> None:
        self.nodes = {i: compile_node(messages[i], list(c)) for i, c in columns.items()}
        self.widths = {i: len(c) for i, c in columns.items()}
        self.apart = [i for i, node in self.nodes.items() if not _is_plain(node, self.widths[i])]
        lanes = all_lanes({i: n for i, n in self.nodes.items() if i not in set(self.apart)})
        self._message_of = np.array([r.message for r in lanes], np.intp)
        self._first_byte = np.array([r.lane.first_byte for r in lanes], np.intp)
        self._big = np.array([r.lane.big for r in lanes], np.bool_)
        self._longest = np.array([r.longest for r in lanes], np.intp)
        self._most_needed = int(self._longest.max(initial=0))
        self._numbers = np.arange(len(lanes))
        self._is_one_word_each = [r.message for r in lanes] == list(
            range(len(messages))
        ) and self._most_needed <= _WORD
        """Whether every message has exactly one word, and they are in the order of messages."""
        self._any_big = bool(self._big.any())
        self._aligned = not (self._first_byte % _WORD).any()
        self._matrices = [build_matrix(lanes, start, stop) for start, stop in width_classes(lanes)]
        self._has_limits = any(matrix.limit is not None for matrix in self._matrices)
        self.matrix_of = [
            number
            for number, matrix in enumerate(self._matrices)
            for _ in range(matrix.first, matrix.last + 1)
        ]
        self.lanes_of: dict[int, list[tuple[int, Lane]]] = {i: [] for i in self.nodes}
        for number, row in enumerate(lanes):
            self.lanes_of[row.message].append((number, row.lane))

    def decode(self, batch: FrameBatch, groups: Groups) -> "DecodedBatch":
        """Decode the grouped frames of a batch."""
        length = batch.length.take(groups.order)
        data = _whole_words(batch.data, groups.order)
        starts = groups.counts.cumsum() - groups.counts
        rows = groups.counts.take(self._message_of)
        ends = rows.cumsum()
        lane_of = self._numbers.repeat(rows)
        if self._is_one_word_each and data.shape[1] == 1:
            frame_of = None  # the rows are the frames
            words = data.reshape(-1)
        else:
            behind = ends - rows - starts.take(self._message_of)
            frame_of = np.arange(len(lane_of)) - behind.repeat(rows)
            words = self._words(data, frame_of, lane_of)
        if self._any_big:
            words = np.where(self._big.take(lane_of), words.byteswap(), words)
        length_of = None
        if self._some_short(length, rows):
            length_of = length if frame_of is None else length.take(frame_of)
        begins = ends - rows
        filled = []
        unavailable = np.zeros(len(groups.counts)) if self._has_limits else None
        for matrix in self._matrices:
            part = slice(int(begins[matrix.first]), int(ends[matrix.last]))
            lanes = lane_of[part] - matrix.first if matrix.first else lane_of[part]
            short_of = None if length_of is None else length_of[part]
            values, missing = fill(matrix, words[part], lanes, short_of)
            filled.append(values)
            if missing is not None and unavailable is not None:
                of_row = self._message_of.take(lane_of[part])
                unavailable += np.bincount(of_row, missing, minlength=len(unavailable))
            begins[matrix.first : matrix.last + 1] -= part.start
        apart = {
            message: self._decode_apart(message, data, length, int(starts[message]), count)
            for message in self.apart
            if (count := int(groups.counts[message]))
        }
        rows_of = _Rows(filled, begins, unavailable, length)
        return DecodedBatch(self, groups, starts, rows_of, apart)

    def _some_short(self, length: NDArray[np.integer], rows: NDArray[np.intp]) -> bool:
        """Whether a payload may end before a field of a message that was met."""
        if not len(length):
            return False
        shortest = int(np.minimum.reduce(length))
        if shortest >= self._most_needed:
            return False
        return bool(((self._longest > shortest) & (rows > 0)).any())

    def _words(
        self, data: NDArray[np.uint64], frame_of: NDArray[np.intp], lane_of: NDArray[np.intp]
    ) -> NDArray[np.uint64]:
        """Return the word that each row's fields are cut from.

        What lies beyond the end of a payload is arbitrary: fields there are absent.
        """
        flat, per_frame = data.reshape(-1), data.shape[1]
        if per_frame == 1 and self._aligned:
            words = flat.take(frame_of)
        else:
            first = self._first_byte.take(lane_of)
            place = frame_of * per_frame + first // _WORD
            words = flat.take(place, mode="clip")
            if not self._aligned:
                skip = (first % _WORD * 8).astype(np.uint64)
                following = flat.take(place + 1, mode="clip") << np.uint64(1)
                # in two steps, since a shift by 64 has no defined result
                words = (words >> skip) | (following << (np.uint64(63) - skip))
        return words

    def _decode_apart(
        self,
        message: int,
        data: NDArray[np.uint64],
        length: NDArray[np.integer],
        start: int,
        count: int,
    ) -> tuple[NDArray[np.float64], Absent]:
        """Decode one message that does not fit the matrices; (count, k), and what was absent."""
        rows = slice(start, start + count)
        absent = Absent()
        out = padded(self.widths[message], count)
        out.fill(np.nan)
        octets = data[rows].view(np.uint8)
        decode_node(self.nodes[message], octets, length[rows], out, absent)
        return out.T, absent


class DecodedBatch(Sequence[Decoded]):
    """The decoded frames of a batch: one entry a message met (and source), in catalog order.

    The values are all there; the entries are made when they are asked for.
    """

    def __init__(
        self,
        plan: BatchPlan,
        groups: Groups,
        starts: NDArray[np.intp],
        rows: "_Rows",
        apart: Mapping[int, tuple[NDArray[np.float64], Absent]],
    ) -> None:
        self.groups = groups
        self.apart = apart
        self.extra: list[Decoded] = []
        """What came in several frames each; these entries follow the others."""
        self._plan, self._starts, self._rows = plan, starts, rows

    @property
    def unavailable(self) -> NDArray[np.float64] | None:
        """For each message of the catalog how many values J1939 called missing, if it is used."""
        return self._rows.unavailable

    @property
    def length(self) -> NDArray[np.integer]:
        """The payload lengths, in the order of the groups."""
        return self._rows.length

    def __len__(self) -> int:
        return len(self.groups.message) + len(self.extra)

    @overload
    def __getitem__(self, index: int) -> Decoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Decoded]: ...
    def __getitem__(self, index: int | slice) -> Decoded | Sequence[Decoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        bounds = self._bounds
        if index >= len(bounds):
            return self.extra[index - len(bounds)]
        return self._entry(*bounds[index])

    def __iter__(self) -> Iterator[Decoded]:
        for bound in self._bounds:
            yield self._entry(*bound)
        yield from self.extra

    @cached_property
    def _bounds(self) -> list[tuple[int, int, int, int, int]]:
        """For each group its message, source, start and stop, and where its message starts."""
        groups = self.groups
        columns = (groups.message, groups.source, groups.start, groups.stop)
        firsts = self._starts[groups.message]
        return list(zip(*(column.tolist() for column in (*columns, firsts)), strict=True))

    def _entry(self, message: int, source: int, start: int, stop: int, first: int) -> Decoded:
        values = self._values(message, start - first, stop - first)
        rows = self.groups.order[start:stop]
        return Decoded(message, rows, values, None if source < 0 else source)

    def _values(self, message: int, start: int, stop: int) -> NDArray[np.float64]:
        if message in self.apart:
            return self.apart[message][0][start:stop]
        lanes, width = self._plan.lanes_of[message], self._plan.widths[message]
        if len(lanes) == 1 and self._plan.nodes[message].block.in_order:
            return self._lane(lanes[0][0], start, stop, width)
        values = np.empty((stop - start, width))
        for number, lane in lanes:
            places = self._plan.nodes[message].block.places[lane.start : lane.stop]
            values[:, places] = self._lane(number, start, stop, len(places))
        return values

    def _lane(self, number: int, start: int, stop: int, width: int) -> NDArray[np.float64]:
        first = self._begins[number]
        matrix = self._rows.matrices[self._plan.matrix_of[number]]
        return matrix[first + start : first + stop, :width]

    @cached_property
    def _begins(self) -> list[int]:
        begins: list[int] = self._rows.begins.tolist()
        return begins


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The values of all rows: matrices, and where in its matrix each lane begins."""

    matrices: list[NDArray[np.float64]]
    begins: NDArray[np.intp]
    unavailable: NDArray[np.float64] | None
    """For each message how many of its values said that there is none; None if none ever does."""
    length: NDArray[np.integer]
    """The payload lengths of the frames, in the order of the groups."""


def _is_plain(node: Node, width: int) -> bool:
    return not node.branches and not node.block.wide and len(node.block.places) == width


def _whole_words(data: NDArray[np.uint8], order: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return the ordered payloads as rows of 64-bit words, zeros after them if need be."""
    n, stride = data.shape
    if stride % _WORD or not data.flags.c_contiguous:
        whole = np.zeros((n, -(-stride // _WORD) * _WORD), np.uint8)
        whole[:, :stride] = data
        data = whole
    return data.view("<u8").take(order, axis=0)
