"""Whether a message is handled at all: its sender must be let in, and not send too much.

Looks at nothing but the frames' sizes, so what is turned away costs next to nothing. Who asked and
is turned away is told so, seldom; a vehicle needs no telling: it was told its rate when it came,
and what is not acknowledged it sends again.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from cloud.auth import Auth, Peer
from cloud.complaints import Complaints
from cloud.config import Bounds, Rate
from cloud.door.allowance import Allowance
from cloud.mail import Mail
from user_lib.contract.clock import Clock
from user_lib.contract.codec import direction
from user_lib.contract.messages import Rejection

__all__ = ["Gate", "Verdict", "number_of"]

Verdict: TypeAlias = Literal["handle", "ignore", "hang up"]

TOLD = Rate(messages_per_s=2.0, mb_per_s=1000.0, burst_s=2.0)
"""How often a peer is told that it asks too much."""
FLOOD = Rate(messages_per_s=1000.0, mb_per_s=64.0, burst_s=5.0)
"""What may be turned away of a peer before it is hung up on: to read it and throw it away is dear
enough, and nobody who means well sends so much beyond the rate."""
MAX_ANSWERED_BYTES = 64 * 1024
"""To tell the sender, the number of the request has to be read."""


class _Numbered(msgspec.Struct):
    number: int = 0


class Gate:
    """Counts by key where there are keys, else by connection."""

    def __init__(self, auth: Auth, bounds: Bounds, clock: Clock, complaints: Complaints) -> None:
        self._auth, self._clock, self._complaints = auth, clock, complaints
        self._vehicles = Allowance(bounds.vehicle_rate)
        self._askers = Allowance(bounds.analyst_rate)
        self._told, self._floods = Allowance(TOLD), Allowance(FLOOD)

    def judge(self, peer: Peer, frames: Sequence[bytes], mail: Mail) -> Verdict:
        """Say what to do with this message of a peer."""
        if not self._auth.admits(peer):
            self._complaints.add("revoked key", "a message of %s is ignored", peer)
            return "ignore"
        who = peer.key or peer.route
        now_ns = self._clock.monotonic_ns()
        allowance = self._vehicles if self._is_vehicle(peer, frames) else self._askers
        size = sum(map(len, frames))
        if allowance.take(who, size, now_ns):
            return "handle"
        if not self._floods.take(who, size, now_ns):
            words = "%s sends so much beyond its rate that it is hung up on"
            self._complaints.add("flood", words, self._name(peer))
            return "hang up"
        self._complaints.add("too fast", "%s sends more than its rate allows", self._name(peer))
        if direction(frames) == b"a" and self._told.take(who, 0, now_ns):
            self._tell(peer, frames, allowance.wait_s(who, now_ns), mail)
        return "ignore"

    def _is_vehicle(self, peer: Peer, frames: Sequence[bytes]) -> bool:
        card = self._auth.card(peer)
        return card.role == "vehicle" if card is not None else direction(frames) == b"v"

    def _name(self, peer: Peer) -> str:
        card = self._auth.card(peer)
        return f"connection {peer}" if card is None else f"{card.role} {card.name}"

    def _tell(self, peer: Peer, frames: Sequence[bytes], wait_s: float, mail: Mail) -> None:
        if sum(map(len, frames)) > MAX_ANSWERED_BYTES:
            return
        words = (
            f"more than the cloud takes of one analyst (bounds.analyst_rate): ask again in "
            f"{wait_s:.1f} s"
        )
        mail.reply(peer, number_of(frames), Rejection(reason="too_fast", message=words))


def number_of(frames: Sequence[bytes]) -> int:
    """Return the number of a request that otherwise makes no sense; 0 when even that is missing."""
    if not frames:
        return 0
    try:
        return msgspec.msgpack.decode(frames[-1], type=_Numbered).number
    except (msgspec.DecodeError, ValueError, RecursionError):
        return 0
