"""The socket of the link: messages and changes of the connection, in the order they happened.

Owned by one thread. Nothing here waits, and nothing that arrives can break it: what is no message
of the protocol is counted and dropped.
"""

import logging
from collections.abc import Iterator
from enum import Enum
from typing import TypeAlias

import zmq
from zmq.utils.monitor import recv_monitor_message

from user_lib.contract.codec import FROM_VEHICLE, TO_VEHICLE
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import FromVehicle, ToVehicle
from user_lib.wire.socket import dealer

__all__ = ["Change", "Dealer", "Incoming"]

log = logging.getLogger(__name__)

MAX_MESSAGES_AT_ONCE = 256
MALFORMED_LOGGED = 10
HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED


class Change(Enum):
    """What happened to the connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"


Incoming: TypeAlias = ToVehicle | Change


class Dealer:
    """A connection to the cloud that comes back by itself.

    Raises: ConfigError, if ``endpoint`` is not an address.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, *, monitored: bool = True
    ) -> None:
        self._socket = dealer(context, endpoint)
        self._monitor = self._socket.get_monitor_socket(WATCHED) if monitored else None
        # The connection may have come about before there was a monitor to tell of it.
        self._missed = bool(self._socket.poll(0, zmq.POLLOUT))
        self.malformed = 0
        self.connects = 0
        self.unsent = 0

    def register(self, poller: zmq.Poller) -> None:
        """Let a poller wait for what arrives."""
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)

    def receive(self) -> Iterator[Incoming]:
        """Yield what has arrived, a bounded number at once: changes first, then messages."""
        yield from self._changes()
        for _ in range(MAX_MESSAGES_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
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
            self._socket.send_multipart(frames, zmq.NOBLOCK)
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
        while self._monitor is not None and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connects += 1
                yield Change.CONNECTED
            elif event == zmq.EVENT_DISCONNECTED:
                yield Change.DISCONNECTED
            elif event & HANDSHAKE_FAILED:
                yield Change.REFUSED

    def _complain(self, error: ProtocolError) -> None:
        self.malformed += 1
        if self.malformed <= MALFORMED_LOGGED:
            log.warning("dropped a malformed message of the cloud: %s", error)
