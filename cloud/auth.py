"""Who is at the other end of a connection: the one place that decides it.

There are no keys yet, so a peer is who it says it is; that is why the cloud binds to loopback only,
unless it is told otherwise. CURVE keys will slot in here: `identify` will then look at the key that
the connection was opened with, and what a message claims must agree with it.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Identity", "Peer", "Role", "identify"]

Peer: TypeAlias = bytes
"""The random identity that the router gave a connection."""
Role: TypeAlias = Literal["vehicle", "analyst"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A vehicle or an analyst, by name."""

    role: Role
    name: str


def identify(peer: Peer, role: Role, claimed: str) -> Identity | None:
    """Return who ``peer`` is, given what it claims to be; None when it may not be that."""
    return Identity(role, claimed) if peer else None
