"""The one ROUTER socket: bytes in, bytes out, nothing that blocks, every loss counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

import zmq

from cloud.auth import Peer
from cloud.config import Bounds
from cloud.door.backlog import LARGE_BYTES, Backlog
from cloud.door.connections import Connections
from cloud.door.doorman import DOMAIN
from cloud.door.unread import Cut
from cloud.door.usher import Usher
from user_lib.contract.clock import SECOND
from user_lib.contract.codec import MAX_BODY_BYTES, direction
from user_lib.contract.errors import ConfigError
from user_lib.wire.keys import Keys
from user_lib.wire.socket import send_frames
from user_lib.wire.tcp import hang_up

__all__ = ["Fate", "Router"]

Fate: TypeAlias = Literal["sent", "slow", "gone"]
BACKLOG = 4096
"""At ZeroMQ's default of 100, a fleet that comes back at once takes five times as long."""
HANDSHAKE_MS = 10_000
"""When a whole fleet comes back, the last one's turn may take seconds; who is cut off for that
begins anew, and all that was done for it was in vain."""
MAX_FRAMES = 4
"""Two make a message; who sends more is hung up on, and the rest thrown away as it is read."""
LOOK_NS = 1 * SECOND


class Router:
    """Owns the socket.

    With ``keys`` only connections are taken that the doorman of the same ``context`` lets in, and
    each message's peer has the key that ZeroMQ verified; None is the insecure mode. Without an
    ``usher`` connections are not bounded.

    Raises: ConfigError, when the address cannot be bound.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        bind: str,
        keys: Keys | None,
        bounds: Bounds,
        usher: Usher | None = None,
        *,
        wake_fds: Sequence[int] = (),
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._connections = Connections(int(bounds.unread_mb * 1e6), keyed=keys is not None)
        self._usher = usher
        self._backlog = Backlog(
            peer_bytes=int(bounds.queued_mb_per_peer * 1e6),
            total_bytes=int(bounds.queued_mb * 1e6),
        )
        self._keyed = keys is not None
        self._look_ns, self._latest_fd = 0, -1
        self._socket = _socket(context, bounds.messages_per_peer)
        if keys is not None:
            _secure(self._socket, keys)
        if usher is not None:
            usher.watch(self._socket)
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"bind: {bind} cannot be bound: {error.strerror}; is another oodida-cloud running "
                "there? Give another address with --bind"
            ) from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        for fd in wake_fds:
            self._poller.register(fd, zmq.POLLIN)

    def wait(self, timeout_ms: int) -> None:
        """Return once there is something to read, or one of the wake descriptors is ready."""
        self._poller.poll(timeout_ms)

    def receive(self, limit: int) -> Iterator[tuple[Peer, list[bytes]]]:
        """Yield what has arrived, at most ``limit`` messages: the peer and its frames."""
        for _ in range(limit):
            try:
                first = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            peer = Peer(first.bytes, str(first["User-Id"]) if self._keyed else "")
            fd = self._latest_fd = int(first[zmq.SRCFD])
            if self._usher is not None:
                self._usher.met(fd, peer.key)
            frames, size = self._rest(fd)
            self._connections.took(fd, peer.route, peer.key, size)
            self.counts["received"] += 1
            yield peer, frames

    def hang_up(self) -> None:
        """End the connection by which the latest message came."""
        self.counts["cut.flood"] += hang_up(self._latest_fd)

    def _rest(self, fd: int) -> tuple[list[bytes], int]:
        """Read a message to its end; return its first frames, and its size on the wire."""
        frames: list[bytes] = []
        size = count = 0
        while self._socket.getsockopt(zmq.RCVMORE):
            frame = self._socket.recv(zmq.NOBLOCK)
            size += self._connections.sent_bytes(len(frame))
            count += 1
            if count <= MAX_FRAMES:
                frames.append(frame)
        if count > MAX_FRAMES and hang_up(fd):
            self.counts["cut.frames"] += 1
        return frames, size

    def look(self, now_ns: int) -> list[Cut]:
        """Let go of what has left, and of peers that send too much that is no whole message.

        Returns the connections that were hung up on.
        """
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._backlog.settle()
        cut = self._connections.look(now_ns)
        self.counts.update(f"cut.{each.why}" for each in cut)
        return cut

    def send(self, peer: Peer, frames: Sequence[bytes]) -> Fate:
        """Send, or say why not: the connection is gone, or too slow and its queue full."""
        size = len(frames[-1])
        try:
            if size < LARGE_BYTES and direction(frames) != b"A":
                send_frames(self._socket, (peer.route, *frames))
            elif self._backlog.has_room(peer.key or peer.route, size):
                self._send_tracked(peer, frames)
            else:
                raise zmq.Again
        except zmq.Again:
            self.counts["dropped.slow"] += 1
            return "slow"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.counts["dropped.gone"] += 1
            return "gone"
        self.counts["sent"] += 1
        return "sent"

    def _send_tracked(self, peer: Peer, frames: Sequence[bytes]) -> None:
        *small, large = frames
        frame = zmq.Frame(large, track=True, copy=False, copy_threshold=0)
        self._socket.send_multipart([peer.route, *small, frame], zmq.NOBLOCK)
        if frame.tracker is not None:
            self._backlog.hold(peer.key or peer.route, len(large), frame.tracker)

    def stop_accepting(self) -> None:
        """Take no new connections; those that are there stay."""
        with suppress(zmq.ZMQError):
            self._socket.unbind(self.endpoint)

    def close(self) -> None:
        """Close the socket; what was not sent yet is dropped."""
        with suppress(zmq.ZMQError):
            self._socket.disable_monitor()
        with suppress(zmq.ZMQError):
            self._socket.close(linger=0)
        self._connections.close()


def _secure(socket: "zmq.Socket[bytes]", keys: Keys) -> None:
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.curve_secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    # Without a handler ZeroMQ would let everybody in; with this it lets nobody in.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", queued: int) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    # Without MANDATORY and NOBLOCK, what a slow or absent peer does not get vanishes uncounted.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.SNDHWM, queued)
    socket.setsockopt(zmq.RCVHWM, queued)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BODY_BYTES)
    socket.setsockopt(zmq.LINGER, 0)
    return socket
