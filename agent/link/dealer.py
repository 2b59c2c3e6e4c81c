"""The socket of the link: messages and changes of the connection, in the order they happened.

Owned by one thread. Nothing here waits, and nothing that arrives can break it: what is no message
of the protocol is counted and dropped.
"""

import logging
from collections.abc import Iterator
from enum import Enum
from typing import TypeAlias

import zmq

from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.codec import FROM_VEHICLE, TO_VEHICLE
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import FromVehicle, ToVehicle
from user_lib.wire.keys import LinkKeys
from user_lib.wire.monitor import LinkEvent, events
from user_lib.wire.socket import (
    HANDSHAKE_EVENTS,
    HEARTBEAT_MS,
    connect_again,
    dealer,
    receive_frames,
    refusal,
    send_frames,
)
from user_lib.wire.unfinished import MOST_UNFINISHED_BYTES, Unfinished

__all__ = ["Change", "Dealer", "Incoming"]

log = logging.getLogger(__name__)

MAX_MESSAGES_AT_ONCE = 256
MALFORMED_LOGGED = 10
WATCHED = (
    zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_EVENTS
)
AGAIN_NS = 1 * SECOND
AGAIN_MAX_NS = 30 * SECOND
"""How long to wait before a refused connection is tried again: twice as long each time."""


class Change(Enum):
    """What happened to the connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    """By the cloud's end of the handshake; it was logged why."""


Incoming: TypeAlias = ToVehicle | Change


class Dealer:
    """A connection to the cloud that comes back by itself.

    Raises: ConfigError, if ``endpoint`` is not an address.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        keys: LinkKeys | None,
        clock: Clock,
        *,
        monitored: bool = True,
        heartbeat_ms: int = HEARTBEAT_MS,
    ) -> None:
        self._endpoint, self._keys, self._clock = endpoint, keys, clock
        watch = WATCHED if monitored else 0
        self._socket = dealer(context, endpoint, keys, watch=watch, heartbeat_ms=heartbeat_ms)
        self._monitor = self._socket.get_monitor_socket() if monitored else None
        # Without a monitor nobody tells of a connection that is there already.
        self._missed = not monitored and bool(self._socket.poll(0, zmq.POLLOUT))
        self._unfinished = Unfinished()
        self.malformed = self.refused = self.endless = 0
        self._refusals = 0
        """In a row; they make the waits longer, and only some of them are told of."""
        self._again_ns: int | None = None
        self.connects = 0
        self.unsent = 0

    def register(self, poller: zmq.Poller) -> None:
        """Let a poller wait for what arrives."""
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)

    def receive(self) -> Iterator[Incoming]:
        """Yield what has arrived, a bounded number at once: changes first, then messages."""
        self._try_again()
        yield from self._changes()
        for _ in range(MAX_MESSAGES_AT_ONCE):
            frames = receive_frames(self._socket)
            if frames is None:
                yield from self._cut_endless()
                return
            self._unfinished.took(frames)
            try:
                message = TO_VEHICLE.decode(frames)
            except ProtocolError as error:
                self._complain(error)
                continue
            yield message

    def send(self, message: FromVehicle) -> bool:
        """Send without waiting; False when there is no connection or no room, and it is repeated.

        Raises: ProtocolError, for a message that is too large.
        """
        frames = FROM_VEHICLE.encode(message)
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            self.unsent += 1
            return False
        return True

    def close(self) -> None:
        """Close the socket; unsent messages stay in the outbox."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(0)

    def _changes(self) -> Iterator[Change]:
        if self._missed:
            self._missed = False
            self.connects += 1
            yield Change.CONNECTED
        for event in () if self._monitor is None else events(self._monitor):
            if event.kind == zmq.EVENT_CONNECTED:
                self._unfinished.opened(event.value)
            elif event.kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connects += 1
                self._refusals = 0
                yield Change.CONNECTED
            elif event.kind == zmq.EVENT_DISCONNECTED:
                self._unfinished.closed()
                yield Change.DISCONNECTED
            elif event.kind & HANDSHAKE_EVENTS:
                self._refuse(event)
                yield Change.REFUSED

    def _refuse(self, event: LinkEvent) -> None:
        """Plan the next attempt where ZeroMQ makes none; a cloud may enrol the key meanwhile."""
        self.refused += 1
        self._refusals += 1
        if self._refusals & (self._refusals - 1) == 0:  # 1, 2, 4, 8 … in a row
            log.error("refused (%d times): %s", self._refusals, refusal(event, self._keys))
        if event.kind != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._come_again(self._refusals)

    def _cut_endless(self) -> Iterator[Change]:
        """Give up a connection by which more came than a message may have.

        The next one waits: who does that, does it again.
        """
        if not self._unfinished.is_endless():
            return
        self.endless += 1
        log.error(
            "the cloud sent more than %d MB and no whole message: the connection is given up "
            "(%d times by now)",
            MOST_UNFINISHED_BYTES // 2**20,
            self.endless,
        )
        self._unfinished.closed()
        self._socket.disconnect(self._endpoint)
        self._come_again(self.endless)
        yield Change.DISCONNECTED

    def _come_again(self, times: int) -> None:
        wait_ns = min(AGAIN_NS << min(times - 1, 10), AGAIN_MAX_NS)
        self._again_ns = self._clock.monotonic_ns() + wait_ns

    def _try_again(self) -> None:
        if self._again_ns is not None and self._clock.monotonic_ns() >= self._again_ns:
            self._again_ns = None
            connect_again(self._socket, self._endpoint)

    def _complain(self, error: ProtocolError) -> None:
        self.malformed += 1
        if self.malformed <= MALFORMED_LOGGED:
            log.warning("dropped a malformed message of the cloud: %s", error)
