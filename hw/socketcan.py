"""A live SocketCAN interface, read in batches: the kernel's own buffer is the queue.

There is no thread and no object for a frame. `SocketCanSource.read` takes all that waits in the
socket by a few system calls, with the kernel's stamps; what did not fit in the socket's buffer the
kernel has counted. When the interface goes down the socket stays, for it carries frames again the
moment the interface is up; when the interface is removed another socket is opened, for as long as
it takes. Nothing is ever sent.
"""

import errno
import logging
import os
import select
import socket
import threading
from typing import Protocol

from hw.can_datagrams import CONTROL_BYTES, FRAME_BYTES, Arrived, frames_of
from hw.datagrams import Datagrams
from hw.source import GATHER_S, SourceEnded, SourceStats, Tally
from hw.wall_clock import ArrivalTimes
from user_lib.contract.clock import MS, SECOND, Clock
from user_lib.contract.frames import FrameBatch

__all__ = ["SocketCanSource", "SocketOpener"]

log = logging.getLogger("hw.socketcan")

_SLOTS = 512
_CALLS_A_READ = 128
"""So a read ends, whatever comes in meanwhile."""
_BACKOFF_FIRST_NS = 100 * MS
_BACKOFF_MOST_NS = 2 * SECOND
_COUNTER = 1 << 32
_DOWN = "the interface is down"


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


class SocketCanSource:
    """Frames of one SocketCAN interface, under one channel name.

    Raises: SourceError, when the interface can never be opened. One that is only absent for now is
    waited for.
    """

    def __init__(self, opener: SocketOpener, name: str, clock: Clock) -> None:
        self.channels = (name,)
        self.live = True
        self._opener, self._clock = opener, clock
        self._times = ArrivalTimes(clock)
        self._datagrams = Datagrams(_SLOTS, payload_bytes=FRAME_BYTES, control_bytes=CONTROL_BYTES)
        self._tally = Tally()
        self._dropped = self._malformed = self._bus_offs = self._reconnects = 0
        self._counter = 0
        self._connected = True
        self._seen_up = False
        self._next_try_ns, self._backoff_ns = 0, _BACKOFF_FIRST_NS
        self._socket: socket.socket | None = None
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._closing = threading.Lock()
        self._stopped_fd = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._revive()
        except BaseException:
            os.close(self._stopped_fd)
            raise

    def read(self, timeout_s: float) -> FrameBatch:
        """Return the frames that have arrived; see `Source.read`.

        Raises: SourceEnded, once the source was closed.
        """
        with self._reading:
            if timeout_s > 0:
                self._gather(self._clock.monotonic_ns() + int(timeout_s * SECOND))
            if self._stop.is_set():
                raise SourceEnded(f"the source {self._opener.interface} was closed")
            self._revive()
            batch = self._drain()
        self._tally.count(batch)
        return batch

    def stats(self) -> SourceStats:
        """Return the counts since the source was opened."""
        return self._tally.stats(
            dropped=self._dropped,
            malformed=self._malformed,
            bus_offs=self._bus_offs,
            reconnects=self._reconnects,
            connected=self._connected and not self._stop.is_set(),
            ended=self._stop.is_set(),
        )

    def close(self) -> None:
        """Close the socket; a waiting read returns. May be called twice."""
        with self._closing:
            if self._stop.is_set():
                return
            self._stop.set()
        os.eventfd_write(self._stopped_fd, 1)
        with self._reading:
            self._let_go()
            os.close(self._stopped_fd)

    # --- waiting --------------------------------------------------------------------------------

    def _gather(self, deadline_ns: int) -> None:
        """Wait for the first frame or an error, and then a moment for more."""
        while not self._stop.is_set():
            self._revive()
            left_ns = deadline_ns - self._clock.monotonic_ns()
            if left_ns <= 0:
                return
            if not self._connected:
                until_try_ns = self._next_try_ns - self._clock.monotonic_ns()
                left_ns = min(left_ns, max(until_try_ns, MS))
            if self._arrives_within(left_ns):
                linger_ns = min(deadline_ns - self._clock.monotonic_ns(), int(GATHER_S * SECOND))
                if linger_ns > 0:
                    self._stop.wait(linger_ns / SECOND)
                return

    def _arrives_within(self, wait_ns: int) -> bool:
        poll = select.poll()
        poll.register(self._stopped_fd, select.POLLIN)
        if self._socket is not None:
            poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(wait_ns / MS))

    # --- reading --------------------------------------------------------------------------------

    def _drain(self) -> FrameBatch:
        """Take what waits in the socket."""
        parts: list[FrameBatch] = []
        for _ in range(_CALLS_A_READ):
            if self._socket is None:
                break
            try:
                received = self._datagrams.receive(self._socket.fileno())
            except OSError as error:
                self._lost(error)
                break
            if len(received.length):
                parts.append(self._account(frames_of(received)))
            if len(received.length) < self._datagrams.slots:
                break
        if not parts:
            return FrameBatch.empty()
        if not self._connected:
            self._back()
        batch = parts[0] if len(parts) == 1 else FrameBatch.concatenate(parts)
        batch.time_ns[:] = self._times.of(batch.time_ns)
        return batch

    def _account(self, arrived: Arrived) -> FrameBatch:
        self._malformed += arrived.malformed
        self._bus_offs += arrived.bus_offs
        if arrived.dropped_so_far is not None:
            self._dropped += (arrived.dropped_so_far - self._counter) % _COUNTER
            self._counter = arrived.dropped_so_far
        return arrived.frames

    # --- the interface comes and goes -----------------------------------------------------------

    def _revive(self) -> None:
        """Open the socket if there is none, or see whether the interface is up; when it is time."""
        if self._connected and self._socket is not None:
            return
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_try_ns:
            return
        self._next_try_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, _BACKOFF_MOST_NS)
        try:
            if self._socket is None:
                self._counter = 0
                self._socket = self._opener.open()
            up = self._opener.is_up(self._socket)
        except OSError as error:
            self._lost(error)
            return
        if up:
            self._back()
        else:
            self._away(_DOWN)

    def _lost(self, error: OSError) -> None:
        """Note that the interface went away; one that is only down keeps its socket."""
        if error.errno != errno.ENETDOWN:
            self._let_go()
        self._away(error.strerror or str(error))

    def _away(self, why: str) -> None:
        if self._connected:
            self._next_try_ns = self._clock.monotonic_ns() + _BACKOFF_FIRST_NS
            self._backoff_ns = 2 * _BACKOFF_FIRST_NS
            log.warning("CAN interface %s: %s; waiting for it", self._opener.interface, why)
        self._connected = False

    def _back(self) -> None:
        if not self._connected:
            self._reconnects += self._seen_up
            log.info("CAN interface %s is up", self._opener.interface)
        self._seen_up = self._connected = True
        self._next_try_ns, self._backoff_ns = 0, _BACKOFF_FIRST_NS

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
