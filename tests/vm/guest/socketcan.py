"""Runs as root in a guest: the SocketCAN source on a real vcan0. Prints one JSON object.

What it finds is judged by test_socketcan.py; here nothing is.
"""

import json
import logging
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import can

from hw import CanConfig, Source, open_source, open_sources
from user_lib.contract.frames import FrameBatch

S = 1_000_000_000
ERR, EFF, RTR = 0x2000_0000, 0x8000_0000, 0x4000_0000
BURST = 20_000


def raw(interface: str = "vcan0") -> socket.socket:
    sender = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    sender.setsockopt(101, 5, 1)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sender.bind((interface,))
    return sender


def classic(can_id: int, data: bytes = b"") -> bytes:
    return struct.pack("=IB3x8s", can_id, len(data), data)


def flexible(can_id: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IBB2x64s", can_id, len(data), flags, data)


def opened(**options: Any) -> Source:
    return open_source(CanConfig(interface="socketcan", channel="vcan0", name="body", **options))


def read(source: Source, frames: int, within_s: float = 30) -> FrameBatch:
    """Read until that many have come, or time is up."""
    batches: list[FrameBatch] = []
    until = time.monotonic() + within_s
    while sum(map(len, batches)) < frames and time.monotonic() < until:
        batches.append(source.read(0.2))
    return FrameBatch.concatenate(batches)


def ip(*words: str) -> None:
    subprocess.run(["ip", "link", *words], check=True)


def kinds() -> dict[str, Any]:
    source, sender = opened(), raw()
    for frame in (
        classic(0x118, b"\1\2"),
        classic(0x118 | EFF),
        struct.pack("=IB3x8s", 5 | RTR, 4, b""),
        flexible(6, bytes(range(64)), 1),
        flexible(0x18FEF100 | EFF, bytes(12), 2),
        classic(ERR | 0x40, bytes(8)),
    ):
        sender.send(frame)
    before_ns = time.time_ns()
    frames = read(source, 6)
    found = {
        "can_id": frames.can_id.tolist(),
        "flags": frames.flags.tolist(),
        "length": frames.length.tolist(),
        "long": frames.data[3].tolist(),
        "late_s": (before_ns - int(frames.time_ns[0])) / S,
        "errors": source.stats().error_frames,
        "bus_offs": source.stats().bus_offs,
    }
    source.close()
    sender.close()
    return found


def wall_clock() -> dict[str, Any]:
    """Set the wall clock between frames that wait in the socket, forth and back."""
    source, sender = opened(), raw()
    sent: list[int] = []
    for step_s in (0, 3600, -7200, 3600):
        for i in range(20):
            if i == 10 and step_s:
                time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + step_s * S)
            sent.append(time.monotonic_ns())
            sender.send(classic(i))
        frames = read(source, 20)
        sent[-20:] = [int(t) - s for t, s in zip(frames.time_ns, sent[-20:], strict=True)]
    source.close()
    sender.close()
    return {"spread_s": (max(sent) - min(sent)) / S}


def full_rate() -> dict[str, Any]:
    """Take CAN FD frames, at the rate of eight busy buses if the guest can, every 50 ms."""
    source = opened(fd=True)
    child = os.fork()
    if not child:
        sender = raw()
        begin = time.monotonic()
        for i in range(BURST):
            sender.send(flexible(i % 0x700, struct.pack("=I", i) + bytes(60), 1))
            if i % 33 == 32:
                while time.monotonic() < begin + i / 33_000:
                    pass
        os._exit(0)
    batches = []
    began, used = time.monotonic(), cpu_s()
    while not os.waitpid(child, os.WNOHANG)[0]:
        batches.append(source.read(0))
        time.sleep(0.05)
    took = time.monotonic() - began
    batches.append(source.read(0))
    used = cpu_s() - used
    frames = FrameBatch.concatenate(batches)
    numbers = frames.data[:, :4].copy().view("=u4")[:, 0]
    found = {
        "frames": len(frames),
        "in_order": bool((numbers == range(len(frames))).all()),
        "dropped": source.stats().dropped,
        "frames_per_s": BURST / took,
        "ours_us_a_frame": used / BURST * 1e6,
    }
    source.close()
    return found


def two_buses() -> dict[str, Any]:
    """Read two interfaces as one source, one of which is taken away meanwhile."""
    ip("add", "vcan1", "type", "vcan")
    ip("set", "vcan1", "mtu", "72", "up")
    configs = [CanConfig(interface="socketcan", channel=f"vcan{i}") for i in range(2)]
    (source,) = open_sources(configs)
    senders = [raw(f"vcan{i}") for i in range(2)]
    for i in range(100):
        senders[i % 2].send(classic(i))
    together = read(source, 100)
    ip("del", "vcan1")
    senders[0].send(classic(5))
    alone = read(source, 1)
    found = {
        "channels": source.channels,
        "can_id": together.can_id.tolist(),
        "bus": together.bus.tolist(),
        "alone": [alone.can_id.tolist(), alone.bus.tolist()],
        "connected": source.stats().connected,
    }
    source.close()
    for sender in senders:
        sender.close()
    return found


def python_can() -> dict[str, Any]:
    """Return what python-can's reader needs for frames that wait already."""
    sender = raw()
    bus = can.Bus(interface="socketcan", channel="vcan0", fd=True, ignore_config=True)
    bus.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    for i in range(2_000):
        sender.send(flexible(i % 0x700, bytes(64)))
    used = cpu_s()
    for _ in range(2_000):
        bus.recv(1)
    used = cpu_s() - used
    bus.shutdown()
    sender.close()
    return {"python_can_us_a_frame": used / 2_000 * 1e6}


def overflow() -> dict[str, Any]:
    """Send more than fits while nobody reads; the next frame tells how many were lost."""
    source, sender = opened(capacity_frames=64), raw()
    for i in range(2_000):
        sender.send(classic(i % 0x700))
    kept = len(source.read(0))
    sender.send(classic(1))
    kept += len(source.read(1))
    found = {"kept": kept, "dropped": source.stats().dropped}
    source.close()
    sender.close()
    return found


def small_buffer() -> dict[str, Any]:
    """Open it without rights: the kernel caps the buffer, and the source says what to do."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        logging.getLogger("hw.socketcan").addHandler(Keep())
        opened().close()
        os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return {"said": json.loads(os.read(reading, 65_536))}


def exclusion() -> dict[str, Any]:
    source, sender = opened(exclude_ids=(0x118, 0x18FEF100)), raw()
    ids = [0x117, 0x118, 0x118 | EFF, 0x18FEF100 | EFF, 0x118 | RTR, ERR | 0x118, 0x119]
    for can_id in ids:
        sender.send(classic(can_id))
    frames = read(source, 4)
    frames = FrameBatch.concatenate([frames, source.read(0.2)])
    found = {"can_id": frames.can_id.tolist(), "dropped": source.stats().dropped}
    source.close()
    sender.close()
    return found


def comes_and_goes() -> dict[str, Any]:
    """Take the interface down and up, then remove it and make it again."""
    source, found = opened(), {}

    def send(can_id: int) -> None:
        with raw() as sender:
            sender.send(classic(can_id))

    ip("set", "vcan0", "down")
    source.read(0.3)
    found["down"] = source.stats().connected
    ip("set", "vcan0", "up")
    send(1)  # before any reading: the socket that was kept must have it
    found["up"] = read(source, 1).can_id.tolist()
    found["up_reconnects"] = source.stats().reconnects
    ip("del", "vcan0")
    source.read(0.3)
    found["removed"] = source.stats().connected
    ip("add", "vcan0", "type", "vcan")
    source.read(3)
    found["made_but_down"] = source.stats().connected
    ip("set", "vcan0", "mtu", "72", "up")
    until = time.monotonic() + 30
    while not source.stats().connected and time.monotonic() < until:
        source.read(0.1)
    send(2)
    found["made_again"] = read(source, 1).can_id.tolist()
    found["reconnects"] = source.stats().reconnects
    source.close()
    return found


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    found = {
        part.__name__: part()
        for part in (
            kinds,
            two_buses,
            full_rate,
            python_can,
            overflow,
            small_buffer,
            exclusion,
            comes_and_goes,
            wall_clock,
        )
    }
    sys.stdout.write("FOUND " + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
