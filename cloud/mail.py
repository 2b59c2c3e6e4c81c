"""What leaves the cloud in a tick: held back until the ledger has its cause on disk."""

from collections import defaultdict
from collections.abc import Iterable

from cloud.auth import Peer
from cloud.registry import Registry
from user_lib.contract.codec import REPLY, TO_VEHICLE
from user_lib.contract.errors import ProtocolError
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Ack, Answer, Rejection, Reply, ToVehicle

__all__ = ["Mail"]

Frames = list[bytes]


class Mail:
    """Collects messages; the loop takes them with `take` after the commit.

    A message to a vehicle that is offline is not kept: what it needs is sent when its heartbeat
    shows that it is missing.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._out: list[tuple[Peer, Frames]] = []
        self._acks: dict[Peer, list[int]] = defaultdict(list)

    def to_vehicle(self, vehicle: VehicleId, message: ToVehicle) -> None:
        """Send to one vehicle, if it is online."""
        self.to_vehicles((vehicle,), message)

    def to_vehicles(self, vehicles: Iterable[VehicleId], message: ToVehicle) -> None:
        """Send the same bytes to several vehicles."""
        frames = TO_VEHICLE.encode(message)
        for vehicle in vehicles:
            peer = self._registry.peer_of(vehicle)
            if peer is not None:
                self._out.append((peer, frames))

    def to_peer(self, peer: Peer, message: ToVehicle) -> None:
        """Send to a connection that is not known to be a vehicle yet."""
        self._out.append((peer, TO_VEHICLE.encode(message)))

    def ack(self, peer: Peer, seq: int) -> None:
        """Acknowledge an outbox entry."""
        self._acks[peer].append(seq)

    def reply(self, peer: Peer, number: int, answer: Answer) -> None:
        """Answer an analyst's request; an answer too large for the wire is refused instead."""
        try:
            frames = REPLY.encode(Reply(number=number, answer=answer))
        except ProtocolError as error:
            refusal = Rejection(reason="too_large", message=f"the answer is {error}; ask for less")
            frames = REPLY.encode(Reply(number=number, answer=refusal))
        self._out.append((peer, frames))

    def take(self) -> list[tuple[Peer, Frames]]:
        """Return all that was collected, and begin anew."""
        for peer, seqs in self._acks.items():
            self._out.append((peer, TO_VEHICLE.encode(Ack(seqs=tuple(seqs)))))
        out, self._out = self._out, []
        self._acks.clear()
        return out
