"""Words with about as many fields side by side in one matrix, cut and scaled together.

The tables have a row for every word of every message; taking the rows that a batch needs gives
matrices of the batch's own shape, so that no step needs to know which message it works on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbc.decoding.plan import Block, Lane, Node

__all__ = ["LaneRow", "Matrix", "all_lanes", "build_matrix", "fill", "width_classes"]

_SMALLEST_MATRIX = 8
_FULL_ENOUGH = 0.7
"""Rows with fewer fields than this share of a matrix's width go into a narrower one."""
_CHUNK_VALUES = 1 << 14
"""So many values are computed at a time: the matrix and its tables stay in the cache."""
_NO_LIMIT = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class LaneRow:
    """One word of one message: what a row of a matrix is made from."""

    message: int
    lane: Lane
    block: Block

    @property
    def width(self) -> int:
        """How many fields are cut from the word."""
        return self.lane.stop - self.lane.start

    @property
    def longest(self) -> int:
        """How long a payload must be to hold all of them."""
        return int(self.block.needed_bytes[self.lane.start : self.lane.stop].max())


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """The tables of all words with about as many fields; ``first`` and ``last`` are lane numbers.

    Shapes: (lanes, width) each, but longest (lanes,).
    """

    first: int
    last: int
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    flip: NDArray[np.uint64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    needed_bytes: NDArray[np.uint16]
    limit: NDArray[np.uint64] | None
    longest: NDArray[np.uint16]


def all_lanes(nodes: Mapping[int, Node]) -> list[LaneRow]:
    """Return the words of all messages, those with fewer fields first."""
    rows = [LaneRow(i, lane, node.block) for i, node in nodes.items() for lane in node.block.lanes]
    return sorted(rows, key=lambda row: row.width)


def width_classes(rows: Sequence[LaneRow]) -> list[tuple[int, int]]:
    """Cut the words, ordered by width, into runs of about the same width."""
    runs: list[tuple[int, int]] = []
    stop = len(rows)
    while stop:
        least = rows[stop - 1].width * _FULL_ENOUGH
        if rows[stop - 1].width <= _SMALLEST_MATRIX:
            least = 0
        start = next(i for i in range(stop) if rows[i].width >= least)
        runs.append((start, stop))
        stop = start
    return runs[::-1]


def build_matrix(rows: Sequence[LaneRow], start: int, stop: int) -> Matrix:
    """Lay the tables of ``rows[start:stop]`` side by side; fields that a row lacks come to 0."""
    width = rows[stop - 1].width

    def table(field: str, kind: type, empty: float) -> NDArray[Any]:
        values: NDArray[Any] = np.full((stop - start, width), empty, kind)
        for i, row in enumerate(rows[start:stop]):
            column = getattr(row.block, field)
            if column is not None:
                values[i, : row.width] = column[row.lane.start : row.lane.stop, 0]
        return values

    needed = table("needed_bytes", np.uint16, 0)
    j1939 = any(row.block.limit is not None for row in rows[start:stop])
    return Matrix(
        first=start,
        last=stop - 1,
        shift=table("shift", np.uint64, 0),
        mask=table("mask", np.uint64, 0),
        flip=table("flip", np.uint64, 0),
        scale=table("scale", np.float64, 1.0),
        offset=table("offset", np.float64, 0.0),
        needed_bytes=needed,
        limit=table("limit", np.uint64, _NO_LIMIT) if j1939 else None,
        longest=needed.max(axis=1),
    )


def fill(
    matrix: Matrix,
    words: NDArray[np.uint64],
    lane_of: NDArray[np.intp],
    length: NDArray[np.integer] | None,
) -> tuple[NDArray[np.float64], NDArray[np.intp] | None]:
    """Cut every field of every row out of its word and scale it; `dbc.decoding.plan` says how.

    Shapes: words, lane_of, length (m,); values (m, width), NaN beyond a short payload and where a
            J1939 signal has no value; the number of the latter (m,), None without J1939. ``length``
            None: no payload is short.
    """
    width = matrix.shift.shape[1]
    values = np.empty((len(words), width))
    bits = values.view(np.uint64)
    unavailable = None if matrix.limit is None else np.zeros(len(words), np.intp)
    step = max(1, _CHUNK_VALUES // width)
    for start in range(0, len(words), step):
        part = slice(start, start + step)
        lane, cut, value = lane_of[part], bits[part], values[part]
        np.right_shift(words[part, None], matrix.shift.take(lane, axis=0), out=cut)
        cut &= matrix.mask.take(lane, axis=0)
        says_no = None if matrix.limit is None else cut >= matrix.limit.take(lane, axis=0)
        flip = matrix.flip.take(lane, axis=0)
        cut ^= flip
        value -= flip.view(np.float64)
        value *= matrix.scale.take(lane, axis=0)
        value += matrix.offset.take(lane, axis=0)
        if says_no is not None and unavailable is not None:
            if length is not None:
                says_no &= matrix.needed_bytes.take(lane, axis=0) <= length[part, None]
            unavailable[part] = np.count_nonzero(says_no, axis=1)
            value[says_no] = np.nan
    if length is not None:
        cropped = np.flatnonzero(matrix.longest.take(lane_of) > length)
        absent = matrix.needed_bytes.take(lane_of[cropped], axis=0) > length[cropped, None]
        values[cropped] = np.where(absent, np.nan, values[cropped])
    return values, unavailable
