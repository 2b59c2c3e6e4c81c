"""Bytes that ZeroMQ still holds for peers that do not read: bounded a peer and in all.

ZeroMQ bounds a connection's queue by messages, which may be of any size, and a peer may have many
connections. So replies to analysts, and large messages to vehicles, are handed over with a tracker
that tells when their bytes were written to the network; what else vehicles get is bounded well
enough by its number.
"""

from collections.abc import Hashable
from typing import Protocol

__all__ = ["LARGE_BYTES", "Backlog", "Tracker"]

LARGE_BYTES = 32 * 1024
"""From here on a message to a vehicle is tracked, which costs some 20 µs."""


class Tracker(Protocol):
    """What tells whether a message has left."""

    @property
    def done(self) -> bool:
        """Whether it has."""
        ...


class Backlog:
    """What is on its way, by peer. A peer that holds nothing may always have one message."""

    def __init__(self, *, peer_bytes: int, total_bytes: int) -> None:
        self._peer_bytes, self._total_bytes = peer_bytes, total_bytes
        self._held: dict[Hashable, list[tuple[int, Tracker]]] = {}
        self._bytes: dict[Hashable, int] = {}
        self.held_bytes = 0

    def has_room(self, peer: Hashable, size: int) -> bool:
        """Whether a message may be queued for a peer as of now."""
        self._settle(peer)
        mine = self._bytes.get(peer, 0)
        if not mine:
            return True
        if self.held_bytes + size > self._total_bytes:
            for other in list(self._held):
                self._settle(other)
        return mine + size <= self._peer_bytes and self.held_bytes + size <= self._total_bytes

    def hold(self, peer: Hashable, size: int, tracker: Tracker) -> None:
        """Note a message that was queued."""
        self._held.setdefault(peer, []).append((size, tracker))
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self.held_bytes += size

    def settle(self) -> None:
        """Forget whatever has left; for peers that are never sent anything again."""
        for peer in list(self._held):
            self._settle(peer)

    def _settle(self, peer: Hashable) -> None:
        """Forget what has left."""
        held = self._held.pop(peer, ())
        left = [(size, tracker) for size, tracker in held if not tracker.done]
        before, after = self._bytes.pop(peer, 0), sum(size for size, _ in left)
        self.held_bytes += after - before
        if left:
            self._held[peer], self._bytes[peer] = left, after
