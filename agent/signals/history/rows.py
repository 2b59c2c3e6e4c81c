"""Rows of one message: what the history keeps of each of its frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "row_bytes"]


def row_bytes(stride: int) -> int:
    """How many bytes of a page a row takes: its time, length, source address and payload."""
    return 8 + 2 + 1 + stride


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Consecutive rows of one ring; the first has number ``start``.

    Shapes: time_ns, length, source (n,); data (n, stride). Units: ns of source time.
    ``source`` is the low byte of the identifier: who sent it, if the message is one of J1939.
    """

    start: int
    time_ns: NDArray[np.int64]
    length: NDArray[np.uint16]
    source: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    def part(self, start: int, stop: int) -> "Rows":
        """Return the rows at these places of this stretch."""
        return self.chosen(slice(start, stop), start)

    def chosen(self, which: NDArray[np.bool_] | slice, start: int = 0) -> "Rows":
        """Return the rows that a mask or slice selects; the first one's place is ``start``."""
        return Rows(
            self.start + start,
            self.time_ns[which],
            self.length[which],
            self.source[which],
            self.data[which],
        )

    @classmethod
    def none(cls, start: int, stride: int) -> "Rows":
        """Return no rows."""
        nothing = np.zeros(0, np.uint8)
        length = np.zeros(0, np.uint16)
        return cls(start, np.zeros(0, np.int64), length, nothing, np.zeros((0, stride), np.uint8))
