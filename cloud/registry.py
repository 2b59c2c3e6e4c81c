"""Who is connected, who is online, and what each vehicle last said of itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from cloud.auth import Peer
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import Heartbeat, Hello, ModuleHeld, TaskHeld, VehicleInfo

__all__ = ["Registry", "Vehicle"]

DETAILED_VEHICLES = 2000


@dataclass(slots=True)
class Vehicle:
    """A vehicle that was ever seen. ``peer`` is its connection while its lease runs."""

    hello: Hello
    seen_unix_ns: int
    peer: Peer | None = None
    lease_until_ns: int = 0
    tasks: Mapping[str, TaskHeld] = field(default_factory=dict)
    code: Mapping[UserId, ModuleHeld] = field(default_factory=dict)
    outbox: int = 0
    delivered_unix_ns: int = 0
    stats: Mapping[str, float] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether its lease runs."""
        return self.peer is not None

    @property
    def info(self) -> VehicleInfo:
        """What analysts are told of it."""
        h = self.hello
        return VehicleInfo(
            vehicle_id=h.vehicle_id,
            online=self.online,
            last_seen_ns=self.seen_unix_ns,
            agent_version=h.agent_version,
            model=h.model,
            profile=h.profile,
            tags=h.tags,
            dbc_hash=h.dbc_hash,
            external_methods=h.external_methods,
            accepts_custom=h.accepts_custom,
            sandbox=h.sandbox,
            tasks=tuple(self.tasks.values()),
            outbox=self.outbox,
            stats=dict(self.stats),
            delivered_ns=self.delivered_unix_ns,
        )


class Registry:
    """Vehicles by id, and which connection speaks for which.

    Units: ``now_ns``, ns of the monotonic clock; ``unix_ns``, of the wall clock.
    """

    def __init__(self, lease_ns: int) -> None:
        self.lease_ns = lease_ns
        self.vehicles: dict[VehicleId, Vehicle] = {}
        self._by_peer: dict[Peer, VehicleId] = {}
        self._no_lease_ends_before_ns = 0
        """Leases only grow, and a new one is the longest: so nobody needs to be looked at before.

        It is looked at ten times a second, and with 10,000 vehicles that would show.
        """

    def load(self, hello: Hello, seen_unix_ns: int) -> None:
        """Put in a vehicle that the ledger knows; it is offline until it speaks."""
        self.vehicles[hello.vehicle_id] = Vehicle(hello, seen_unix_ns)

    def claim(self, peer: Peer, hello: Hello, now_ns: int, unix_ns: int) -> bool:
        """Let a connection speak for a vehicle; False when another live one with another life does.

        A connection stays the vehicle that it is: False as well. The same epoch on a new one is the
        same vehicle that reconnected. Two machines with the same id and two epochs are a mistake of
        the operator: the first keeps the name.
        """
        if self._by_peer.get(peer, hello.vehicle_id) != hello.vehicle_id:
            return False
        vehicle = self.vehicles.get(hello.vehicle_id)
        if vehicle is None:
            vehicle = self.vehicles[hello.vehicle_id] = Vehicle(hello, unix_ns)
        elif vehicle.peer not in (None, peer) and vehicle.hello.epoch != hello.epoch:
            return False
        if vehicle.peer is not None and vehicle.peer != peer:
            del self._by_peer[vehicle.peer]
        vehicle.hello, vehicle.peer = hello, peer
        self._by_peer[peer] = hello.vehicle_id
        self._renew(vehicle, now_ns, unix_ns)
        return True

    def speaker(self, peer: Peer, now_ns: int, unix_ns: int) -> Vehicle | None:
        """Return the vehicle that a connection speaks for, and renew its lease."""
        name = self._by_peer.get(peer)
        if name is None:
            return None
        vehicle = self.vehicles[name]
        self._renew(vehicle, now_ns, unix_ns)
        return vehicle

    def heard(self, vehicle: Vehicle, heartbeat: Heartbeat) -> None:
        """Keep what a vehicle holds."""
        vehicle.tasks = {t.assignment_id: t for t in heartbeat.tasks}
        vehicle.code = {m.analyst: m for m in heartbeat.code}
        vehicle.outbox, vehicle.stats = heartbeat.outbox, heartbeat.stats

    def expire(self, now_ns: int) -> list[VehicleId]:
        """End the leases that ran out and return whose they were."""
        if now_ns < self._no_lease_ends_before_ns:
            return []
        leases = {name: self.vehicles[name].lease_until_ns for name in self._by_peer.values()}
        gone = [name for name, until_ns in leases.items() if until_ns <= now_ns]
        for name in gone:
            self.drop(name)
            del leases[name]
        self._no_lease_ends_before_ns = min(leases.values(), default=now_ns)
        return gone

    def drop(self, vehicle_id: VehicleId) -> None:
        """A vehicle is gone; its connection speaks for nobody until it says hello again."""
        vehicle = self.vehicles[vehicle_id]
        if vehicle.peer is not None:
            del self._by_peer[vehicle.peer]
            vehicle.peer = None

    def peer_of(self, vehicle_id: VehicleId) -> Peer | None:
        """Return the connection of a vehicle that is online."""
        vehicle = self.vehicles.get(vehicle_id)
        return None if vehicle is None else vehicle.peer

    def vehicle_of(self, peer: Peer) -> VehicleId | None:
        """Return which vehicle a connection speaks for."""
        return self._by_peer.get(peer)

    def is_online(self, vehicle_id: VehicleId) -> bool:
        """Whether a vehicle's lease runs."""
        return self.peer_of(vehicle_id) is not None

    def connections(self) -> list[tuple[VehicleId, Peer]]:
        """Return who is online, and by which connection."""
        return [(name, peer) for peer, name in self._by_peer.items()]

    @property
    def online(self) -> int:
        """How many vehicles are online."""
        return len(self._by_peer)

    def infos(self) -> Iterator[VehicleInfo]:
        """Say what is known of each vehicle, by id.

        Of more than `DETAILED_VEHICLES`, without tasks and counters: the list is one message.
        """
        short = len(self.vehicles) > DETAILED_VEHICLES
        for name in sorted(self.vehicles):
            info = self.vehicles[name].info
            yield msgspec.structs.replace(info, tasks=(), stats={}) if short else info

    def _renew(self, vehicle: Vehicle, now_ns: int, unix_ns: int) -> None:
        vehicle.lease_until_ns = now_ns + self.lease_ns
        vehicle.seen_unix_ns = unix_ns
