"""Who is at the other end of a connection: the one place that decides it.

A connection is opened with a CURVE key, and every message carries that key as ZeroMQ verified it.
The key's card in the cloud's directory says name and role; it is looked up for each message, so
that a revoked key counts for nothing from the next one on. What a message claims must agree.

In insecure mode, which never leaves this machine, a peer is who it says it is.
"""

from dataclasses import dataclass
from typing import NamedTuple

from user_lib.contract.card import Card, Role
from user_lib.wire.keyring import Keyring

__all__ = ["ENROLLED", "Auth", "Identity", "Peer"]

ENROLLED: tuple[Role, ...] = ("vehicle", "analyst", "engineer", "operator")
"""Whose cards let in: all but a cloud's."""


class Peer(NamedTuple):
    """A connection: the random identity that the router gave it, and the key it was opened with."""

    route: bytes
    key: str = ""
    """The public key in hex; empty in insecure mode."""

    def __str__(self) -> str:
        return f"{self.route.hex()} (key {self.key[:16] or 'none'})"


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled party, by name."""

    role: Role
    name: str


class Auth:
    """Says who a peer is; without a ``keyring``, whoever it claims to be."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring
        self._seen = 0

    @property
    def insecure(self) -> bool:
        """Whether there are no keys."""
        return self._keyring is None

    def card(self, peer: Peer) -> Card | None:
        """Return the card of a peer's key as of now."""
        return None if self._keyring is None else self._keyring.find(peer.key)

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards as of now."""
        return () if self._keyring is None else self._keyring.cards

    def cards_of(self, name: str) -> tuple[Card, ...]:
        """Return the cards of a name as of now: two while its keys are rotated."""
        return () if self._keyring is None else self._keyring.named(name)

    def admits(self, peer: Peer) -> bool:
        """Whether a peer may be heard and sent anything as of now."""
        return self._keyring is None or self._keyring.find(peer.key) is not None

    def identify(self, peer: Peer, claimed: str, expected: Role) -> Identity | None:
        """Return who ``peer`` is as of now; None when it is not what it claims to be.

        ``expected`` is the role of the side whose messages it sends: engineers and operators ask
        as analysts do.
        """
        if self._keyring is None:
            return Identity(expected, claimed)
        card = self._keyring.find(peer.key)
        if card is None or card.name != claimed:
            return None
        if (card.role == "vehicle") != (expected == "vehicle"):
            return None
        return Identity(card.role, card.name)

    def refresh(self) -> bool:
        """Look whether cards came or went since the last look; cheap enough for every turn.

        The doorman looks too, so it is the version that tells.
        """
        if self._keyring is None:
            return False
        self._keyring.refresh()
        seen, self._seen = self._seen, self._keyring.version
        return seen != self._seen
