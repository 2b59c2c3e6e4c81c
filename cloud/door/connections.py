"""What connections sent that was not handed on: counted, since ZeroMQ shows nothing of it.

ZeroMQ takes in the frames of a message until the last of them, whatever their number, and shows
nothing of it before: a peer can fill the memory with a message that never ends, and many peers with
messages that are each no longer than allowed. The kernel knows how much came by each connection,
and each message that was handed on by which one it came.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from cloud.door.unread import Cut, Unread, Why, crowding, endless
from user_lib.contract.clock import SECOND
from user_lib.wire.tcp import hang_up, peer_address, received_bytes

__all__ = ["Connections"]

GROWN_BYTES = 64 * 1024 * 1024
"""When this process has grown by so much, it looks where that comes from."""
LOOK_NS = 1 * SECOND
"""And again so often, while one of them may be of a message without an end."""
PINGS_BYTES_PER_S = 16
"""What came and is no message: a client's pings, one of 42 bytes each five seconds."""
_CURVE_BYTES = 33
_SHORT_BYTES, _SHORT_HEAD, _LONG_HEAD = 255, 2, 9
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Connection:
    route: bytes
    key: str
    inode: int
    since_ns: int
    taken_bytes: int = 0
    taken_before: int = 0
    """At the last look."""
    looks: int = 0
    """Since a message came to its end."""


class Connections:
    """Knows connections by descriptor; of the loop's thread.

    ``most_bytes``: what all together may have sent that was not handed on.
    """

    def __init__(self, most_bytes: int, *, keyed: bool) -> None:
        self._most_bytes, self._keyed = most_bytes, keyed
        self._known: dict[int, list[_Connection]] = {}
        """The latest two of a descriptor: messages of the one before may be handed on after the
        first of its successor."""
        self._now_ns = 0
        """When it was last looked; no later than now."""
        self._watching, self._due_ns = False, 0
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        """Kept open, since there may be no descriptor left when memory is short."""
        self._calm_bytes = self._resident_bytes()

    def sent_bytes(self, size: int) -> int:
        """Return how long a frame is on its way, as short as it can be written.

        Who could be counted more than was sent would have that to spare.
        """
        size += _CURVE_BYTES if self._keyed else 0
        return size + (_SHORT_HEAD if size <= _SHORT_BYTES else _LONG_HEAD)

    def took(self, fd: int, route: bytes, key: str, sent_bytes: int) -> None:
        """Note that a message that was so long on its way came by a connection."""
        of_fd = self._known.setdefault(fd, [])
        for known in of_fd:
            if known.route == route:
                known.taken_bytes += sent_bytes
                return
        with suppress(OSError):  # it is gone already
            inode = os.fstat(fd).st_ino
            of_fd.insert(0, _Connection(route, key, inode, self._now_ns, sent_bytes))
            del of_fd[2:]

    def look(self, now_ns: int) -> list[Cut]:
        """If this process has grown, hang up on who sent too much that is no whole message."""
        if not self._now_ns:
            self._begin(now_ns)
        self._now_ns = now_ns
        resident = self._resident_bytes()
        grown = resident - self._calm_bytes >= GROWN_BYTES
        self._calm_bytes = resident if grown else min(self._calm_bytes, resident)
        is_due = now_ns >= self._due_ns
        if not grown and not (self._watching and is_due):
            return []
        if is_due:
            self._due_ns = now_ns + LOOK_NS
        unread = list(self._unread(is_due))
        self._watching = any(one.is_suspect for one in unread)
        cut = [_cut(one, "endless") for one in endless(unread)]
        going = {each.fd for each in cut}
        rest = [one for one in unread if one.fd not in going]
        cut += [_cut(one, "unread") for one in crowding(rest, self._most_bytes, _owner)]
        return [each for each in cut if hang_up(each.fd)]

    def close(self) -> None:
        """Let go of the kernel's word."""
        os.close(self._statm)

    def _begin(self, now_ns: int) -> None:
        for known in chain.from_iterable(self._known.values()):
            known.since_ns = now_ns

    def _resident_bytes(self) -> int:
        """Return how much memory this process has in use."""
        return int(os.pread(self._statm, 200, 0).split()[1]) * _PAGE_BYTES

    def _unread(self, is_due: bool) -> Iterator[Unread]:
        before, self._known = self._known, {}
        for fd, inode, received in _tcp_connections():
            of_fd = [known for known in before.get(fd, ()) if known.inode == inode]
            theirs = [known for known in of_fd if known.taken_bytes <= received]
            if not theirs:  # nothing was handed on yet, or only of who had the descriptor before
                theirs = [_Connection(b"", "", inode, self._now_ns)]
                of_fd = theirs
            self._known[fd] = of_fd
            known = max(theirs, key=lambda one: one.taken_bytes)
            known.looks = known.looks + is_due if known.taken_bytes == known.taken_before else 0
            known.taken_before = known.taken_bytes
            pings = (self._now_ns - known.since_ns) * PINGS_BYTES_PER_S // SECOND
            owed = max(0, received - known.taken_bytes - pings)
            yield Unread(fd, known.key, owed, known.looks)


def _owner(unread: Unread) -> str:
    return unread.key or peer_address(unread.fd) or ""


def _cut(unread: Unread, why: Why) -> Cut:
    address = "" if unread.key else peer_address(unread.fd) or "somewhere"
    return Cut(unread.fd, why, unread.key, address, unread.owed_bytes)


def _tcp_connections() -> Iterator[tuple[int, int, int]]:
    """Yield descriptor, inode and bytes received of each TCP connection of this process."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError):
            received = received_bytes(fd)
            if received is not None:
                yield fd, os.fstat(fd).st_ino, received
