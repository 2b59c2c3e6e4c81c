"""CAN buses of a machine without AF_CAN: UDP sockets of the loopback interface.

Each datagram is the bytes of one ``struct can_frame`` or ``canfd_frame`` and carries the kernel's
stamp: the same system calls, parsing, buffers and counts of losses as with SocketCAN, but for the
kernel's own cost of a datagram.

``python -m tests.benchmarks.loopback --config agent.yaml`` is the agent with such buses in place of
its SocketCAN interfaces; an interface ``loop47001`` listens at port 47001.
"""

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import agent.__main__
import hw.config
from dbc import DatabaseRef, load
from hw.socketcan.can_socket import prepare

__all__ = ["Loopback", "bound", "feed", "free_interface", "port_of", "traffic"]

PREFIX = "loop"
PAUSE_S = 0.0002


@dataclass(frozen=True, slots=True)
class Loopback:
    """Opens the socket of one bus, as `hw.socketcan.can_socket` does where there is AF_CAN."""

    interface: str
    capacity_frames: int
    excluded: frozenset[int] = frozenset()

    def open(self) -> socket.socket:
        opened = bound(port_of(self.interface))
        prepare(opened, self.capacity_frames, self.excluded)
        opened.setblocking(False)
        return opened

    def is_up(self, opened: socket.socket) -> bool:
        return True


def bound(port: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", port))
    return opened


def free_interface() -> str:
    """Return the name of an interface whose port nobody holds at this moment."""
    with bound() as probe:
        return f"{PREFIX}{probe.getsockname()[1]}"


def port_of(interface: str) -> int:
    return int(interface.removeprefix(PREFIX))


def traffic(database: Path, payload_bytes: int) -> list[bytes]:
    """Return frames of one bus for some time: every id of a database in turn."""
    catalog = load([DatabaseRef(database)])
    ids = [message.can_id for message in catalog.messages]
    rng = np.random.default_rng(5)
    payloads = rng.integers(0, 256, (997, payload_bytes), np.uint8)
    layout = struct.Struct(f"=IB3x{payload_bytes}s")
    return [
        layout.pack(ids[i % len(ids)], payload_bytes, payload.tobytes())
        for i, payload in enumerate(payloads)
    ]


def feed(
    ports: Sequence[int], frames: Sequence[bytes], rate_hz: float, goes_on: Callable[[float], bool]
) -> int:
    """Send frame by frame, bus by bus, at the rate of all buses; return how many were sent.

    ``goes_on`` is asked after every burst, with the seconds that have passed. Like a bus, this does
    not notice whether anyone listens.
    """
    buses = [("127.0.0.1", port) for port in ports]
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent, begin, rest = 0, time.monotonic(), threading.Event()
    while goes_on(passed := time.monotonic() - begin):
        for number in range(sent, int(passed * rate_hz)):
            sender.sendto(frames[number // len(buses) % len(frames)], buses[number % len(buses)])
        sent = int(passed * rate_hz)
        rest.wait(PAUSE_S)
    sender.close()
    return sent


def main() -> int:
    hw.config.CanSocket = Loopback  # type: ignore[misc, assignment]  # this machine's AF_CAN
    return agent.__main__.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
