"""Connections whose messages never end: found, since ZeroMQ shows nothing of them, and cut.

ZeroMQ takes in the frames of a message until the last of them, whatever their number, and shows
nothing of it before: a peer can fill the memory with a message that never ends. The kernel knows
how much came by each connection, and each message that was handed on by which one it came.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from user_lib.wire.tcp import hang_up, received_bytes

__all__ = ["Connections"]

GROWN_BYTES = 64 * 1024 * 1024
"""When this process has grown by so much, it looks where that comes from."""
OVERDUE_BYTES = 64 * 1024 * 1024
"""What a connection may have sent, since it was last looked at, that makes no whole message."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Connections:
    """Knows connections by descriptor; of the loop's thread."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._base: dict[int, tuple[int, int]] = {}
        """By descriptor: which socket, and what it owed when it was first looked at."""
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        """Kept open, since there may be no descriptor left when memory is short."""
        self._calm_bytes = self._resident_bytes()

    def took(self, fd: int, size: int) -> None:
        """Note that a message of so many bytes came by a connection."""
        self._taken[fd] += size

    def look(self) -> int:
        """If this process has grown, cut whose messages never end; return how many those are."""
        resident = self._resident_bytes()
        if resident - self._calm_bytes < GROWN_BYTES:
            self._calm_bytes = min(self._calm_bytes, resident)
            return 0
        self._calm_bytes = resident
        overdue = list(self._overdue())
        return sum(hang_up(fd) for fd in overdue)

    def close(self) -> None:
        """Let go of the kernel's word."""
        os.close(self._statm)

    def _resident_bytes(self) -> int:
        """Return how much memory this process has in use."""
        return int(os.pread(self._statm, 200, 0).split()[1]) * _PAGE_BYTES

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


def _tcp_connections() -> Iterator[tuple[int, int, int]]:
    """Yield descriptor, inode and bytes received of each TCP connection of this process."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError):
            received = received_bytes(fd)
            if received is not None:
                yield fd, os.fstat(fd).st_ino, received
