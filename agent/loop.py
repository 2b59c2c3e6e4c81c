"""The main loop: owns the link, the store and the table of tasks, and moves news between them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import zmq

from agent.contents import Contents, Wanted
from agent.inbox import Inbox
from agent.link import session as link
from agent.link.dealer import Change, Dealer, Incoming
from agent.orders import Orders
from agent.store import Acknowledge, Entry, StateDamaged, StateUnwritable, Store
from agent.tasks.ports import News
from agent.tasks.receipt import SizeCap
from agent.tasks.task import Now
from user_lib.contract.clock import MS, SECOND, Clock
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import (
    Ack,
    Assign,
    Catalog,
    Chunk,
    Deliver,
    Feedback,
    Heartbeat,
    Hello,
    NoContent,
    SendCatalog,
    SendChunk,
    SendHello,
    SetCode,
    Welcome,
    Withdraw,
)
from user_lib.contract.signing import Signer, sign_item

__all__ = ["About", "MainLoop"]

log = logging.getLogger(__name__)

LONGEST_WAIT_MS = 250
"""Tasks are looked at this often at least: it is the resolution of start times and durations."""
FORGET_AGAIN_NS = 1 * SECOND
UNANSWERED_LOGGED = 4
"""Greetings without an answer before it is logged."""


@dataclass(frozen=True, eq=False)
class About:
    """What the agent tells of itself."""

    hello: Hello
    catalog: Catalog
    stats: Callable[[], dict[str, float]]
    """Counters of the parts that the loop does not own."""
    contents: Contents
    cap: SizeCap
    """The cloud's word on it is noted here."""
    clock_trusted: Callable[[], bool] = lambda: False
    """Whether the wall clock is known to be right."""
    turned: Callable[[int], None] = lambda now_ns: None
    """Called after every turn of the loop."""
    signer: Signer | None = None
    """Signs what leaves the outbox; None in insecure mode."""


class MainLoop:
    """Runs until `stop`; every method but that belongs to the thread that runs it."""

    def __init__(
        self,
        dealer: Dealer,
        store: Store,
        orders: Orders,
        about: About,
        inbox: Inbox[News],
        clock: Clock,
    ) -> None:
        self._dealer, self._store, self._orders = dealer, store, orders
        self._table, self._modules, self._about = orders.table, orders.modules, about
        self._inbox, self._clock = inbox, clock
        self._contents = about.contents
        self._session = link.Session()
        self._acknowledged: list[int] = []
        """What the cloud has and the outbox does not know yet."""
        self._forget_ns = 0
        """When to try again to tell it, if its disk did not take that."""
        self._told = -1
        self._stopping = False
        self.errors = 0

    def stop(self) -> None:
        """Let `run` return soon; may be called from a signal handler or another thread."""
        self._stopping = True
        self._inbox.wake()

    def renew(self, hello: Hello, catalog: Catalog) -> None:
        """Tell the cloud another hello, and another catalog when it asks."""
        self._about = replace(self._about, hello=hello, catalog=catalog)
        self._session = link.hello_asked(self._session, self._clock.monotonic_ns())

    def run(self) -> None:
        """Work until stopped. A fault is logged and counted, and the loop goes on.

        Raises: StateDamaged; the next start puts the file aside and begins a new epoch.
        """
        poller = zmq.Poller()
        self._dealer.register(poller)
        poller.register(self._inbox.fd, zmq.POLLIN)
        while not self._stopping:
            try:
                poller.poll(self._wait_ms())
                self.turn()
                self._about.turned(self._clock.monotonic_ns())
            except StateDamaged:
                raise
            except Exception:
                self.errors += 1
                log.exception("a turn of the main loop failed; it goes on with the next")

    def _wait_ms(self) -> int:
        wake_ns = link.wake_ns(self._session)
        if wake_ns is None:
            return LONGEST_WAIT_MS
        left_ms = -(-(wake_ns - self._clock.monotonic_ns()) // MS)
        return max(0, min(left_ms, LONGEST_WAIT_MS))

    @property
    def wake_ns(self) -> int | None:
        """When the link has something to say, if nothing happens until then; None while down."""
        return link.wake_ns(self._session)

    def turn(self) -> None:
        """Take what has arrived, let time pass, and say what is due; never waits."""
        trusted = self._about.clock_trusted()
        now = Now(self._clock.monotonic_ns(), self._clock.unix_ns(), trusted)
        for message in self._dealer.receive():
            self._hear(message, now)
        for news in self._inbox.drain():
            self._table.take(news, now)
        if self._orders.trust.refresh():
            self._orders.trust_changed(now)
        self._take_contents(now)
        self._table.tick(now)
        self._orders.tick(now)
        self._forget_acknowledged(now)
        self._speak(now)

    # --- hearing ---------------------------------------------------------------------------------

    def _hear(self, message: Incoming, now: Now) -> None:
        match message:
            case Change():
                self._connection(message, now)
            case Assign():
                self._orders.assign(message, now)
            case Chunk() | NoContent():
                self._contents.hear(message, now.monotonic_ns)
            case Withdraw():
                self._orders.withdraw(message, now)
            case SetCode():
                self._orders.set_code(message, now)
            case Feedback():
                self._orders.begin_round(message, now)
            case _:
                self._hear_link(message, now)

    def _hear_link(
        self, message: Welcome | SendHello | SendCatalog | Ack | SendChunk, now: Now
    ) -> None:
        match message:
            case Welcome():
                log.info("the cloud (%s) knows this vehicle", message.cloud_version)
                self._session = link.welcomed(self._session, message, now.monotonic_ns)
                self._about.cap.cloud_bytes = message.content_bytes
                self._modules.report_all()
            case SendHello():
                self._session = link.hello_asked(self._session, now.monotonic_ns)
            case SendCatalog():
                self._dealer.send(self._about.catalog)
            case SendChunk():
                self._session = link.heard(self._session, now.monotonic_ns)
                self._send_chunk(message)
            case Ack():
                acknowledged = link.acknowledged(self._session, message.seqs)
                self._session = link.heard(acknowledged, now.monotonic_ns)
                self._acknowledged += message.seqs

    def _connection(self, change: Change, now: Now) -> None:
        match change:
            case Change.CONNECTED:
                log.info("connected to the cloud")
                self._session = link.connected(self._session, now.monotonic_ns)
            case Change.DISCONNECTED:
                log.warning("the cloud is out of reach; results wait in the outbox")
                self._session = link.disconnected(self._session)
                self._contents.interrupted()
            case Change.REFUSED:
                pass  # the dealer said why, and tries again

    def _take_contents(self, now: Now) -> None:
        """Put on disk what came of contents, and want what tasks need by now."""
        self._contents.keep(now.monotonic_ns)
        wanted = (Wanted(name, content) for name, content in self._table.wanted())
        self._contents.want(wanted, now.monotonic_ns)

    # --- speaking --------------------------------------------------------------------------------

    def _speak(self, now: Now) -> None:
        if self._told != self._table.changes:
            self._told = self._table.changes
            self._session = link.nudged(self._session, now.monotonic_ns)
        self._session, commands = link.poll(self._session, self._to_send(), now.monotonic_ns)
        self._report()
        if self._session.state is link.LinkState.UP:
            for fetch in self._contents.due(now.monotonic_ns):
                self._dealer.send(fetch)
        for command in commands:
            match command:
                case link.SayHello():
                    self._greet()
                case link.SayHeartbeat():
                    self._dealer.send(self._heartbeat(now))
                case link.SendEntry(seq):
                    self._deliver(seq)

    def _report(self) -> None:
        if self._session.state is not link.LinkState.UP:
            return
        for report in self._modules.owed():
            if self._dealer.send(report):
                self._modules.sent(report)

    def _greet(self) -> None:
        self._dealer.send(self._about.hello)
        if self._session.hellos == UNANSWERED_LOGGED:
            log.warning(
                "the cloud does not answer; does another machine use the vehicle_id %s?",
                self._about.hello.vehicle_id,
            )

    def _deliver(self, seq: int) -> None:
        item = self._store.load(seq)
        if item is None:
            return
        self._store.sending(seq)
        if self._about.signer is not None and not item.signature:
            # Ends and losses are signed as they leave: a record of losses grows until then.
            item = sign_item(item, self._about.signer)
        try:
            self._dealer.send(Deliver(seq=seq, item=item))
        except ProtocolError:
            log.exception("entry %d of the outbox cannot be sent", seq)

    def _send_chunk(self, ask: SendChunk) -> None:
        chunk = self._contents.answer(ask)
        if chunk is not None and self._dealer.send(chunk):
            self._contents.sent_bytes += len(chunk.data)

    def _heartbeat(self, now: Now) -> Heartbeat:
        return Heartbeat(
            tasks=self._table.held(now),
            code=self._modules.held(),
            outbox=self._store.entries,
            stats=self.stats(),
        )

    @property
    def link_state(self) -> link.LinkState:
        """How far the link to the cloud is."""
        return self._session.state

    def stats(self) -> dict[str, float]:
        """Return all counters by dotted name, those of the other parts included."""
        table, store, dealer = self._table, self._store, self._dealer
        unanswered_ns = link.unanswered_ns(self._session, self._clock.monotonic_ns())
        return {
            **self._about.stats(),
            "tasks.held": len(table),
            "tasks.committed": table.committed,
            "tasks.roll_backs": table.roll_backs,
            "tasks.faults": table.faults,
            "orders.refused": self._orders.refused,
            "tasks.paused": float(bool(table.unwritable)),
            "outbox.entries": store.entries,
            "outbox.mb": store.outbox_bytes / 1e6,
            "outbox.unanswered_s": unanswered_ns / SECOND,
            "outbox.lost": store.dropped_results,
            "outbox.retracted": store.retracted_results,
            **self._contents.stats(),
            "link.connects": dealer.connects,
            "link.malformed": dealer.malformed,
            "link.refused": dealer.refused,
            "link.endless": dealer.endless,
            "link.unsent": dealer.unsent,
            "loop.errors": self.errors,
        }

    def _forget_acknowledged(self, now: Now) -> None:
        """Take out of the outbox what the cloud has; what the disk does not take is not sent on."""
        if not self._acknowledged or now.monotonic_ns < self._forget_ns:
            return
        try:
            self._store.apply([Acknowledge(tuple(self._acknowledged))])
        except StateUnwritable as error:
            if not self._forget_ns:
                log.warning("acknowledged entries stay in the outbox: %s", error)
            self._forget_ns = now.monotonic_ns + FORGET_AGAIN_NS
            sent = {entry.seq for entry in self._store.deliverable()}
            self._acknowledged = list(sent.intersection(self._acknowledged))
        else:
            self._acknowledged, self._forget_ns = [], 0

    def _to_send(self) -> list[Entry]:
        """Return what may be on its way and is not known to have arrived."""
        entries = self._store.deliverable()
        if not self._acknowledged:
            return entries
        arrived = frozenset(self._acknowledged)
        return [entry for entry in entries if entry.seq not in arrived]
