"""The cloud between the socket and the disk: frames in, a tick's decisions, frames out.

A tick takes what has arrived, decides, commits once, and only then lets anything leave: so whoever
got an answer can rely on it through a power cut. When the disk refuses a tick, the tick never was:
its messages stay unacknowledged, and everything is read back from the ledger.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud.analysts import Analysts
from cloud.audit import Audit
from cloud.auth import Auth, Peer
from cloud.code.rollout import Rollout
from cloud.code.slots import Slots
from cloud.complaints import Complaints
from cloud.config import Config
from cloud.contents import ContentDesk
from cloud.context import Context
from cloud.gate import Gate, number_of
from cloud.jobs import RECONNECT_NS, Jobs
from cloud.ledger import Ledger, LedgerError
from cloud.mail import Mail
from cloud.offboard import Done, Work
from cloud.registry import Registry
from cloud.retention import Retention
from cloud.vehicles import Vehicles
from cloud.waiting import Waiting
from user_lib.contract.clock import MS, SECOND, Clock
from user_lib.contract.codec import FROM_VEHICLE, REQUEST, direction
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import FromVehicle, Heartbeat, Hello, Rejection
from user_lib.wire.audit_log import AuditLog

__all__ = ["Service"]

LOG = logging.getLogger(__name__)
TIMERS_NS = 100 * MS
"""How often leases, deadlines and waiting requests are looked at."""
CATCH_UP_NS = 2 * SECOND
"""How much later that may be while there is more to hear."""


NOT_HANDLED = Rejection(
    reason="internal",
    message="the cloud failed at this request, which is an error of its own; its log says where: "
    "tell who runs it, with the time",
)
MAX_KEPT_BYTES = {Hello: 64 * 1024, Heartbeat: 1024 * 1024}


class Service:
    """Everything of the cloud but its socket and its threads."""

    def __init__(
        self, config: Config, ledger: Ledger, clock: Clock, version: str, auth: Auth
    ) -> None:
        self._config, self._ledger, self._clock = config, ledger, clock
        self._version, self._auth = version, auth
        self._registry = Registry(int(config.lease_s * SECOND))
        self.complaints = Complaints(clock)
        directory, known = config.ledger.with_suffix(".audit"), ledger.audit_mark()
        log = AuditLog(directory, clock, limit_mb=config.audit_mb, known=known)
        self._audit = Audit(log, clock)
        self._cards = auth.cards
        self._turned_away = 0
        self._audit.note("started", detail=f"cloud {version}, {self._trusts()}")
        self._gate = Gate(auth, config.bounds, clock, self.complaints)
        self._waiting = Waiting(config.bounds)
        self._retention = Retention(ledger, clock, config.keep_ended_days)
        self._timers_ns = 0
        self._tainted = False
        """A message was handled halfway: memory must be built anew from the ledger."""
        for row in ledger.fleet.vehicles():
            self._registry.load(row.hello, row.last_seen_ns)
        self._build()

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often somebody was refused something, by reason."""
        return self._audit.refusals

    @property
    def running(self) -> int:
        """How many assignments run."""
        return len(self._jobs)

    @property
    def vehicles(self) -> tuple[int, int]:
        """How many vehicles are online, and how many are known."""
        return self._registry.online, len(self._registry.vehicles)

    @property
    def waiting(self) -> int:
        """How many requests wait for news."""
        return len(self._waiting)

    @property
    def has_more(self) -> bool:
        """Whether the next turn need not wait for messages."""
        return self._context.contents.has_more

    @property
    def contents(self) -> ContentDesk:
        """What travels in chunks."""
        return self._context.contents

    @property
    def ledger_path(self) -> Path:
        """Where the ledger is."""
        return self._ledger.path

    def receive(self, peer: Peer, frames: Sequence[bytes]) -> bool:
        """Handle one message; whatever it is, the next one is handled too.

        False, when who sent it floods, and is to be hung up on.
        """
        verdict = self._gate.judge(peer, frames, self._context.mail)
        if verdict == "handle":
            self._handle(peer, frames)
        return verdict != "hang up"

    def _handle(self, peer: Peer, frames: Sequence[bytes]) -> None:
        try:
            self._dispatch(peer, frames)
        except LedgerError:
            raise
        except ProtocolError as error:
            self._malformed(peer, frames, error)
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and counted
            self._tainted = True
            self.complaints.add(
                "internal error", "a message of %s was not handled", peer, error=error
            )
            if direction(frames) == b"a":
                self._context.mail.reply(peer, number_of(frames), NOT_HANDLED)

    def aggregated(self, done: Done) -> None:
        """Take a round back from the off-board method."""
        self._jobs.aggregated(done)

    def timers(self, *, caught_up: bool = True) -> None:
        """Do what time has made due.

        While messages still wait that came before (not ``caught_up``), nobody is found silent or
        late who is not; but not for long, since there may be no end to them.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._timers_ns + (0 if caught_up else CATCH_UP_NS):
            return
        self._timers_ns = now_ns + TIMERS_NS
        self._vehicles.expire()
        self._jobs.tick()
        self._analysts.expire()
        self._audit.tick()
        self._retention.tick(now_ns)

    def finish(self) -> tuple[list[tuple[Peer, list[bytes]]], list[Work]]:
        """Put the tick on disk; return what may leave now, and the off-board work it made.

        Raises: LedgerError, when the disk does not take it; then call `recover`.
        """
        self._context.contents.turn()
        self._analysts.wake()
        if self._audit.write():
            self._ledger.keep_audit_mark(self._audit.mark)
        self._ledger.commit()
        work = list(self._context.work)
        self._context.work.clear()
        mail = [letter for letter in self._context.mail.take() if self._may_leave(letter[0])]
        if self._tainted:
            self._rebuild(patience_ns=0)
        return mail, work

    def recover(self) -> None:
        """Forget a tick that is not on disk: go back to what the ledger knows.

        Raises: LedgerError, when not even that can be read.
        """
        self._ledger.rollback()
        self._audit.forget()
        self._rebuild(patience_ns=self._registry.lease_ns + RECONNECT_NS)

    def unreachable(self, peer: Peer) -> None:
        """A connection is closed: its vehicle is offline, whatever its lease says."""
        vehicle = self._registry.vehicle_of(peer)
        if vehicle is not None:
            self._registry.drop(vehicle)
            self._vehicles.lost(vehicle)

    def keys_changed(self) -> None:
        """Cards came or went: a vehicle whose key was revoked is gone."""
        before, self._cards = self._cards, self._auth.cards
        self._audit.enrolled(before, self._cards)
        for name, peer in self._registry.connections():
            if not self._auth.admits(peer):
                LOG.warning("vehicle %s: its key was revoked", name)
                self.unreachable(peer)

    def turned_away(self, count: int, latest: str) -> None:
        """The doorman has turned away so many by now; ``latest`` says whom last."""
        new, self._turned_away = count - self._turned_away, count
        if new > 0:
            self._audit.refused("", "unknown_key", latest, times=new)

    def close(self) -> None:
        """Let the audit log go."""
        self._audit.close()

    def _trusts(self) -> str:
        if self._auth.insecure:
            return "INSECURE"
        return f"{len(self._cards)} cards"

    def _may_leave(self, peer: Peer) -> bool:
        if self._auth.admits(peer):
            return True
        self.complaints.add("revoked key", "nothing is sent to %s any more", peer)
        return False

    def _rebuild(self, *, patience_ns: int) -> None:
        """Build everything from the ledger, while deadlines and durations go on.

        What was forgotten is told again: no round closes before ``patience_ns`` have passed.
        """
        clocks = self._jobs.clocks
        self._build()
        self._jobs.go_on(clocks, self._clock.monotonic_ns() + patience_ns)

    def _build(self) -> None:
        self._tainted = False
        mail = Mail(self._registry)
        slots = Slots(self._ledger, self._clock)
        self._context = Context(
            config=self._config,
            auth=self._auth,
            clock=self._clock,
            ledger=self._ledger,
            registry=self._registry,
            mail=mail,
            slots=slots,
            rollout=Rollout(slots, self._registry),
            complaints=self.complaints,
            audit=self._audit,
            contents=ContentDesk(self._config, self._ledger, mail, self._clock, self.complaints),
        )
        self._jobs = Jobs(self._context)
        self._vehicles = Vehicles(self._context, self._jobs, self._version)
        self._analysts = Analysts(self._context, self._jobs, self._waiting, self._version)

    def _dispatch(self, peer: Peer, frames: Sequence[bytes]) -> None:
        if direction(frames) == b"v":
            message = FROM_VEHICLE.decode(frames)
            _check_size(message, len(frames[-1]))
            self._vehicles.receive(peer, message)
        else:
            self._analysts.receive(peer, REQUEST.decode(frames))

    def _malformed(self, peer: Peer, frames: Sequence[bytes], error: ProtocolError) -> None:
        self.complaints.add("malformed message", "from peer %s: %s", peer, error)
        if direction(frames) == b"a":
            answer = Rejection(reason="malformed", message=str(error))
            self._context.mail.reply(peer, number_of(frames), answer)


def _check_size(message: FromVehicle, size: int) -> None:
    """Refuse a hello or heartbeat that would fill the memory in which the last one is kept."""
    most = MAX_KEPT_BYTES.get(type(message))
    if most is not None and size > most:
        kind = type(message).__name__
        raise ProtocolError(f"a {kind} of {size} bytes; at most {most} are allowed")
