"""Which contents the cloud pulls from which vehicles: pure, a bounded number at the same time.

A result that names a content is an *offer*: it counts once the content is here as a whole. The
vehicle repeats an offer until it is acknowledged, so one that is forgotten here comes again.
Several vehicles may offer the same content; it is pulled from one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId, VehicleId
from user_lib.contract.messages import Chunk, Losses, Result, SendChunk
from user_lib.wire import transfer as pull
from user_lib.wire.transfer import Transfer

__all__ = ["Offer", "Pulls"]

AT_ONCE = 16
"""With a credit of two chunks each, some 8 MB are under way to the cloud."""
MOST = 2000
"""Transfers that are remembered; of further ones the vehicles will speak again."""
OFFERS_PER_VEHICLE = 8
PAUSED_KEPT = 1000
"""Transfers whose vehicles are all away; further ones are forgotten here, not on the disk."""
STALLED_TRIES = 2
"""Who did not answer that often lets others go first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry of a vehicle's outbox whose content is not here yet."""

    vehicle: VehicleId
    seq: int
    result: Result


@dataclass(slots=True)
class _Pull:
    transfer: Transfer
    offers: dict[tuple[VehicleId, int], Offer] = field(default_factory=dict)

    def source(self, away: set[VehicleId]) -> VehicleId | None:
        return next((vehicle for vehicle, _ in self.offers if vehicle not in away), None)


class Pulls:
    """All that is under way to the cloud; times are monotonic ns."""

    def __init__(self) -> None:
        self._pulls: dict[str, _Pull] = {}
        self._away: set[VehicleId] = set()
        """Who went away with something under way; it is kept, so that one can say how far it is."""

    def __len__(self) -> int:
        return len(self._pulls)

    def __contains__(self, content: Content) -> bool:
        return content.digest in self._pulls

    def offer(self, content: Content, offer: Offer, have: int) -> None:
        """Take an offer up; ``have`` bytes are on disk already."""
        self._away.discard(offer.vehicle)
        offered = sum(offer.vehicle in (v for v, _ in p.offers) for p in self._pulls.values())
        if content.digest not in self._pulls:
            if offered >= OFFERS_PER_VEHICLE or len(self._pulls) >= MOST:
                return
            self._pulls[content.digest] = _Pull(pull.begin(content, have))
        self._pulls[content.digest].offers[offer.vehicle, offer.seq] = offer

    def arrived(self, vehicle: VehicleId, chunk: Chunk, now_ns: int) -> Transfer | None:
        """Return the transfer that a chunk moved on, None when it is none that was asked for."""
        under_way = self._pulls.get(chunk.digest)
        if under_way is None or under_way.source(self._away) != vehicle:
            return None
        moved = pull.arrived(under_way.transfer, chunk.offset, len(chunk.data), now_ns)
        if moved is under_way.transfer:
            return None
        under_way.transfer = moved
        return moved

    def done(self, digest: str) -> list[Offer]:
        """A content is whole: return the results that waited for it."""
        return list(self._pulls.pop(digest).offers.values())

    def damaged(self, digest: str, now_ns: int) -> None:
        """All bytes came and were not the content: begin again, from another vehicle if one is."""
        under_way = self._pulls[digest]
        under_way.transfer = pull.damaged(under_way.transfer, now_ns)
        first = next(iter(under_way.offers))
        under_way.offers[first] = under_way.offers.pop(first)

    def retracted(self, losses: Losses) -> list[Content]:
        """Forget what a vehicle will not send any more; return the contents nobody else offers."""
        gone = []
        for digest, under_way in list(self._pulls.items()):
            offers = under_way.offers
            theirs = [k for k in offers if k[0] == losses.vehicle_id]
            for key in [k for k in theirs if losses.tells_of(offers[k].result)]:
                del offers[key]
                under_way.transfer = pull.interrupted(under_way.transfer)
            if not offers:
                gone.append(self._pulls.pop(digest).transfer.content)
        return gone

    def lost(self, vehicle: VehicleId) -> None:
        """A vehicle went away; it offers again what it has when it is back."""
        for under_way in self._pulls.values():
            if any(name == vehicle for name, _ in under_way.offers):
                self._away.add(vehicle)
                under_way.transfer = pull.interrupted(under_way.transfer)
        paused = [d for d, p in self._pulls.items() if p.source(self._away) is None]
        for digest in paused[:-PAUSED_KEPT]:
            del self._pulls[digest]

    def due(self, now_ns: int) -> Iterator[tuple[VehicleId, SendChunk]]:
        """Yield what to ask of whom now."""
        able = [(p, source) for p in self._pulls.values() if (source := p.source(self._away))]
        able.sort(key=lambda one: one[0].transfer.tries >= STALLED_TRIES)
        for under_way, source in able[:AT_ONCE]:
            under_way.transfer, offsets = pull.poll(under_way.transfer, now_ns)
            for offset in offsets:
                digest = under_way.transfer.content.digest
                yield source, SendChunk(digest=digest, offset=offset)

    def progress(self, assignment_id: AssignmentId) -> dict[VehicleId, str]:
        """Say how far the contents of an assignment's results are, by vehicle."""
        found: dict[VehicleId, list[str]] = {}
        for under_way in self._pulls.values():
            for (vehicle, _), offer in under_way.offers.items():
                if offer.result.assignment_id == assignment_id:
                    found.setdefault(vehicle, []).append(str(under_way.transfer))
        return {vehicle: f"sends {', '.join(words)}" for vehicle, words in found.items()}
