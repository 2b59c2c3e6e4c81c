"""Decides which keys may open a connection: the ZAP handler (RFC 27), in a thread of its own.

ZeroMQ asks it at each handshake. It must run before the router binds; should it die, ZeroMQ lets
nobody in any more, and the cloud says so instead of waiting in silence.
"""

import logging
import os
import threading
from contextlib import suppress

import zmq

from cloud.complaints import Complaints
from cloud.config import HANDSHAKES_PER_KEY, Pace
from cloud.door.allowance import Allowance
from user_lib.contract.clock import SECOND, Clock
from user_lib.wire.keyring import Keyring

__all__ = ["DOMAIN", "Doorman"]

LOG = logging.getLogger(__name__)

ENDPOINT = "inproc://zeromq.zap.01"
DOMAIN = b"oodida"
_VERSION = b"1.0"
LATER = b"300"
"""A peer that is told so tries again by itself; after 400 it would have to be told to."""
_REQUEST_FRAMES = 7
"""Version, request id, domain, address, identity, mechanism, and for CURVE one credential."""
SHUT_OUT_NS = 10 * SECOND
STOP_S = 5.0


class Doorman:
    """Answers until closed; a known key becomes the connection's User-Id, in hex."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        keyring: Keyring,
        clock: Clock,
        pace: Pace = HANDSHAKES_PER_KEY,
    ) -> None:
        self.complaints = Complaints(clock)
        """Of the thread; others only read the counts."""
        self.turned_away = (0, "")
        """How many connections were refused for their key, and which was the last."""
        self._keyring, self._clock = keyring, clock
        self._handshakes = Allowance(pace.rate)
        self._shut_out: dict[str, int] = {}
        """Until when; written by the loop."""
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        self._thread = threading.Thread(target=self._serve, name="doorman", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether new connections are answered."""
        return self._thread.is_alive()

    def shut_out(self, key: str) -> None:
        """Do not let a key in for a while; may be called from another thread."""
        now_ns = self._clock.monotonic_ns()
        over = [who for who, until_ns in self._shut_out.items() if until_ns <= now_ns]
        for each in over:
            del self._shut_out[each]
        self._shut_out[key] = now_ns + SHUT_OUT_NS

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        if self._stop_fd < 0:
            return
        os.eventfd_write(self._stop_fd, 1)
        self._thread.join(STOP_S)
        os.close(self._stop_fd)
        self._stop_fd = -1

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stop_fd, zmq.POLLIN)
        try:
            while self._stop_fd not in dict(poller.poll()):
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
        except Exception:
            LOG.exception("the doorman died: nobody new is let in; restart oodida-cloud")
        finally:
            with suppress(zmq.ZMQError):
                self._socket.close(0)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        number = request[1] if len(request) > 1 else b""
        key = self._key_of(request)
        if key is None:
            return [_VERSION, number, b"400", b"a CURVE key is needed", b"", b""]
        address = request[3].decode(errors="replace")
        if self._knows(key):
            now_ns = self._clock.monotonic_ns()
            if now_ns < self._shut_out.get(key, 0):
                return [_VERSION, number, LATER, b"later", b"", b""]
            if self._handshakes.take(key, 0, now_ns):
                return [_VERSION, number, b"200", b"OK", key.encode(), b""]
            words = "from %s: the link key %s connects too often (bounds.handshakes_per_key)"
            self.complaints.add("too many handshakes", words, address, key)
            return [_VERSION, number, LATER, b"later", b"", b""]
        self.turned_away = (self.turned_away[0] + 1, f"link key {key} from {address[:64]}")
        self.complaints.add(
            "unknown key",
            "from %s: the link key %s is not enrolled, or was revoked; `oodida keys enrol CARD "
            "--into %s` lets it in",
            address,
            key,
            self._keyring.directory,
        )
        return [_VERSION, number, b"400", b"unknown key", b"", b""]

    def _key_of(self, request: list[bytes]) -> str | None:
        if len(request) != _REQUEST_FRAMES or request[0] != _VERSION:
            return None
        _, _, domain, _, _, mechanism, credential = request
        if domain != DOMAIN or mechanism != b"CURVE" or len(credential) != 32:
            return None
        return credential.hex()

    def _knows(self, key: str) -> bool:
        """Whether a key is enrolled; one that is not may just have been."""
        if self._keyring.find(key) is not None:
            return True
        self._keyring.refresh(within_ns=0)  # two stat calls, unless a card came or went
        return self._keyring.find(key) is not None
