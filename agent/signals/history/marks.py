"""Where the rings stand in the arena, and how the rows of one batch are written for all at once.

A page holds the columns of its rows one after the other: times, payloads, lengths, sources. Where
the next row of a message goes is one number a column: its place in the whole arena, if that were
one array of the column's type.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.rows import Rows

__all__ = ["Marks"]

_TIME, _PAYLOAD, _LENGTH, _SOURCE = range(4)
_WORD = 8


class Marks:
    """Where each ring stands, by message: arrays, so that one batch can move all rings at once.

    ``head`` is the number of the row that comes next; ``room``, how many fit in the page that takes
    it; ``latest_ns``, the newest row's time. ``strides`` are multiples of 8.
    """

    def __init__(self, strides: Sequence[int], arena: NDArray[np.uint8]) -> None:
        messages = len(strides)
        self.head = np.zeros(messages, np.int64)
        self.room = np.zeros(messages, np.int64)
        self.latest_ns = np.zeros(messages, np.int64)
        self._page_bytes = arena.shape[1]
        self._bytes = arena.reshape(-1)
        self._halves, self._words = self._bytes.view(np.uint16), self._bytes.view(np.int64)
        self._width = np.array(strides, np.int64) // _WORD
        self._at = np.zeros((4, messages), np.int64)
        self._step = np.ones((4, messages), np.int64)
        self._step[_PAYLOAD] = self._width

    def open_page(self, message: int, slot: int, rows: int) -> None:
        """Let the next rows of a message go to an empty page of the arena."""
        start, stride = slot * self._page_bytes, int(self._width[message]) * _WORD
        self.room[message] = rows
        self._at[_TIME, message] = start // 8
        self._at[_PAYLOAD, message] = start // 8 + rows
        self._at[_LENGTH, message] = (start + (8 + stride) * rows) // 2
        self._at[_SOURCE, message] = start + (10 + stride) * rows

    def advance(self, message: int, rows: int) -> None:
        """Note that so many rows of a message have been written."""
        self._at[:, message] += rows * self._step[:, message]
        self.room[message] -= rows
        self.head[message] += rows

    def write(
        self,
        rows: Rows,
        message: NDArray[np.int32],
        counts: NDArray[np.intp],
        first: NDArray[np.intp],
    ) -> None:
        """Write rows that are ordered by message and fit in the pages there are.

        Shapes: message (n,), each row's; counts and first, of each message how many rows it has
                and the first of them. Payloads are as long as the longest message among them.
        """
        ahead = np.arange(len(message))
        at = (self._at - first * self._step).take(message, axis=1)
        at += ahead
        self._words[at[_TIME]] = rows.time_ns
        self._bytes[at[_SOURCE]] = rows.source
        payload = rows.data.view(np.int64)
        if payload.shape[1] == 1:
            self._words[at[_PAYLOAD]] = payload[:, 0]
            self._halves[at[_LENGTH]] = np.minimum(rows.length, np.uint16(_WORD))
        else:
            width = self._width.take(message)
            at[_PAYLOAD] += ahead * (width - 1)
            least = int(width.min())
            self._words[at[_PAYLOAD, :, None] + np.arange(least)] = payload[:, :least]
            for column in range(least, int(width.max())):
                there = width > column
                self._words[at[_PAYLOAD, there] + column] = payload[there, column]
            self._halves[at[_LENGTH]] = np.minimum(rows.length, (_WORD * width).astype(np.uint16))
        self._at += counts * self._step
        self.room -= counts
        self.head += counts
        self.latest_ns[message] = rows.time_ns  # the last row of each message is the last written
