"""The TCP connections behind the router's socket: cut one by one, since ZeroMQ cuts none.

ZeroMQ takes in the frames of a message until the last of them, whatever their number, and shows
nothing of it before: a peer can fill the memory with a message that never ends. The kernel knows
how much came by each connection, and each message that was handed on by which one it came.
"""

import errno
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["Connections"]

GROWN_BYTES = 64 * 1024 * 1024
"""When this process has grown by so much, it looks where that comes from."""
OVERDUE_BYTES = 64 * 1024 * 1024
"""What a connection may have sent, since it was last looked at, that makes no whole message."""
_RECEIVED_AT = 128
"""Where `tcp_info` of Linux has the bytes received, 64 bit."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Connections:
    """Knows connections by descriptor; of the loop's thread."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._base: dict[int, tuple[int, int]] = {}
        """By descriptor: which socket, and what it owed when it was first looked at."""
        self._calm_bytes = resident_bytes()
        self.cut = 0

    def took(self, fd: int, size: int) -> None:
        """Note that a message of so many bytes came by a connection."""
        self._taken[fd] += size

    def hang_up(self, fd: int) -> bool:
        """End a connection; False when it is gone already. ZeroMQ notices as if the peer had.

        Should its descriptor just have become another peer's, that one connects again.
        """
        with suppress(OSError), _borrowed(fd) as connection:
            connection.shutdown(socket.SHUT_RDWR)
            self.cut += 1
            return True
        return False

    def look(self) -> int:
        """If this process has grown, cut whose messages never end; return how many those are."""
        resident = resident_bytes()
        if resident - self._calm_bytes < GROWN_BYTES:
            self._calm_bytes = min(self._calm_bytes, resident)
            return 0
        self._calm_bytes = resident
        overdue = list(self._overdue())
        return sum(self.hang_up(fd) for fd in overdue)

    def _overdue(self) -> Iterator[int]:
        known, self._base = self._base, {}
        for fd, inode, received in _tcp_connections():
            owed = received - self._taken[fd]
            before = known.get(fd)
            if before is None or before[0] != inode:
                before = (inode, min(owed, 0))  # below 0: the descriptor was another's before
            self._base[fd] = before
            if owed - before[1] > OVERDUE_BYTES:
                yield fd


def resident_bytes() -> int:
    """Return how much memory this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def _tcp_connections() -> Iterator[tuple[int, int, int]]:
    """Yield descriptor, inode and bytes received of each TCP connection of this process."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError), _borrowed(fd) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            if len(info) >= _RECEIVED_AT + 8:
                (received,) = struct.unpack_from("=Q", info, _RECEIVED_AT)
                yield fd, os.fstat(connection.fileno()).st_ino, received


def _borrowed(fd: int) -> socket.socket:
    """Return a socket of one's own for a descriptor's connection. Raises: OSError."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    own = os.dup(fd)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
