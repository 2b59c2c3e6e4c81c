"""Plays frames onto CAN interfaces in real time. The one part of the platform that writes to a bus.

It is a tool of developers: the agent never imports it. An interface that is a real controller's is
refused unless the caller says that this is meant.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import can
import msgspec
import numpy as np
from numpy.typing import NDArray

from user_lib.contract.clock import MS, SECOND, Clock
from user_lib.contract.errors import SourceError, nearest
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, FrameBatch

__all__ = ["Played", "Player", "Target", "open_targets"]

NETWORK_INTERFACES = Path("/sys/class/net")
TOGETHER_NS = MS // 2
"""Frames that are due within this time are sent at once."""
LONGEST_SLEEP_S = 0.1
TRIES = 50
FULL_WAIT_S = 0.002
"""How long, so many times, a full transmit queue is waited for."""


class Target(msgspec.Struct, frozen=True):
    """An interface to play onto, as python-can names it."""

    interface: str
    channel: str


class Played(msgspec.Struct, frozen=True):
    """What was sent, and what was not."""

    sent: int
    skipped: int
    """Of channels without a target, and error frames, which nobody can send."""
    refused: int
    """The interface took them not, for its queue stayed full or it was down."""
    latest_ms: float
    """By how much the latest frame was behind its time."""
    seconds: float


def open_targets(
    targets: Mapping[int, Target], opening: ExitStack, *, real_bus: bool
) -> dict[int, can.BusABC]:
    """Open the interface of each bus; two buses may share one.

    Raises: SourceError, when an interface cannot be opened, or is a real controller's and
            ``real_bus`` does not allow it.
    """
    opened: dict[Target, can.BusABC] = {}
    for target in dict.fromkeys(targets.values()):
        if not real_bus and _is_real(target):
            raise SourceError(
                f"{target.channel} is a real CAN controller: what is sent there moves a car's "
                "parts; use a vcan interface, or --real-bus if nothing that matters is connected"
            )
        bus = _open(target)
        opening.callback(bus.shutdown)
        opened[target] = bus
    return {bus: opened[target] for bus, target in targets.items()}


def _is_real(target: Target) -> bool:
    """Whether an interface leads out of this machine; only virtual network devices do not."""
    if target.interface in ("virtual", "udp_multicast"):
        return False
    if target.interface != "socketcan":
        return True
    found = NETWORK_INTERFACES / target.channel
    return found.exists() and (found / "device").exists()


def _open(target: Target) -> can.BusABC:
    options: dict[str, Any] = {"fd": True} if target.interface == "socketcan" else {}
    try:
        return can.Bus(
            interface=target.interface, channel=target.channel, ignore_config=True, **options
        )
    except (can.CanError, OSError, NotImplementedError, ImportError, ValueError) as error:
        raise SourceError(
            f"cannot open {target.interface} {target.channel}: {error}{_hint(target)}"
        ) from None


def _hint(target: Target) -> str:
    if target.interface not in can.VALID_INTERFACES:
        near = nearest(target.interface, can.VALID_INTERFACES)
        return f"; did you mean {' or '.join(near)}?" if near else ""
    if target.interface == "udp_multicast" and find_spec("msgpack") is None:
        return "; run: pip install msgpack"
    if target.interface == "socketcan" and not (NETWORK_INTERFACES / target.channel).exists():
        return (
            f"; make it: ip link add {target.channel} type vcan && "
            f"ip link set {target.channel} mtu 72 up"
        )
    return ""


class Player:
    """Sends batches when they are due. One thread; `stop` may be called from a signal handler."""

    def __init__(self, buses: Mapping[int, can.BusABC], clock: Clock, *, speed: float) -> None:
        self._buses, self._clock, self._speed = buses, clock, speed
        self._sent = self._skipped = self._refused = 0
        self._latest_ns = self._tell_ns = 0
        self._began_ns = clock.monotonic_ns()
        self._stopping = False

    def stop(self) -> None:
        """Let `play` return after the frames that it is sending."""
        self._stopping = True

    @property
    def played(self) -> Played:
        """The counts so far."""
        return Played(
            sent=self._sent,
            skipped=self._skipped,
            refused=self._refused,
            latest_ms=self._latest_ns / MS,
            seconds=(self._clock.monotonic_ns() - self._began_ns) / SECOND,
        )

    def play(
        self,
        batches: Iterable[FrameBatch],
        *,
        duration_s: float | None = None,
        tell: Callable[[Played], None] = lambda played: None,
    ) -> Played:
        """Send everything in its time, or stop; frames whose time goes back follow at once."""
        first_ns: int | None = None
        self._began_ns = self._clock.monotonic_ns()
        for batch in batches:
            if first_ns is None:
                first_ns = int(batch.time_ns[0])
            since_ns = np.maximum.accumulate(batch.time_ns - first_ns)
            due_ns = (since_ns / self._speed).astype(np.int64)
            if duration_s is not None:
                due_ns = due_ns[due_ns < duration_s * SECOND]
            self._play(batch, due_ns, tell)
            if self._stopping or len(due_ns) < len(batch):
                break
        return self.played

    def _play(
        self, batch: FrameBatch, due_ns: NDArray[np.int64], tell: Callable[[Played], None]
    ) -> None:
        done = 0
        while done < len(due_ns) and not self._stopping:
            now_ns = self._clock.monotonic_ns() - self._began_ns
            until = int(np.searchsorted(due_ns, now_ns + TOGETHER_NS, side="right"))
            if until == done:
                time.sleep(min((int(due_ns[done]) - now_ns) / SECOND, LONGEST_SLEEP_S))
                continue
            self._latest_ns = max(self._latest_ns, now_ns - int(due_ns[done]))
            for row in range(done, until):
                self._send(batch, row)
            done = until
            if now_ns >= self._tell_ns:
                self._tell_ns = now_ns + SECOND
                tell(self.played)

    def _send(self, batch: FrameBatch, row: int) -> None:
        flags = int(batch.flags[row])
        bus = self._buses.get(int(batch.bus[row]))
        if bus is None or flags & ERROR:
            self._skipped += 1
            return
        length = int(batch.length[row])
        message = can.Message(
            arbitration_id=int(batch.can_id[row]),
            is_extended_id=bool(flags & EXTENDED),
            is_remote_frame=bool(flags & REMOTE),
            is_fd=bool(flags & FD),
            bitrate_switch=bool(flags & BRS),
            error_state_indicator=bool(flags & ESI),
            dlc=length,
            data=None if flags & REMOTE else batch.data[row, :length].tobytes(),
        )
        if _sent(bus, message):
            self._sent += 1
        else:
            self._refused += 1


def _sent(bus: can.BusABC, message: can.Message) -> bool:
    """Send one frame; a full queue is waited for, a little."""
    for _ in range(TRIES):
        try:
            bus.send(message, timeout=FULL_WAIT_S)
        except can.CanOperationError:
            time.sleep(FULL_WAIT_S)
        else:
            return True
    return False
