"""What vehicles say, and what they are answered."""

import logging

import msgspec

from cloud.auth import Peer
from cloud.config import Rate
from cloud.context import Context
from cloud.door.allowance import Allowance
from cloud.jobs import Jobs
from cloud.registry import Vehicle
from user_lib.contract.errors import ProtocolError
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import (
    Catalog,
    Chunk,
    CodeReport,
    Deliver,
    Fetch,
    FromVehicle,
    Heartbeat,
    Hello,
    Losses,
    Result,
    SendCatalog,
    SendHello,
    TaskEnded,
    Welcome,
)

__all__ = ["Vehicles"]

LOG = logging.getLogger(__name__)
RUNS_OF_LOSSES = Rate(messages_per_s=2000, mb_per_s=1000, burst_s=60)
"""Runs of lost iterations that one vehicle may tell: the burst is more than a full outbox holds."""


class Vehicles:
    """Handles messages of vehicles; every one of them may come twice."""

    def __init__(self, context: Context, jobs: Jobs, version: str) -> None:
        self._context, self._jobs, self._version = context, jobs, version
        self._runs = Allowance(RUNS_OF_LOSSES)
        self._catalogs: set[str] = set()
        """Hashes whose signals are known to be in the ledger."""

    def receive(self, peer: Peer, message: FromVehicle) -> None:
        """Handle one message of a connection."""
        context = self._context
        if isinstance(message, Hello):
            self._hello(peer, message)
            return
        now_ns, unix_ns = context.clock.monotonic_ns(), context.clock.unix_ns()
        vehicle = context.registry.speaker(peer, now_ns, unix_ns)
        if vehicle is None:
            context.mail.to_peer(peer, SendHello())
            return
        self._of_vehicle(peer, vehicle, message)

    def expire(self) -> None:
        """Take the vehicles offline whose lease ran out."""
        context = self._context
        for name in context.registry.expire(context.clock.monotonic_ns()):
            self.lost(name)

    def lost(self, name: VehicleId) -> None:
        """A vehicle went offline."""
        LOG.info("vehicle %s went offline", name)
        seen_ns = self._context.registry.vehicles[name].seen_unix_ns
        self._context.ledger.fleet.seen([(name, seen_ns)])
        self._context.contents.lost(name)
        self._jobs.presence(name, online=False)
        self._context.news.code.update(self._context.slots.analysts())

    # --- messages --------------------------------------------------------------------------------

    def _of_vehicle(self, peer: Peer, vehicle: Vehicle, message: FromVehicle) -> None:
        match message:
            case Heartbeat():
                self._heartbeat(vehicle, message)
                self._ask_for_catalog(peer, vehicle.hello.dbc_hash)
            case Deliver() | Fetch() | Chunk():
                self._of_contents(peer, vehicle, message)
            case CodeReport():
                self._code_report(vehicle, message)
            case Catalog(dbc_hash=dbc_hash, signals=signals):
                if dbc_hash == vehicle.hello.dbc_hash:
                    self._context.ledger.fleet.put_catalog(dbc_hash, signals)
                    self._catalogs.add(dbc_hash)
            case Hello():
                self._hello(peer, message)

    def _hello(self, peer: Peer, hello: Hello) -> None:
        context = self._context
        name = hello.vehicle_id
        if not self._admitted(peer, name):
            return
        known = context.registry.vehicles.get(name)
        before = None if known is None else known.hello
        was_online = context.registry.is_online(name)
        now_ns, unix_ns = context.clock.monotonic_ns(), context.clock.unix_ns()
        if not context.registry.claim(peer, hello, now_ns, unix_ns):
            context.complaints.add(
                "vehicle id taken",
                "connection %s claims to be vehicle %s, and is another already, or another is that "
                "one and online; give each machine its own vehicle_id",
                peer,
                name,
            )
            return
        if before is None or before.epoch != hello.epoch:
            context.slots.forget(name)
        context.ledger.fleet.put(hello, unix_ns)
        context.contents.lost(name)  # what was asked of its last connection is gone
        self._welcome(peer, hello)
        if not was_online:
            LOG.info("vehicle %s is online (%s, agent %s)", name, hello.model, hello.agent_version)
            self._jobs.presence(name, online=True)

    def _admitted(self, peer: Peer, name: VehicleId) -> bool:
        context = self._context
        if context.auth.identify(peer, name, "vehicle") is None:
            context.complaints.add(
                "refused vehicle",
                "connection %s may not speak for %s; the vehicle_id must be the name on its card",
                peer,
                name,
            )
            context.audit.refused(name, "unknown_vehicle", f"{peer} may not speak for it")
            return False
        most = context.config.bounds.vehicles
        if name not in context.registry.vehicles and len(context.registry.vehicles) >= most:
            context.complaints.add(
                "too many vehicles", "vehicle %s is one more than bounds.vehicles: %d", name, most
            )
            return False
        return True

    def _welcome(self, peer: Peer, hello: Hello) -> None:
        context = self._context
        rate = context.config.bounds.vehicle_rate
        welcome = Welcome(
            lease_s=context.config.lease_s,
            cloud_version=self._version,
            messages_per_s=rate.messages_per_s,
            mb_per_s=rate.mb_per_s,
            content_bytes=context.contents.largest_bytes,
        )
        context.mail.to_peer(peer, welcome)
        self._ask_for_catalog(peer, hello.dbc_hash)

    def _ask_for_catalog(self, peer: Peer, dbc_hash: str) -> None:
        """Ask for signals that nobody has told yet; each heartbeat asks again."""
        if dbc_hash in self._catalogs:
            return
        if self._context.ledger.fleet.has_catalog(dbc_hash):
            self._catalogs.add(dbc_hash)
            return
        self._context.mail.to_peer(peer, SendCatalog(dbc_hash=dbc_hash))

    def _heartbeat(self, vehicle: Vehicle, heartbeat: Heartbeat) -> None:
        context = self._context
        context.registry.heard(vehicle, heartbeat)
        name = vehicle.hello.vehicle_id
        for order in context.rollout.stale(vehicle):
            context.mail.to_vehicle(name, order)
        self._jobs.reconcile(vehicle)
        context.news.code.update(m.analyst for m in heartbeat.code)

    def _item(self, vehicle: Vehicle, item: Result | Losses | TaskEnded) -> None:
        name = vehicle.hello.vehicle_id  # whose it is, the connection says, not the item
        if item.epoch != vehicle.hello.epoch:
            self._context.complaints.add(
                "other epoch", "vehicle %s sent something of an epoch that is not its own", name
            )
            return
        match item:
            case Result():
                self._jobs.result(msgspec.structs.replace(item, vehicle_id=name))
            case Losses():
                self._jobs.lost(msgspec.structs.replace(item, vehicle_id=name))
            case TaskEnded():
                self._jobs.task_ended(msgspec.structs.replace(item, vehicle_id=name))

    def _of_contents(self, peer: Peer, vehicle: Vehicle, message: Deliver | Fetch | Chunk) -> None:
        match message:
            case Deliver():
                self._deliver(peer, vehicle, message)
            case Chunk():
                self._take(peer, vehicle, message)
            case Fetch():
                self._context.contents.fetch(vehicle.hello.vehicle_id, message)

    def _deliver(self, peer: Peer, vehicle: Vehicle, deliver: Deliver) -> None:
        """Keep an entry of an outbox; a result whose content is not here has to wait for it.

        Raises: ProtocolError, for what no agent would write.
        """
        item, name = deliver.item, vehicle.hello.vehicle_id
        if isinstance(item, Losses) and not self._may_lose(name, item):
            return
        vehicle.delivered_unix_ns = vehicle.seen_unix_ns
        if isinstance(item, Result) and self._context.contents.lacks(name, deliver.seq, item):
            return
        self._item(vehicle, item)
        self._context.mail.ack(peer, deliver.seq)

    def _may_lose(self, name: VehicleId, losses: Losses) -> bool:
        """Whether a record is looked at now; a message may hold a thousand things to look up."""
        if losses.problem:
            raise ProtocolError(losses.problem)
        now_ns = self._context.clock.monotonic_ns()
        if self._runs.take(name, 0, now_ns, messages=len(losses.iterations)):
            return True
        words = "vehicle %s tells of more runs of lost iterations than %g a second; it repeats them"
        self._context.complaints.add("too fast", words, name, RUNS_OF_LOSSES.messages_per_s)
        return False

    def _take(self, peer: Peer, vehicle: Vehicle, chunk: Chunk) -> None:
        """Keep a chunk, and the results that were waiting for it."""
        for offer in self._context.contents.take(vehicle.hello.vehicle_id, chunk):
            other = self._context.registry.vehicles.get(offer.vehicle)
            if other is not None:
                self._item(other, offer.result)
            if offer.vehicle == vehicle.hello.vehicle_id:
                self._context.mail.ack(peer, offer.seq)  # others repeat it, and are told then

    def _code_report(self, vehicle: Vehicle, report: CodeReport) -> None:
        slot = self._context.slots.reported(vehicle.hello.vehicle_id, report)
        if slot is not None:
            self._context.news.code.add(slot.analyst)
