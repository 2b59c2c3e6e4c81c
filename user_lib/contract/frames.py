"""CAN frames in batches: what sources produce and decoders consume, with no object per frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BRS", "ERROR", "ESI", "EXTENDED", "FD", "MAX_PAYLOAD", "REMOTE", "TX", "FrameBatch"]

EXTENDED = 1
"""The identifier has 29 bits; without it, 11."""
REMOTE = 2
"""A remote transmission request: carries no data."""
ERROR = 4
"""An error frame: carries no data of any message."""
FD = 8
"""A CAN FD frame."""
BRS = 16
"""CAN FD bit rate switch."""
ESI = 32
"""CAN FD error state indicator."""
TX = 64
"""Sent by the recording machine itself, not received."""

MAX_PAYLOAD = 64


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames of one read, of one or several buses, in the order in which they were read.

    Shapes: all (n,) but ``data`` (n, stride), stride 8 (classic only) or 64, zero after ``length``.
    Units:  ``time_ns``, ns of source time: a live source gives ns since the Unix epoch that advance
            with the monotonic clock, a log its own time. ``bus`` indexes the source's ``channels``.
    """

    time_ns: NDArray[np.int64]
    bus: NDArray[np.uint8]
    can_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def empty(cls, stride: int = 8) -> "FrameBatch":
        """Return a batch of no frames."""
        return cls.zeros(0, stride)

    @classmethod
    def zeros(cls, n: int, stride: int = 8) -> "FrameBatch":
        """Return ``n`` frames to be filled in place."""
        return cls(
            np.zeros(n, np.int64),
            np.zeros(n, np.uint8),
            np.zeros(n, np.uint32),
            np.zeros(n, np.uint8),
            np.zeros(n, np.uint8),
            np.zeros((n, stride), np.uint8),
        )

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "FrameBatch":
        """Return the frames that an index, mask or slice selects."""
        return FrameBatch(
            self.time_ns[which],
            self.bus[which],
            self.can_id[which],
            self.flags[which],
            self.length[which],
            self.data[which],
        )

    @classmethod
    def concatenate(cls, batches: "list[FrameBatch]") -> "FrameBatch":
        """Join batches end to end; the stride becomes the widest of them."""
        if not batches:
            return cls.empty()
        stride = max(b.data.shape[1] for b in batches)
        data = np.zeros((sum(map(len, batches)), stride), np.uint8)
        row = 0
        for b in batches:
            data[row : row + len(b), : b.data.shape[1]] = b.data
            row += len(b)
        return cls(
            np.concatenate([b.time_ns for b in batches]),
            np.concatenate([b.bus for b in batches]),
            np.concatenate([b.can_id for b in batches]),
            np.concatenate([b.flags for b in batches]),
            np.concatenate([b.length for b in batches]),
            data,
        )
