"""A live CAN interface, any that python-can knows, read by a thread of its own.

The thread moves frames from the driver into a preallocated table; `read` takes the table away and
gives an empty one back. When the interface goes away the thread closes it, waits, and opens it
again, for as long as it takes. Nothing is ever sent.

Times are ns since the epoch that advance with the monotonic clock: the offset between the clocks
is taken once, at opening, and a driver's stamps are moved by however far the wall clock has been
set since. A driver whose stamps are of another clock gets the time of arrival instead.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any

import can

from hw.records import FrameRecords
from hw.socketcan.can_datagrams import EXTENDED_BIT
from hw.source import GATHER_S, SourceEnded, SourceStats, Tally
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.errors import SourceError, nearest
from user_lib.contract.frames import (
    BRS,
    ERROR,
    ESI,
    EXTENDED,
    FD,
    MAX_PAYLOAD,
    REMOTE,
    TX,
    FrameBatch,
)

__all__ = ["InterfaceSource"]

log = logging.getLogger("hw.interface")

_POLL_S = 0.1
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 5.0
_CLOSE_S = 2.0
"""A driver that gives its thread not back for so long is left to the end of the process."""
_PLAUSIBLE_NS = SECOND
"""A stamp further than this from the time of arrival is not of the wall clock."""


class InterfaceSource:
    """Frames of one live interface, under one channel name."""

    def __init__(
        self,
        bus_options: Mapping[str, Any],
        name: str,
        clock: Clock,
        *,
        capacity_frames: int,
        excluded: frozenset[int] = frozenset(),
    ) -> None:
        """``bus_options`` are passed to `can.Bus`; ``excluded`` as `excluded_keys` gives them.

        Raises: SourceError, when python-can does not know the interface or refuses an option. An
        interface that is only absent for now is waited for.
        """
        self._options = dict(bus_options)
        self._what = f"{self._options['interface']} {self._options['channel']}"
        self.channels = (name,)
        self.live = True
        self._excluded = excluded
        self._clock = clock
        self._epoch_ns = clock.unix_ns() - clock.monotonic_ns()
        self._lock = threading.Condition()
        self._filling = FrameRecords(capacity_frames)
        self._spare = FrameRecords(capacity_frames)
        self._tally = Tally()
        self._dropped = self._malformed = self._reconnects = 0
        self._connected = False
        self._stop = threading.Event()
        self._turned_ns = clock.monotonic_ns()
        bus = self._open_first()
        self._thread = threading.Thread(
            target=self._run, args=(bus,), name=f"can-{name}", daemon=True
        )
        self._thread.start()

    def read(self, timeout_s: float) -> FrameBatch:
        """Return the frames that have arrived; see `Source.read`.

        Raises: SourceEnded, once the source was closed.
        """
        if timeout_s > 0:
            self._gather(timeout_s)
        with self._lock:
            full, self._filling, self._spare = self._filling, self._spare, self._filling
        batch = full.take()
        self._tally.count(batch)
        if self._stop.is_set() and not len(batch):
            raise SourceEnded(f"the source {self._what} was closed")
        return batch

    def _gather(self, timeout_s: float) -> None:
        """Wait for the first frame, and then a moment for more."""
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * SECOND)
        with self._lock:
            came = self._lock.wait_for(
                lambda: len(self._filling) > 0 or self._stop.is_set(), timeout_s
            )
        left_s = (deadline_ns - self._clock.monotonic_ns()) / SECOND
        if came and left_s > 0:
            self._stop.wait(min(GATHER_S, left_s))

    def stats(self) -> SourceStats:
        """Return the counts since the source was opened."""
        return self._tally.stats(
            dropped=self._dropped,
            malformed=self._malformed,
            reconnects=self._reconnects,
            away=frozenset(() if self._connected else self.channels),
            ended=self._stop.is_set(),
        )

    @property
    def turned_ns(self) -> int:
        """When the thread last came round; see `ThreadedSource.turned_ns`."""
        return self._turned_ns

    def close(self) -> None:
        """Stop the thread and shut the interface, unless its driver hangs."""
        self._stop.set()
        with self._lock:
            self._lock.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)
            if self._thread.is_alive():
                log.error("CAN interface %s: its driver hangs; it is not closed", self._what)
        self._connected = False

    def _open_first(self) -> can.BusABC | None:
        try:
            bus = self._open()
        except (NotImplementedError, ImportError, ValueError, TypeError) as error:
            raise SourceError(
                f"cannot open CAN interface {self._what}: {error}{self._hint()}"
            ) from error
        except (can.CanError, OSError) as error:
            log.warning("CAN interface %s is not there (%s); waiting for it", self._what, error)
            return None
        self._connected = True
        return bus

    def _hint(self) -> str:
        asked = self._options["interface"]
        near = () if asked in can.VALID_INTERFACES else nearest(asked, can.VALID_INTERFACES)
        return f"; did you mean {' or '.join(near)}?" if near else ""

    def _open(self) -> can.BusABC:
        return can.Bus(ignore_config=True, **self._options)

    def _run(self, bus: can.BusABC | None) -> None:
        """Keep the interface open and drain it, until the source is closed."""
        wait_s = _BACKOFF_FIRST_S
        while not self._stop.is_set():
            self._turned_ns = self._clock.monotonic_ns()
            try:
                if bus is None:
                    bus = self._open()
                    self._back()
                self._drain(bus)
                wait_s = _BACKOFF_FIRST_S
            except Exception as error:  # noqa: BLE001 -- drivers fail in any way; outlive them
                self._lost(error)
                _shut(bus)
                bus = None
                self._stop.wait(wait_s)
                wait_s = min(2 * wait_s, _BACKOFF_MOST_S)
        _shut(bus)

    def _back(self) -> None:
        self._reconnects += 1
        self._connected = True
        log.info("CAN interface %s is back", self._what)

    def _lost(self, error: Exception) -> None:
        if self._connected:
            log.warning(
                "CAN interface %s went away (%s: %s); trying to reopen it",
                self._what,
                type(error).__name__,
                error,
            )
        self._connected = False

    def _drain(self, bus: can.BusABC) -> None:
        """Move frames until nothing has come for a moment, or the source is closed."""
        while not self._stop.is_set():
            self._turned_ns = self._clock.monotonic_ns()
            message = bus.recv(_POLL_S)
            if message is None:
                return
            self._store(message)

    def _store(self, message: can.Message) -> None:
        if self._excluded and _key(message) in self._excluded:
            return
        payload = bytes(message.data)
        time_ns = self._time_ns(message.timestamp)
        with self._lock:
            if len(payload) > MAX_PAYLOAD:
                self._malformed += 1
            elif self._filling.full:
                self._dropped += 1
            else:
                self._filling.append(
                    time_ns,
                    0,
                    message.arbitration_id,
                    _flags(message),
                    min(message.dlc, MAX_PAYLOAD),
                    payload,
                )
                if len(self._filling) == 1:
                    self._lock.notify()

    def _time_ns(self, stamp_s: float) -> int:
        """Return when a frame came; a float of seconds resolves 0.24 us."""
        now_ns = self._clock.monotonic_ns() + self._epoch_ns
        moved_ns = now_ns - self._clock.unix_ns()
        time_ns = int(stamp_s * SECOND) + moved_ns
        return time_ns if abs(time_ns - now_ns) <= _PLAUSIBLE_NS else now_ns


def _key(message: can.Message) -> int:
    """Return the identifier as exclusions name it; that of an error frame is none."""
    if message.is_error_frame:
        return -1
    return message.arbitration_id | (EXTENDED_BIT if message.is_extended_id else 0)


def _flags(message: can.Message) -> int:
    return (
        (EXTENDED if message.is_extended_id else 0)
        | (REMOTE if message.is_remote_frame else 0)
        | (ERROR if message.is_error_frame else 0)
        | (FD if message.is_fd else 0)
        | (BRS if message.bitrate_switch else 0)
        | (ESI if message.error_state_indicator else 0)
        | (0 if message.is_rx else TX)
    )


def _shut(bus: can.BusABC | None) -> None:
    if bus is None:
        return
    try:
        bus.shutdown()
    except (can.CanError, OSError) as error:
        log.debug("shutting a CAN interface failed: %s", error)
