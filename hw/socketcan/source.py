"""Live SocketCAN interfaces, read in batches: the kernel's own buffers are the queue.

There is no thread and no object for a frame. `SocketCanSource.read` takes all that waits in the
sockets by a few system calls, with the kernel's stamps; what did not fit in a socket's buffer the
kernel has counted. All interfaces of a vehicle are read into one batch, for what costs most is not
a frame but a batch. Nothing is ever sent.
"""

import logging
import os
import select
import threading
from collections.abc import Sequence

import numpy as np

from hw.socketcan.can_datagrams import (
    CONTROL_BYTES,
    FRAME_BYTES,
    STAMP_BYTES,
    frames_of,
    id_bytes,
    lost_so_far,
)
from hw.socketcan.datagrams import Datagrams
from hw.socketcan.link import CanLink, SocketOpener
from hw.socketcan.seldom import Seldom
from hw.socketcan.wall_clock import ArrivalTimes
from hw.source import GATHER_S, SourceEnded, SourceStats, Tally
from user_lib.contract.clock import MS, SECOND, Clock
from user_lib.contract.frames import FrameBatch

__all__ = ["SocketCanSource"]

_log = logging.getLogger("hw.socketcan")

_SLOTS = 512
"""Frames of one interface that are taken by one call."""
_MOST_HELD = 1024
"""Frames that wait for `read` until it is due for want of room."""
_ROUNDS = 128
"""So a read ends, whatever comes in meanwhile."""


class SocketCanSource:
    """Frames of SocketCAN interfaces, each under the name of its channel.

    Raises: SourceError, when an interface can never be opened. One that is only absent for now is
    waited for.
    """

    def __init__(self, openers: Sequence[SocketOpener], names: Sequence[str], clock: Clock) -> None:
        self.channels = tuple(names)
        self.live = True
        self._clock = clock
        self._times = ArrivalTimes(clock)
        self._links = [CanLink(opener, clock) for opener in openers]
        self._datagrams = Datagrams(
            _MOST_HELD + _SLOTS * len(self._links),
            payload_bytes=FRAME_BYTES,
            control_bytes=CONTROL_BYTES,
        )
        self._held: list[tuple[int, int]] = []
        """Bus and number of the datagrams in the slots, in the order of the slots."""
        self._filled = 0
        self._ids: bytes | None = None
        self._tally = Tally()
        self._malformed = self._bus_offs = 0
        self._lost_buses = Seldom(clock, self._tell_bus_offs)
        self._younger: list[FrameBatch] = []
        self._reading, self._closing = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._stopped_fd = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._revive()
        except BaseException:
            self._let_go()
            raise

    def read(self, timeout_s: float) -> FrameBatch:
        """Return the frames that have arrived; see `Source.read`.

        Raises: SourceEnded, once the source was closed.
        """
        with self._reading:
            if timeout_s > 0 and not self._filled:
                self._gather(self._clock.monotonic_ns() + int(timeout_s * SECOND))
            if self._stop.is_set():
                names = ", ".join(link.interface for link in self._links)
                raise SourceEnded(f"the source {names} was closed")
            self._revive()
            batch = self._drain()
        self._tally.count(batch)
        return batch

    def hold(self) -> bool:
        """Take in what has arrived, for a later `read`; see `HoldingSource.hold`."""
        with self._reading:
            if self._stop.is_set():
                return False
            more = self._receive()
        return not more and self._filled <= _MOST_HELD and self._all_connected

    def waiting(self, can_id: int, *, extended: bool) -> int:
        """Return how many of the frames held may have this identifier, on whatever bus."""
        if self._ids is None:
            self._ids = self._datagrams.first_words(self._filled)
        # The search is for bytes, wherever a word begins: so it may find more than there are. It
        # takes the first one of those that overlap, which never makes them fewer.
        younger = sum(map(len, self._younger))
        return younger + self._ids.count(id_bytes(can_id, extended=extended))

    def now_ns(self) -> int:
        """Return the source time of a frame that would come now."""
        return self._times.now_ns()

    def stats(self) -> SourceStats:
        """Return the counts since the source was opened."""
        return self._tally.stats(
            dropped=sum(link.dropped for link in self._links),
            malformed=self._malformed,
            bus_offs=self._bus_offs,
            reconnects=sum(link.reconnects for link in self._links),
            away=self._away(),
            ended=self._stop.is_set(),
        )

    def close(self) -> None:
        """Close the sockets; a waiting read returns. May be called twice."""
        with self._closing:
            if self._stop.is_set():
                return
            self._stop.set()
        os.eventfd_write(self._stopped_fd, 1)
        with self._reading:
            self._let_go()

    def _let_go(self) -> None:
        for link in self._links:
            link.close()
        os.close(self._stopped_fd)

    @property
    def _all_connected(self) -> bool:
        return all(link.connected for link in self._links)

    def _away(self) -> frozenset[str]:
        if self._stop.is_set():
            return frozenset(self.channels)
        if self._all_connected:
            return frozenset()
        links = zip(self.channels, self._links, strict=True)
        return frozenset(name for name, link in links if not link.connected)

    def _revive(self) -> None:
        self._lost_buses.look()
        for link in self._links:
            link.revive()

    # --- waiting --------------------------------------------------------------------------------

    def _tell_bus_offs(self, times: int) -> None:
        _log.warning(
            "a CAN controller went bus-off %d times (%s): wiring, bit rate or termination",
            times,
            ", ".join(link.interface for link in self._links),
        )

    def _gather(self, deadline_ns: int) -> None:
        """Wait for the first frame or an error, and then a moment for more."""
        while not self._stop.is_set():
            self._revive()
            now_ns = self._clock.monotonic_ns()
            if now_ns >= deadline_ns:
                return
            tries_ns = [link.next_try_ns for link in self._links if not link.connected]
            if self._arrives_within(min([deadline_ns, *tries_ns]) - now_ns):
                left_ns = deadline_ns - self._clock.monotonic_ns()
                if left_ns > 0:
                    self._stop.wait(min(left_ns / SECOND, GATHER_S))
                return

    def _arrives_within(self, wait_ns: int) -> bool:
        poll = select.poll()
        poll.register(self._stopped_fd, select.POLLIN)
        for link in self._links:
            if link.socket is not None:
                poll.register(link.socket, select.POLLIN)
        return bool(poll.poll(max(wait_ns / MS, 1)))

    # --- reading --------------------------------------------------------------------------------

    def _drain(self) -> FrameBatch:
        """Take what waits in the sockets, in the order of arrival, behind what was held."""
        arrived: list[FrameBatch] = []
        began_ns = 0
        for _ in range(_ROUNDS):
            began_ns = self._times.now_ns()
            more = self._receive()
            if self._filled:
                arrived.append(self._frames())
            if not more:
                break
        parts, self._younger = self._younger, []
        if arrived:
            parts.append(self._timed(arrived))
        if not parts:
            return FrameBatch.empty()
        batch = _joined(parts)
        return batch if len(self._links) == 1 else self._in_order(batch, began_ns)

    def _timed(self, arrived: list[FrameBatch]) -> FrameBatch:
        """Join what came in one read, and set its times together: see `ArrivalTimes.of`."""
        batch = _joined(arrived)
        batch.time_ns[:] = self._times.of(batch.time_ns, batch.bus)
        return batch

    def _in_order(self, batch: FrameBatch, began_ns: int) -> FrameBatch:
        """Sort frames of several buses; those that came while we read wait for the next read.

        Else a bus that was read first could still hold frames older than those of the last.
        """
        batch = batch.take(np.argsort(batch.time_ns, kind="stable"))
        old = int(np.searchsorted(batch.time_ns, began_ns, side="right"))
        if old < len(batch):
            self._younger = [batch.take(slice(old, None))]
        return batch.take(slice(0, old))

    def _receive(self) -> bool:
        """Fill slots from one interface after the other; return whether one may have more."""
        more = False
        for bus, link in enumerate(self._links):
            most = min(_SLOTS, self._datagrams.slots - self._filled)
            count = link.receive(self._datagrams, self._filled, most)
            more |= count == most
            if count:
                self._filled += count
                self._held.append((bus, count))
                if self._datagrams.control_bytes(self._filled - 1) > STAMP_BYTES:
                    link.note_losses(lost_so_far(self._datagrams.received(self._filled), -1))
        self._ids = None
        return more

    def _frames(self) -> FrameBatch:
        """Read the slots that were filled, with the kernel's stamps, and free them."""
        total = self._filled
        bus = np.repeat(*map(np.array, zip(*self._held, strict=True))).astype(np.uint8)
        arrived = frames_of(self._datagrams.received(total), bus)
        self._datagrams.free(total)
        self._held, self._filled, self._ids = [], 0, None
        self._malformed += arrived.malformed
        self._bus_offs += arrived.bus_offs
        self._lost_buses.count(arrived.bus_offs)
        return arrived.frames


def _joined(parts: list[FrameBatch]) -> FrameBatch:
    return parts[0] if len(parts) == 1 else FrameBatch.concatenate(parts)
