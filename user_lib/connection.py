"""An analyst's line to the cloud: numbered questions, a deadline, a fresh socket when in doubt.

Every request of the protocol may be repeated, so an unanswered one is asked again over a new
connection until its time is over. That is how a restart of the cloud looks like a pause.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Self, TypeVar

import zmq

from user_lib.contract.clock import MS, SECOND, Clock, SystemClock
from user_lib.contract.codec import REPLY, REQUEST
from user_lib.contract.errors import (
    AssignmentError,
    CodeError,
    LinkError,
    LinkRefused,
    ProtocolError,
    Rejected,
)
from user_lib.contract.messages import Answer, Ask, Rejection, Request
from user_lib.settings import Settings
from user_lib.wire.monitor import LinkEvent, events
from user_lib.wire.socket import HANDSHAKE_EVENTS, dealer, refusal
from user_lib.wire.unfinished import MOST_UNFINISHED_BYTES, Unfinished

__all__ = ["Connection"]

T = TypeVar("T")

ATTEMPT_S = 2.0
"""How long one socket is given before the question is asked again over a fresh one."""
SHAKE_MS = 50
"""How often a handshake under way is looked at."""
LOOK_MS = 250
"""How often it is looked whether what comes is a message without an end."""
REFUSED_NS = 1 * SECOND
"""How long a refused connection is tried again before that is an error."""
TOO_FAST_NS = 500 * MS
"""How long to wait before asking again what the cloud did not take, for its rate."""
_BAD_ASSIGNMENT = "invalid"
_BAD_CODE = "bad_code"
"""The words by which the cloud says what the check at this side would have said."""


class Connection:
    """One socket to the cloud, used by one question at a time; safe to share between threads."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._socket: zmq.Socket[bytes] | None = None
        self._lost: zmq.Socket[bytes] | None = None
        """Tells when the connection of ``_socket`` is lost or refused."""
        self._unfinished = Unfinished()
        self._refused = ""
        """Why the cloud broke off the last handshake; empty once one succeeded."""
        self._number = 0
        self._closed = False

    def sibling(self) -> "Connection":
        """Return a second line for what waits long, so that this one stays free."""
        return Connection(self.settings, self._clock)

    def ask(self, ask: Ask, expect: type[T], *, wait_s: float = 0.0) -> T:
        """Ask and return the answer; ``wait_s`` is how long the cloud itself may hold the question.

        Raises: LinkError, when nothing answers in time; LinkRefused, when that is for the keys;
                Rejected, AssignmentError or CodeError, when the cloud says no.
        """
        with self._lock:
            if self._closed:
                raise LinkError("this connection is closed; connect again with user_lib.connect()")
            self._number += 1
            request = Request(number=self._number, user=self.settings.user, ask=ask)
            answer = self._ask_until_answered(REQUEST.encode(request), wait_s)
        if isinstance(answer, Rejection):
            raise _error_of(answer)
        if not isinstance(answer, expect):
            raise ProtocolError(
                f"asked for {expect.__name__}, the cloud answered {type(answer).__name__}; "
                "are analyst and cloud of the same version?"
            )
        return answer

    def close(self) -> None:
        """Close the socket; every later question raises LinkError."""
        with self._lock:
            self._closed = True
            self._drop_socket()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask_until_answered(self, frames: list[bytes], wait_s: float) -> Answer:
        timeout_ns = int(self.settings.timeout_s * SECOND)
        wait_ns = int(wait_s * SECOND)
        deadline_ns = self._now_ns() + timeout_ns + wait_ns
        while self._send(frames, min(deadline_ns, self._now_ns() + timeout_ns)):
            attempt_ns = int(ATTEMPT_S * SECOND) + wait_ns
            answer = self._receive(min(deadline_ns, self._now_ns() + attempt_ns))
            if _is_too_fast(answer) and self._now_ns() + TOO_FAST_NS < deadline_ns:
                time.sleep(TOO_FAST_NS / SECOND)
                continue
            if answer is not None:
                return answer
            self._drop_socket()
        self._drop_socket()
        if self._refused:
            raise LinkRefused(f"{self.settings.cloud} refused this connection: {self._refused}")
        raise LinkError(
            f"no cloud at {self.settings.cloud} answered within {self.settings.timeout_s:g} s; is "
            "oodida-cloud running? Set OODIDA_CLOUD or give cloud= (on the command line --cloud) "
            "if it is elsewhere"
        )

    def _send(self, frames: list[bytes], until_ns: int) -> bool:
        """Send once there is a connection; False when there is none in time."""
        if self._is_lost():
            self._drop_socket()  # the cloud went away since the last question
        refused_until_ns = self._now_ns() + REFUSED_NS
        while self._now_ns() < until_ns:
            socket = self._socket or self._open_socket()
            if socket.poll(min(self._left_ms(until_ns), SHAKE_MS), zmq.POLLOUT):
                with contextlib.suppress(zmq.Again):  # the connection went between the two
                    socket.send_multipart(frames, zmq.NOBLOCK)
                    self._refused = ""
                    return True
            if self._is_refused():
                if self._now_ns() > refused_until_ns:
                    return False
                self._drop_socket()  # the key may be enrolled at this very moment
        return False

    def _is_lost(self) -> bool:
        """Whether the connection ended; what else the monitor tells is read away."""
        return any(event.kind == zmq.EVENT_DISCONNECTED for event in self._changes())

    def _is_refused(self) -> bool:
        """Whether the cloud broke off the handshake for good, and ZeroMQ gave up with it."""
        over = False
        for event in self._changes():
            if event.kind & HANDSHAKE_EVENTS:
                self._refused = refusal(event, self.settings.keys)
                over = over or event.kind != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        return over

    def _changes(self) -> Iterator[LinkEvent]:
        for event in () if self._lost is None else events(self._lost):
            if event.kind == zmq.EVENT_CONNECTED:
                self._unfinished.opened(event.value)
            yield event

    def _receive(self, until_ns: int) -> Answer | None:
        """Wait for the answer to the current number; older ones are of questions given up.

        None when time is over or the connection is lost, and the question with it.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._lost, zmq.POLLIN)
        while self._socket is not None and self._now_ns() < until_ns:
            ready = dict(poller.poll(min(self._left_ms(until_ns), LOOK_MS)))
            if self._socket in ready:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
                self._unfinished.took(frames)
                reply = REPLY.decode(frames)
                if reply.number == self._number:
                    return reply.answer
            elif ready and self._is_lost():
                return None
            elif self._unfinished.is_endless():
                self._drop_socket()
                raise LinkError(
                    f"{self.settings.cloud} sent more than {MOST_UNFINISHED_BYTES // 2**20} MB and "
                    "no whole message: is that a cloud, and still your own?"
                )
        return None

    def _open_socket(self) -> zmq.Socket[bytes]:
        settings = self.settings
        watch = zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | HANDSHAKE_EVENTS
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = dealer(context, settings.cloud, settings.keys, watch=watch)
        self._lost = self._socket.get_monitor_socket()
        return self._socket

    def _drop_socket(self) -> None:
        if self._socket is not None and self._lost is not None:
            self._socket.disable_monitor()
            self._lost.close(linger=0)
            self._socket.close(linger=0)
        self._socket = self._lost = None
        self._unfinished.closed()

    def __del__(self) -> None:
        self._drop_socket()

    def _left_ms(self, until_ns: int) -> int:
        return max(0, -((self._now_ns() - until_ns) // MS))

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns()


def _is_too_fast(answer: Answer | None) -> bool:
    return isinstance(answer, Rejection) and answer.reason == "too_fast"


def _error_of(rejection: Rejection) -> Exception:
    """Return a rejection as the error that the analyst would have seen locally."""
    if rejection.reason == _BAD_ASSIGNMENT:
        message = rejection.message.removeprefix(f"{rejection.path}: ")
        return AssignmentError(message, path=rejection.path, near=rejection.near)
    if rejection.reason == _BAD_CODE:
        return CodeError(rejection.message)
    return Rejected(
        rejection.message, reason=rejection.reason, path=rejection.path, near=rejection.near
    )
