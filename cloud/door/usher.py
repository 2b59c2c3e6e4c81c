"""Sees connections come and go, and sends away those that are too many: a thread of its own.

ZeroMQ takes whatever connects, and once the descriptors are used up it only tries again, as fast as
it can. What it does it tells by the router's monitor, and waits for the reader when that is full:
so this thread reads nothing else, whatever the loop is at.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import zmq

from cloud.auth import Auth, Peer
from cloud.complaints import Complaints
from cloud.config import Bounds
from cloud.door.attendance import Attendance, Sent
from user_lib.contract.clock import MS, Clock
from user_lib.wire.monitor import events
from user_lib.wire.tcp import hang_up, peer_address

__all__ = ["Usher"]

LOG = logging.getLogger(__name__)

ENDPOINT = "inproc://comings-and-goings"
UNREAD_EVENTS = 100_000
LOOK_NS = 250 * MS
STOP_S = 5.0
SAID = {
    "address": "%s has more connections that say nothing than bounds.newcomers_per_address; "
    "one was hung up on",
    "full": "there is no room for another connection (bounds.connections, or LimitNOFILE); one "
    "from %s that has said nothing was hung up on",
    "key": "%s has too many connections (bounds.connections_per_vehicle, "
    "connections_per_analyst); its oldest was hung up on",
    "silent": "from %s there was no message within bounds.silent_s; hung up on",
}
KINDS = {
    "address": "too many newcomers",
    "full": "no room",
    "key": "too many connections",
    "silent": "silent connection",
}


class Usher:
    """Watches from `watch` until closed; what was sent away is counted by why.

    ``most``: how many connections there may be.
    """

    def __init__(self, auth: Auth, bounds: Bounds, clock: Clock, most: int) -> None:
        self.counts: Counter[str] = Counter()
        """Of the lock's holder; others only read them."""
        self.complaints = Complaints(clock)
        self._auth, self._bounds, self._clock = auth, bounds, clock
        self._attendance = Attendance(bounds.newcomers_per_address, bounds.silent_s, most)
        self._look_ns = 0
        self._lock = threading.Lock()
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    def watch(self, socket: "zmq.Socket[bytes]") -> None:
        """Begin to watch a socket that is not bound yet, so that nobody is missed."""
        socket.monitor(ENDPOINT, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        told: zmq.Socket[bytes] = socket.context.socket(zmq.PAIR)
        told.setsockopt(zmq.LINGER, 0)
        told.setsockopt(zmq.RCVHWM, UNREAD_EVENTS)
        told.connect(ENDPOINT)
        self._thread = threading.Thread(target=self._serve, args=(told,), name="usher", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections have said nothing yet, and how many have."""
        return self._attendance.newcomers, self._attendance.known

    def name(self, key: str) -> str:
        """Return whose a key is, for a person."""
        card = self._auth.card(Peer(b"", key))
        return f"key {key[:16]}" if card is None else f"{card.role} {card.name}"

    def met(self, fd: int, key: str) -> None:
        """Note that a message came by a connection, from the owner of a key."""
        if self._attendance.knows(fd, key):
            return
        card = self._auth.card(Peer(b"", key))
        is_vehicle = card is not None and card.role == "vehicle"
        bounds = self._bounds
        most = bounds.connections_per_vehicle if is_vehicle else bounds.connections_per_analyst
        with self._lock:
            self._send_away(self._attendance.spoke(fd, key, most, self._clock.monotonic_ns()))

    def dismiss(self, key: str) -> None:
        """Hang up on all connections of a key."""
        with self._lock:
            self.counts["cut.flood"] += sum(map(hang_up, self._attendance.dismiss(key)))

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        if self._stop_fd < 0:
            return
        os.eventfd_write(self._stop_fd, 1)
        if self._thread is not None:
            self._thread.join(STOP_S)
        os.close(self._stop_fd)
        self._stop_fd = -1

    def _serve(self, told: "zmq.Socket[bytes]") -> None:
        poller = zmq.Poller()
        poller.register(told, zmq.POLLIN)
        poller.register(self._stop_fd, zmq.POLLIN)
        try:
            while self._stop_fd not in dict(poller.poll(LOOK_NS // MS)):
                self._turn(told)
        except Exception:
            LOG.exception("connections are no longer bounded; restart oodida-cloud")
        finally:
            with suppress(zmq.ZMQError):
                told.close(0)

    def _turn(self, told: "zmq.Socket[bytes]") -> None:
        for event in events(told):
            now_ns = self._clock.monotonic_ns()
            address = peer_address(event.value) if event.kind == zmq.EVENT_ACCEPTED else None
            with self._lock:
                if address is None:
                    self._attendance.left(event.value)
                else:
                    self._send_away(self._attendance.came(event.value, address, now_ns))
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            with self._lock:
                self._send_away(self._attendance.overdue(now_ns))

    def _send_away(self, those: Iterable[Sent]) -> None:
        for fd, why, who in those:
            if not hang_up(fd):
                continue  # it went by itself
            self.counts[f"cut.{why}"] += 1
            name = self.name(who) if why == "key" else who
            self.complaints.add(KINDS[why], SAID[why], name)
