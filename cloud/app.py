"""Builds the cloud and runs its loop; the only place that knows all parts."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

import zmq

from agent.sandbox import Sandbox, SandboxConfig, output_bytes
from cloud.auth import ENROLLED, Auth, Peer
from cloud.config import Config
from cloud.door.doorman import Doorman
from cloud.door.router import Router
from cloud.door.usher import Usher
from cloud.ledger import Ledger, LedgerDamaged, LedgerError
from cloud.offboard import Workers
from cloud.service import Service
from cloud.telemetry import Snapshot, render
from user_lib.contract.clock import MS, SECOND, Clock, SystemClock
from user_lib.contract.content import megabytes
from user_lib.wire.descriptors import connections_that_fit
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import load_keys
from user_lib.wire.metrics import MetricsServer
from user_lib.wire.notify import Notifier
from user_lib.wire.version import installed_version

__all__ = ["App"]

LOG = logging.getLogger(__name__)
MESSAGES_A_TICK = 512
LONGEST_RECEIVE_NS = 50 * MS
"""Five hundred questions for thousands of vehicles would hold up the others for seconds."""
WAIT_MS = 100
FAILED_WAIT_S = 0.5
METRICS_NS = 60 * SECOND
SNAPSHOT_NS = 1 * SECOND

CUT_FOR = {
    "endless": "%s sent %s that are no whole message; hung up on",
    "unread": "%s sent %s that are not handled yet, and all together too much (bounds.unread_mb); "
    "hung up on",
}


class App:
    """The process: a socket, a ledger, off-board threads, and one loop that owns them.

    Raises: ConfigError or LedgerError, when the address or the ledger cannot be had.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._config, self._clock = config, clock or SystemClock()
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop_event = threading.Event()
        self._notifier = Notifier()
        self._metrics_ns = self._clock.monotonic_ns() + METRICS_NS
        self._snapshot, self._snapshot_ns = Snapshot(), 0
        self._turns = self._busy_ns = 0
        with ExitStack() as building:
            self._build(config, building.callback)
            self._closing = building.pop_all()

    def _build(self, config: Config, on_close: Callable[..., object]) -> None:
        keys = None if config.keys is None else load_keys(config.keys.own, "cloud")
        keyring = (
            None
            if config.keys is None
            else Keyring(config.keys.authorized, *ENROLLED, clock=self._clock)
        )
        self._auth = Auth(keyring)
        self._ledger = Ledger(config.ledger)
        on_close(self._ledger.close)
        self._service = Service(config, self._ledger, self._clock, installed_version(), self._auth)
        on_close(self._service.close)
        largest = output_bytes(int(config.contents.largest_mb * 1e6))
        sandbox = Sandbox(SandboxConfig(socket=config.sandbox_socket, output_bytes=largest))
        self._workers = Workers(config.ledger, config.offboard.workers, sandbox)
        on_close(self._workers.close)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        on_close(context.term)
        self._doorman = None
        if keyring is not None:
            pace = config.bounds.handshakes_per_key
            self._doorman = Doorman(context, keyring, self._clock, pace)
            on_close(self._doorman.close)
        room = connections_that_fit(config.bounds.connections)
        self._usher = Usher(self._auth, config.bounds, self._clock, room)
        on_close(self._usher.close)
        self._router = Router(
            context,
            config.bind,
            keys,
            config.bounds,
            self._usher,
            wake_fds=(self._workers.wake_fd, self._stop_fd),
        )
        on_close(self._router.close)

    @property
    def endpoint(self) -> str:
        """The address that it listens on, with the real port."""
        return self._router.endpoint

    def stop(self) -> None:
        """End the loop after its present turn; may be called from a signal handler."""
        self._notifier.stopping()
        self._stop_event.set()
        os.eventfd_write(self._stop_fd, 1)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Turn the loop until `stop` or a signal, then close everything.

        Raises: LedgerDamaged.

        ``ready`` is called once, when messages are served and a signal ends it cleanly.
        """
        try:
            with self._signals(), self._metrics():
                self._announce()
                ready()
                self._notifier.ready(f"listening on {self.endpoint}")
                while not self._stop_event.is_set():
                    self._turn()
        finally:
            self._close()

    def _announce(self) -> None:
        """Say that it is ready, and what an operator must know."""
        if self._auth.insecure:
            LOG.warning(
                "INSECURE: no keys; everybody on this machine who reaches %s is taken for who they "
                "say they are",
                self.endpoint,
            )
        LOG.info(
            "listening on %s ledger %s (%d assignments go on)",
            self.endpoint,
            self._config.ledger,
            self._service.running,
        )

    def _turn(self) -> None:
        self._router.wait(0 if self._service.has_more else WAIT_MS)
        began_ns = self._clock.monotonic_ns()
        self._watch_doorman()
        self._service.turned_away(*self._turned_away)
        try:
            if self._auth.refresh():
                self._service.keys_changed()
            caught_up = self._receive(began_ns + LONGEST_RECEIVE_NS)
            for done in self._workers.take():
                self._service.aggregated(done)
            self._service.timers(caught_up=caught_up)
            mail, works = self._service.finish()
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and counted
            self._recover(error)
            return
        for work in works:
            self._workers.submit(work)
        try:
            self._send(mail)
        except LedgerError as error:
            self._recover(error)
        now_ns = self._clock.monotonic_ns()
        self._look_at_connections(now_ns)
        self._notifier.alive(now_ns)
        self._turns += 1
        self._busy_ns += now_ns - began_ns
        if now_ns >= self._snapshot_ns:
            self._snapshot_ns = now_ns + SNAPSHOT_NS
            self._snapshot = self._look()
        if now_ns >= self._metrics_ns:
            self._metrics_ns = now_ns + METRICS_NS
            self._log_counts()

    def _receive(self, until_ns: int) -> bool:
        """Handle what has arrived; what takes long waits, so that others are answered meanwhile.

        False when there may be more.
        """
        handled = 0
        for peer, frames in self._router.receive(MESSAGES_A_TICK):
            if not self._service.receive(peer, frames):
                self._hang_up(peer)
            handled += 1
            if self._clock.monotonic_ns() >= until_ns:
                return False
        return handled < MESSAGES_A_TICK

    def _hang_up(self, peer: Peer) -> None:
        """End the connections of who floods, and do not let it in for a while."""
        if self._doorman is None:
            self._router.hang_up()
        else:
            self._doorman.shut_out(peer.key)
            self._usher.dismiss(peer.key)

    def _look_at_connections(self, now_ns: int) -> None:
        for cut in self._router.look(now_ns):
            who = self._usher.name(cut.key) if cut.key else f"a connection from {cut.address}"
            words = CUT_FOR[cut.why]
            self._service.complaints.add(
                f"{cut.why} message", words, who, megabytes(cut.owed_bytes)
            )

    def _send(self, mail: list[tuple[Peer, list[bytes]]]) -> None:
        for peer, frames in mail:
            if self._router.send(peer, frames) == "gone":
                self._service.unreachable(peer)

    def _recover(self, error: Exception) -> None:
        """Go on from what the ledger knows, as soon as its disk allows; senders repeat the rest.

        Raises: LedgerDamaged, which no waiting heals.
        """
        if isinstance(error, LedgerDamaged):
            raise error
        complaints = self._service.complaints
        bug = None if isinstance(error, LedgerError) else error
        complaints.add("tick forgotten", "%s", error, error=bug)
        self._workers.take()
        while not self._stop_event.is_set():
            self._stop_event.wait(FAILED_WAIT_S)
            self._notifier.alive(self._clock.monotonic_ns())  # a full disk is no hanging process
            try:
                self._service.recover()
                return
            except LedgerDamaged:
                raise
            except LedgerError as again:
                complaints.add("ledger", "%s", again)

    @property
    def _turned_away(self) -> tuple[int, str]:
        """How many the doorman turned away, and whom last."""
        return (0, "") if self._doorman is None else self._doorman.turned_away

    def _watch_doorman(self) -> None:
        """Without a doorman nobody new gets in: better that they see a closed door."""
        if self._doorman is None or self._doorman.alive:
            return
        self._doorman = None
        LOG.critical("keys can no longer be checked: no new connections are taken; restart this")
        self._router.stop_accepting()

    def _look(self) -> Snapshot:
        """Return what the metrics are rendered from, in another thread."""
        online, known = self._service.vehicles
        pulls, waiting = self._service.contents.under_way
        newcomers, connections = self._usher.connections
        return Snapshot(
            messages={**self._router.counts, **self._usher.counts},
            newcomers=newcomers,
            connections=connections,
            complaints=self._complaints(),
            refusals=dict(self._service.refusals),
            vehicles_online=online,
            vehicles_known=known,
            assignments=self._service.running,
            requests_waiting=self._service.waiting,
            offboard_queued=self._workers.queued,
            ledger_bytes=_size_of(self._config.ledger),
            contents=dict(self._service.contents.stats()),
            content_pulls=pulls,
            content_waiting=waiting,
            turns=self._turns,
            busy_s=self._busy_ns / SECOND,
        )

    def _complaints(self) -> dict[str, int]:
        """Return what was complained of, at the door too."""
        counts = {**self._service.complaints.counts, **self._usher.complaints.counts}
        if self._doorman is not None:
            counts.update(self._doorman.complaints.counts)
        return counts

    def _log_counts(self) -> None:
        counts = {**self._router.counts, **self._usher.counts, **self._complaints()}
        LOG.info("counts: %s", ", ".join(f"{k}={v}" for k, v in sorted(counts.items())))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the loop, and put the old handlers back."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop()

        wanted = (signal.SIGTERM, signal.SIGINT)
        old = [signal.signal(number, handle) for number in wanted]
        try:
            yield
        finally:
            for number, handler in zip(wanted, old, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def _metrics(self) -> Iterator[None]:
        """Serve the metrics, if a socket is configured."""
        if not self._config.metrics_socket:
            yield
            return
        server = MetricsServer(self._config.metrics_socket, lambda: render(self._snapshot))
        try:
            yield
        finally:
            server.close()

    def _close(self) -> None:
        self._log_counts()
        self._closing.close()
        os.close(self._stop_fd)
        LOG.info("stopped")


def _size_of(ledger: Path) -> int:
    """Return the size of the ledger and of what is not yet moved into it."""
    size = 0
    for suffix in ("", "-wal"):
        with suppress(OSError):
            size += ledger.with_name(ledger.name + suffix).stat().st_size
    return size
