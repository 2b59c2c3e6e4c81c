"""One SocketCAN interface as it comes and goes: its socket, when to try again, what it has lost.

When the interface goes down the socket stays, for it carries frames again the moment the interface
is up. When the interface is removed the socket is worth nothing: another one is opened, for as
long as it takes. Each change of state is said once.
"""

import errno
import logging
import socket
from typing import Protocol

from hw.socketcan.datagrams import Datagrams
from hw.socketcan.seldom import Seldom
from user_lib.contract.clock import MS, SECOND, Clock

__all__ = ["CanLink", "SocketOpener"]

log = logging.getLogger("hw.socketcan")

_BACKOFF_FIRST_NS = 100 * MS
_BACKOFF_MOST_NS = 2 * SECOND
_COUNTER = 1 << 32


class SocketOpener(Protocol):
    """What opens the sockets of an interface; see `CanSocket`."""

    @property
    def interface(self) -> str:
        """The interface's name, for messages."""
        ...

    def open(self) -> socket.socket:
        """Return a bound, non-blocking datagram socket. Raises: OSError, when it cannot be."""
        ...

    def is_up(self, opened: socket.socket) -> bool:
        """Whether the interface passes frames. Raises: OSError, when it does not exist."""
        ...


class CanLink:
    """The socket of one interface, opened again and again. Of the thread that reads it."""

    def __init__(self, opener: SocketOpener, clock: Clock) -> None:
        self._opener, self._clock = opener, clock
        self.socket: socket.socket | None = None
        self.connected = True
        self.reconnects = self.dropped = 0
        self._losses = Seldom(clock, self._tell_losses)
        self._counter = 0
        self._seen_up = False
        self.next_try_ns, self._backoff_ns = 0, _BACKOFF_FIRST_NS

    @property
    def interface(self) -> str:
        """The interface's name."""
        return self._opener.interface

    def receive(self, datagrams: Datagrams, slot: int, most: int) -> int:
        """Take what waits in the socket, if there is one; return how many datagrams."""
        if self.socket is None:
            return 0
        try:
            count = datagrams.receive(self.socket.fileno(), slot, most)
        except OSError as error:
            self._lost(error)
            return 0
        if count and not self.connected and self._is_up():
            self._back()
        return count

    def _is_up(self) -> bool:
        """Whether frames come from an interface that is up: some may be left from before."""
        try:
            return self.socket is not None and self._opener.is_up(self.socket)
        except OSError:
            return False

    def note_losses(self, so_far: int | None) -> None:
        """Take in the socket's own count of lost frames, modulo 2**32."""
        if so_far is not None:
            lost = (so_far - self._counter) % _COUNTER
            self._counter = so_far
            self.dropped += lost
            self._losses.count(lost)

    def revive(self) -> None:
        """Open the socket if there is none, or see whether the interface is up; when it is time.

        Raises: SourceError, when no waiting will help.
        """
        self._losses.look()
        if self.connected and self.socket is not None:
            return
        now_ns = self._clock.monotonic_ns()
        if now_ns < self.next_try_ns:
            return
        self.next_try_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, _BACKOFF_MOST_NS)
        try:
            if self.socket is None:
                self._counter = 0
                self.socket = self._opener.open()
            up = self._opener.is_up(self.socket)
        except OSError as error:
            self._lost(error)
            return
        if up:
            self._back()
        else:
            self._away("the interface is down")

    def close(self) -> None:
        """Close the socket; `revive` would open another."""
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def _lost(self, error: OSError) -> None:
        """Note that the interface went away; one that is only down keeps its socket."""
        if error.errno != errno.ENETDOWN:
            self.close()
        self._away(error.strerror or str(error))

    def _tell_losses(self, frames: int) -> None:
        log.warning(
            "CAN interface %s: %d frames lost, more than its buffer holds (capacity_frames) "
            "came between two looks",
            self.interface,
            frames,
        )

    def _away(self, why: str) -> None:
        if self.connected:
            self.next_try_ns = self._clock.monotonic_ns() + _BACKOFF_FIRST_NS
            self._backoff_ns = 2 * _BACKOFF_FIRST_NS
            log.warning("CAN interface %s: %s; waiting for it", self.interface, why)
        self.connected = False

    def _back(self) -> None:
        if not self.connected:
            self.reconnects += self._seen_up
            log.info("CAN interface %s is up", self.interface)
        self._seen_up = self.connected = True
        self.next_try_ns, self._backoff_ns = 0, _BACKOFF_FIRST_NS
