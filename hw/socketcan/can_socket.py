"""Opening a raw SocketCAN socket as the reader of all its frames wants it."""

import ctypes
import errno
import fcntl
import logging
import socket
import struct
from dataclasses import dataclass

from hw.exclusion import kernel_filter
from hw.socketcan.can_datagrams import SO_RXQ_OVFL, SO_TIMESTAMPNS
from user_lib.contract.errors import SourceError

__all__ = ["CanSocket", "prepare"]

log = logging.getLogger("hw.socketcan")

_SOL_CAN_RAW, _ERROR_FILTER, _FD_FRAMES = 101, 2, 5
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_IFREQ = struct.Struct("16sH22x")
_LONGEST_NAME = 15
_ALL_ERRORS = 0x1FFF_FFFF

FRAME_COST_BYTES = 768
"""What a frame that waits in the kernel takes of the buffer, its bookkeeping included (6.1)."""


@dataclass(frozen=True, slots=True)
class CanSocket:
    """How to open the socket of one interface, and how to ask whether the interface is up."""

    interface: str
    capacity_frames: int
    excluded: frozenset[int] = frozenset()

    def open(self) -> socket.socket:
        """Open and bind a socket that takes every frame, CAN FD and error frames too.

        Raises: SourceError, when no waiting will help; OSError, when the interface is not there.
        """
        if not 0 < len(self.interface.encode()) <= _LONGEST_NAME:
            raise SourceError(f"{self.interface!r} is no name of a network interface, such as can0")
        opened = _raw_socket()
        try:
            _try_option(opened, _FD_FRAMES, 1)
            _try_option(opened, _ERROR_FILTER, _ALL_ERRORS)
            granted = prepare(opened, self.capacity_frames, self.excluded)
            opened.bind((self.interface,))
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        self._tell_of_buffer(granted)
        return opened

    def is_up(self, opened: socket.socket) -> bool:
        """Whether the interface passes frames. Raises: OSError, when it does not exist."""
        asked = _IFREQ.pack(self.interface.encode(), 0)
        flags: int = _IFREQ.unpack(fcntl.ioctl(opened, _SIOCGIFFLAGS, asked))[1]
        return bool(flags & _IFF_UP)

    def _tell_of_buffer(self, granted_frames: int) -> None:
        if granted_frames < self.capacity_frames:
            log.warning(
                "CAN interface %s: the kernel keeps about %d waiting frames, asked were %d "
                "(capacity_frames); set sysctl net.core.rmem_max=%d to get them",
                self.interface,
                granted_frames,
                self.capacity_frames,
                _half_of_buffer(self.capacity_frames),
            )


def _raw_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise
        raise SourceError(
            f"this kernel has no SocketCAN ({error.strerror}); load it with modprobe can-raw, or "
            "name another interface of python-can"
        ) from error


def _try_option(opened: socket.socket, option: int, value: int) -> None:
    """Ask for what only an ancient kernel refuses."""
    try:
        opened.setsockopt(_SOL_CAN_RAW, option, value)
    except OSError as error:
        log.warning("the kernel refused CAN option %d (%s); going on without", option, error)


def prepare(opened: socket.socket, capacity_frames: int, excluded: frozenset[int]) -> int:
    """Give a datagram socket its buffer, stamps, count of losses and filter.

    Returns how many frames can wait in it, about.
    """
    _enlarge(opened, _half_of_buffer(capacity_frames))
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    if excluded:
        _attach(opened, kernel_filter(excluded))
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // FRAME_COST_BYTES


def _half_of_buffer(capacity_frames: int) -> int:
    """Return what to ask for: the kernel doubles it."""
    return capacity_frames * FRAME_COST_BYTES // 2


def _enlarge(opened: socket.socket, asked_bytes: int) -> None:
    """Set the receive buffer; beyond the machine's limit where this process may do that."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, asked_bytes)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked_bytes)


def _attach(opened: socket.socket, program: bytes) -> None:
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
