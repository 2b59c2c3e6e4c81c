"""Datagrams of a socket, many at a time: ``recvmmsg`` into memory that is allocated once.

The kernel writes headers, payloads and control records into numpy arrays: Python makes one call for
hundreds of datagrams, and no object for any of them. The call runs without the interpreter's lock.
"""

import ctypes
import errno
import os
import socket
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Datagrams", "Received"]


class _Vector(ctypes.Structure):
    """``struct iovec``; addresses as numbers, so that numpy can hold them."""

    _fields_ = [("base", ctypes.c_size_t), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = [
        ("name", ctypes.c_size_t),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_size_t),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_size_t),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = [("header", _Header), ("length", ctypes.c_uint)]


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """Datagrams as the kernel handed them over: views that later calls overwrite.

    Shapes: payload (n, payload_bytes) and control (n, control_bytes) uint8, with what earlier
            datagrams left behind ``length`` and ``control_length`` (n,); flags (n,), ``MSG_*``.
    """

    payload: NDArray[np.uint8]
    length: NDArray[np.uint32]
    flags: NDArray[np.int32]
    control: NDArray[np.uint8]
    control_length: NDArray[np.uintp]


class Datagrams:
    """Room for ``slots`` datagrams and their control records, filled from datagram sockets.

    In turn: `receive` from one or several sockets into slots that follow each other, look at
    `received`, and `free` them.
    """

    def __init__(self, slots: int, *, payload_bytes: int, control_bytes: int) -> None:
        self.slots = slots
        self._payload = np.zeros((slots, payload_bytes), np.uint8)
        self._control = np.zeros((slots, control_bytes), np.uint8)
        self._vectors = np.zeros(slots, np.dtype(_Vector))
        self._vectors["base"] = _addresses(self._payload)
        self._vectors["length"] = payload_bytes
        self._messages = np.zeros(slots, np.dtype(_Message))
        header = self._messages["header"]
        header["vectors"] = _addresses(self._vectors)
        header["vector_count"] = 1
        header["control"] = _addresses(self._control)
        header["control_length"] = control_bytes
        self._length, self._flags = self._messages["length"], header["flags"]
        self._control_length = header["control_length"]
        self._first, self._step = self._messages.ctypes.data, self._messages.strides[0]
        self._call = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._call.argtypes = (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        )

    def receive(self, fd: int, slot: int, most: int) -> int:
        """Take datagrams that are waiting into the slots from ``slot`` on; return how many.

        At most ``most`` are taken, and none is waited for.

        Raises: OSError, as the socket reports it; datagrams taken before it came are not lost.
        """
        most = min(most, self.slots - slot)
        address = self._first + slot * self._step
        count: int = self._call(fd, address, most, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                raise OSError(number, os.strerror(number))
            return 0
        return count

    def first_words(self, count: int) -> bytes:
        """Return the first four bytes of each of the first ``count`` datagrams, end to end."""
        return self._payload.view(np.uint32)[:count, 0].tobytes()

    def control_bytes(self, slot: int) -> int:
        """Return how long the control records of the datagram in a slot are."""
        return int(self._control_length[slot])

    def received(self, count: int) -> Received:
        """Return the first ``count`` slots as they were filled."""
        return Received(
            self._payload[:count],
            self._length[:count],
            self._flags[:count],
            self._control[:count],
            self._control_length[:count],
        )

    def free(self, count: int) -> None:
        """Give the first ``count`` slots back: what was received in them may be overwritten."""
        self._control_length[:count] = self._control.shape[1]


def _addresses(rows: NDArray[np.generic]) -> NDArray[np.uintp]:
    """Return where each row of an array begins in memory."""
    first, step = rows.ctypes.data, rows.strides[0]
    return (first + step * np.arange(len(rows))).astype(np.uintp)
