"""Which connections there are, whose they are, and which of them have to go: decisions only.

A connection that has said nothing yet is a newcomer: who it is shows with its first message, since
only that tells key and descriptor together. So newcomers are bounded by their address, the others
by their key, and all of them by what descriptors there are:

- A newcomer takes a token of its address and gives it back with its first message. Who knocks and
  never says a word runs out of them; a whole fleet behind one address does not.
- Of a key that has too many, the oldest goes: the newest is the one that a peer means to use.
- Where there is no room at all, the newcomer goes that has been silent for longest.
- Who says nothing for too long goes.
"""

from typing import Literal, NamedTuple, TypeAlias

from cloud.config import Pace
from cloud.door.allowance import Allowance
from user_lib.contract.clock import SECOND

__all__ = ["Attendance", "Sent", "Why"]

Why: TypeAlias = Literal["address", "full", "key", "silent"]
EARLY_NS = 5 * SECOND
"""How much later than its first message a connection may be seen to come."""


class Sent(NamedTuple):
    """A connection that is sent away, and by which of the rules."""

    fd: int
    why: Why
    who: str
    """Its address, or its key."""


class _Newcomer(NamedTuple):
    address: str
    since_ns: int


class _Early(NamedTuple):
    key: str
    most: int
    since_ns: int


class Attendance:
    """All connections by descriptor. What is sent away is gone from here at once.

    Units: ``now_ns``, ns of the monotonic clock.
    """

    def __init__(self, newcomers: Pace, silent_s: float, most: int) -> None:
        self._tokens = Allowance(newcomers.rate)
        self._silent_ns = int(silent_s * SECOND)
        self._most = most
        self._newcomers: dict[int, _Newcomer] = {}
        """The oldest first."""
        self._known: dict[int, str] = {}
        self._of_key: dict[str, dict[int, None]] = {}
        self._early: dict[int, _Early] = {}
        """Whose first message was there before the word that they came."""
        self._going: set[int] = set()

    @property
    def newcomers(self) -> int:
        """How many have said nothing yet."""
        return len(self._newcomers)

    @property
    def known(self) -> int:
        """How many have said something."""
        return len(self._known)

    def knows(self, fd: int, key: str) -> bool:
        """Whether `spoke` would change nothing; for any thread."""
        return self._known.get(fd) == key

    def came(self, fd: int, address: str, now_ns: int) -> list[Sent]:
        """Take in a connection."""
        self.left(fd)
        early = self._early.pop(fd, None)
        if early is not None and now_ns - early.since_ns < EARLY_NS:
            return [*self._keep(fd, early.key, early.most), *self._crowded()]
        if not self._tokens.take(address, 0, now_ns):
            self._going.add(fd)
            return [Sent(fd, "address", address)]
        self._newcomers[fd] = _Newcomer(address, now_ns)
        return self._crowded()

    def left(self, fd: int) -> None:
        """Forget a connection that is over."""
        self._going.discard(fd)
        self._newcomers.pop(fd, None)
        self._drop(fd)

    def spoke(self, fd: int, key: str, most: int, now_ns: int) -> list[Sent]:
        """Note whose a connection is; ``most`` is how many that one may have."""
        if fd in self._going or self.knows(fd, key):
            return []
        newcomer = self._newcomers.pop(fd, None)
        if newcomer is not None:
            self._tokens.give_back(newcomer.address, now_ns)
        elif not self._is_late(fd, _Early(key, most, now_ns)):
            return []
        return [*self._keep(fd, key, most), *self._crowded()]

    def overdue(self, now_ns: int) -> list[Sent]:
        """Send away who has been silent for too long."""
        sent = []
        while self._newcomers:
            fd, newcomer = next(iter(self._newcomers.items()))
            if now_ns - newcomer.since_ns < self._silent_ns:
                break
            sent.append(self._dismiss(fd, "silent"))
        return sent

    def dismiss(self, key: str) -> list[int]:
        """Send away all connections of a key; return which those are."""
        sent = self.of_key(key)
        for fd in sent:
            self._drop(fd)
            self._going.add(fd)
        return sent

    def of_key(self, key: str) -> list[int]:
        """Return the connections of a key."""
        return list(self._of_key.get(key, ()))

    def _is_late(self, fd: int, now: "_Early") -> bool:
        """Whether the word that this connection came will not come any more."""
        early = self._early.get(fd)
        if early is None or early.key != now.key:
            early = self._early[fd] = now
        return now.since_ns - early.since_ns >= EARLY_NS

    def _crowded(self) -> list[Sent]:
        """Send a newcomer away where there is no room for all."""
        if not self._newcomers or self.newcomers + self.known <= self._most:
            return []
        return [self._dismiss(next(iter(self._newcomers)), "full")]

    def _dismiss(self, fd: int, why: Why) -> Sent:
        newcomer = self._newcomers.pop(fd)
        self._going.add(fd)
        return Sent(fd, why, newcomer.address)

    def _keep(self, fd: int, key: str, most: int) -> list[Sent]:
        """Note whose a connection is, and send away the oldest of a key that has too many."""
        self._drop(fd)
        self._known[fd] = key
        self._of_key.setdefault(key, {})[fd] = None
        sent = []
        while key and len(self._of_key[key]) > most:
            oldest = next(iter(self._of_key[key]))
            self._drop(oldest)
            self._going.add(oldest)
            sent.append(Sent(oldest, "key", key))
        return sent

    def _drop(self, fd: int) -> None:
        key = self._known.pop(fd, None)
        if key is None:
            return
        of_key = self._of_key[key]
        del of_key[fd]
        if not of_key:
            del self._of_key[key]
