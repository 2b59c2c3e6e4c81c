"""A bounded, preallocated table of frames that is filled one frame at a time."""

import struct

import numpy as np

from user_lib.contract.frames import MAX_PAYLOAD, FrameBatch

__all__ = ["FrameRecords"]

_RECORD = struct.Struct(f"<qIBBB{MAX_PAYLOAD}s")
_DTYPE = np.dtype(
    [
        ("time_ns", "<i8"),
        ("can_id", "<u4"),
        ("bus", "u1"),
        ("flags", "u1"),
        ("length", "u1"),
        ("data", "u1", (MAX_PAYLOAD,)),
    ]
)


class FrameRecords:
    """Frames in one preallocated block of bytes; packing one takes a single C call.

    Whoever fills it asks `full` first: a record beyond the capacity is an IndexError.
    """

    __slots__ = ("_bytes", "_count", "_pack", "capacity_frames")

    def __init__(self, capacity_frames: int) -> None:
        self.capacity_frames = capacity_frames
        self._bytes = bytearray(capacity_frames * _RECORD.size)
        self._count = 0
        self._pack = _RECORD.pack_into

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether no further frame fits."""
        return self._count >= self.capacity_frames

    def append(
        self, time_ns: int, bus: int, can_id: int, flags: int, length: int, payload: bytes
    ) -> None:
        """Store one frame; ``payload`` is padded with zeros. Raises IndexError when full."""
        if self._count >= self.capacity_frames:
            raise IndexError(f"all {self.capacity_frames} records are in use")
        offset = self._count * _RECORD.size
        self._pack(self._bytes, offset, time_ns, can_id, bus, flags, length, payload)
        self._count += 1

    def take(self) -> FrameBatch:
        """Return the frames stored, as columns of their own memory, and forget them.

        Shapes: as `FrameBatch`; stride 8 when no frame is longer than that, else 64.
        """
        rows = np.frombuffer(self._bytes, _DTYPE, self._count)
        stride = 8 if not self._count or rows["length"].max() <= 8 else MAX_PAYLOAD
        batch = FrameBatch(
            rows["time_ns"].astype(np.int64),
            rows["bus"].copy(),
            rows["can_id"].astype(np.uint32),
            rows["flags"].copy(),
            rows["length"].copy(),
            rows["data"][:, :stride].copy(),
        )
        self._count = 0
        return batch
