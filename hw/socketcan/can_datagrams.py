"""SocketCAN's datagrams as frames: pure, from the bytes that the kernel wrote to a `FrameBatch`.

::

    struct can_frame     16 bytes: id and flag bits (4, native), length, 3 unused, 8 of data
    struct canfd_frame   72 bytes: id and flag bits (4, native), length, flags, 2 unused, 64 of data

Beside each stands a control record with the time of arrival (``SO_TIMESTAMPNS``) and, once frames
were lost for want of room, one with how many so far (``SO_RXQ_OVFL``).
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.socketcan.datagrams import Received
from user_lib.contract.frames import (
    BRS,
    ERROR,
    ESI,
    EXTENDED,
    FD,
    MAX_PAYLOAD,
    REMOTE,
    TX,
    FrameBatch,
)

__all__ = [
    "CONTROL_BYTES",
    "EXTENDED_BIT",
    "FRAME_BYTES",
    "SO_RXQ_OVFL",
    "SO_TIMESTAMPNS",
    "STAMP_BYTES",
    "Arrived",
    "frames_of",
    "id_bytes",
    "lost_so_far",
]

FRAME_BYTES = 72
CLASSIC_FRAME_BYTES = 16
CONTROL_BYTES = 64

EXTENDED_BIT = 0x8000_0000
_REMOTE_BIT, _ERROR_BIT = 0x4000_0000, 0x2000_0000
_BUS_OFF = 0x40
"""The error class that says that the controller has left the bus."""

# The first kind of stamp has the time in two longs, which are 64 bits where a pointer is.
SO_TIMESTAMPNS = 35 if ctypes.sizeof(ctypes.c_void_p) == 8 else 64
SO_RXQ_OVFL = 40

_RECORD = struct.Struct("@Nii")
_ALIGN = struct.calcsize("N")
STAMP_BYTES = _RECORD.size + 16
"""What the control records of a datagram take as long as its socket has lost nothing."""
_STAMPED = np.dtype(
    {
        "names": ["mark", "seconds", "nanoseconds"],
        "formats": [np.int64, np.int64, np.int64],
        "offsets": [_ALIGN, _RECORD.size, _RECORD.size + 8],
        "itemsize": CONTROL_BYTES,
    }
)
_STAMP_MARK = struct.unpack("=q", struct.pack("=ii", socket.SOL_SOCKET, SO_TIMESTAMPNS))[0]
"""Level and kind of a record with a stamp, seen as one number."""
_SECOND_NS = 1_000_000_000

_FLAGS_OF_TOP_BITS = np.array(
    [
        (EXTENDED if bits & 4 else 0)
        | (REMOTE if bits & 2 else 0)
        | (ERROR | EXTENDED if bits & 1 else 0)
        for bits in range(8)
    ],
    np.uint8,
)
"""What the three top bits of an id say; the id of an error frame has 29 bits, as in a log."""
_FLAGS_OF_FD = np.array(
    [FD | (BRS if bits & 1 else 0) | (ESI if bits & 2 else 0) for bits in range(256)], np.uint8
)


_FIRST_BYTES = np.array(
    [int.from_bytes(b"\xff" * n + bytes(8 - n), sys.byteorder) for n in range(9)], np.uint64
)
"""Masks of the first n bytes of eight."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """What was received at once.

    Units: ``frames.time_ns``, the kernel's wall clock; 0 for a frame that came without a stamp.
    """

    frames: FrameBatch
    malformed: int
    bus_offs: int


def frames_of(received: Received, bus: NDArray[np.uint8]) -> Arrived:
    """Read datagrams, each of the bus given; what is no frame is left out and counted.

    Shapes: bus (n,). Stride 8 when no frame is longer than that, else 64. All memory is the
            result's own.
    """
    # A batch is small and its code is cold: what a rare kind of frame needs is asked for first.
    word = received.payload.view(np.uint32)[:, 0]
    length = received.payload[:, 4].copy()
    can_id = word & np.uint32(0x1FFF_FFFF)
    top_bits = word >> np.uint32(29)
    flags = np.zeros(len(word), np.uint8)
    if top_bits.any():
        flags = _FLAGS_OF_TOP_BITS.take(top_bits)
    whole = None
    if (received.length != CLASSIC_FRAME_BYTES).any() or length.max(initial=0) > 8:
        whole = _sizes(received, length, flags)
    if received.flags.any():
        whole = _kernel_flags(received, whole, flags)
    held = length
    if whole is not None or flags.any():
        gone = flags & REMOTE != 0
        held = np.where(gone if whole is None else gone | ~whole, np.uint8(0), length)
    data = _payloads(received.payload, held)
    batch = FrameBatch(_stamps(received), bus, can_id, flags, length, data)
    if whole is None or whole.all():
        return Arrived(batch, 0, _bus_offs(batch))
    kept = batch.take(whole)
    return Arrived(kept, len(batch) - len(kept), _bus_offs(kept))


def _sizes(
    received: Received, length: NDArray[np.uint8], flags: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Add the flags of CAN FD; tell which datagrams are of the size of a frame."""
    fd = received.length == FRAME_BYTES
    flags |= np.where(fd, _FLAGS_OF_FD.take(received.payload[:, 5]), np.uint8(0))
    sized: NDArray[np.bool_] = (received.length == CLASSIC_FRAME_BYTES) & (length <= 8)
    sized |= fd & (length <= MAX_PAYLOAD)
    return sized


def _kernel_flags(
    received: Received, whole: NDArray[np.bool_] | None, flags: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Add the flag of frames that this machine has sent; tell which datagrams are not cut off."""
    flags |= np.where(received.flags & socket.MSG_DONTROUTE, np.uint8(TX), np.uint8(0))
    uncut: NDArray[np.bool_] = received.flags & socket.MSG_TRUNC == 0
    return uncut if whole is None else whole & uncut


def _bus_offs(frames: FrameBatch) -> int:
    errors = frames.flags & ERROR
    if not errors.any():
        return 0
    return int(np.count_nonzero((errors != 0) & (frames.can_id & np.uint32(_BUS_OFF) != 0)))


def _payloads(payload: NDArray[np.uint8], held: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the data, zero past its end: a slot still holds what came in it before."""
    stride = 8 if held.max(initial=0) <= 8 else MAX_PAYLOAD
    data = payload[:, 8 : 8 + stride].copy()
    if held.min(initial=stride) == stride:
        return data
    if stride == 8:
        data.view(np.uint64)[:, 0] &= _FIRST_BYTES.take(held)
    else:
        data *= np.arange(stride, dtype=np.uint8) < held[:, None]
    return data


def _stamps(received: Received) -> NDArray[np.int64]:
    """Return the wall clock's time of each arrival; 0 where the kernel gave none."""
    record = received.control.view(_STAMPED)[:, 0]
    stamps: NDArray[np.int64] = record["seconds"] * _SECOND_NS
    stamps += record["nanoseconds"]
    odd = (record["mark"] != _STAMP_MARK) | (received.control_length < STAMP_BYTES)
    if odd.any():
        for row in np.flatnonzero(odd).tolist():  # another record may stand before it
            stamps[row] = _stamp_among(received, row)
    return stamps


def _stamp_among(received: Received, row: int) -> int:
    for kind, content in _records(received, row):
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack_from("=qq", content)
            return int(seconds * _SECOND_NS + nanoseconds)
    return 0


def id_bytes(can_id: int, *, extended: bool) -> bytes:
    """Return the first four bytes of a data frame with this identifier."""
    return (can_id | EXTENDED_BIT * extended).to_bytes(4, sys.byteorder)


def lost_so_far(received: Received, row: int) -> int | None:
    """Return how many frames a socket had lost when this one came, modulo 2**32.

    None as long as it has lost nothing.
    """
    if received.control_length[row] <= STAMP_BYTES:
        return None
    for kind, content in _records(received, row):
        if kind == SO_RXQ_OVFL:
            return int.from_bytes(content[:4], sys.byteorder)
    return None


def _records(received: Received, row: int) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of the socket's own control records beside one datagram."""
    left = received.control[row, : int(received.control_length[row])].tobytes()
    while len(left) >= _RECORD.size:
        length, level, kind = _RECORD.unpack_from(left)
        if not _RECORD.size <= length <= len(left):
            return
        if level == socket.SOL_SOCKET:
            yield kind, left[_RECORD.size : length]
        left = left[-(-length // _ALIGN) * _ALIGN :]
