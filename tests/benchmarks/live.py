"""Live CPU: frames that arrive on sockets, our hub against python-can + cantools + deques.

Run ``python -m tests.benchmarks live``. So that it runs on machines without AF_CAN, the frames
come through the sockets of `tests.benchmarks.loopback`, for both programs.

Ours is `SignalHub` over `SocketCanSource`, 50 ms tick, ten subscriptions whose windows are built.
Theirs is python-can's `Notifier` over its own reader (`capture_message`), cantools' decoding of
each frame and a deque a signal. Both in a process of their own, fed by this one at the rate of real
buses, frame by frame. A frame that was not received is not counted as done.
"""

import json
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import can
import cantools
from can.interfaces.socketcan.socketcan import capture_message

from agent.signals.hub import SignalHub
from agent.signals.profile import Profile
from dbc import DatabaseRef
from hw.socketcan.can_datagrams import SO_TIMESTAMPNS
from hw.socketcan.source import SocketCanSource
from tests.benchmarks.decode import generated_dbc
from tests.benchmarks.loopback import Loopback, bound, feed, free_interface, port_of, traffic
from tests.benchmarks.ratios import Row, medians
from user_lib.contract.clock import SystemClock
from user_lib.contract.validation import parse

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
SECONDS = 6.0
TICK_MS = 50
SUBSCRIBED = 10
CAPACITY_FRAMES = 16_384


@dataclass(frozen=True)
class Case:
    """Some buses at a steady rate."""

    name: str
    buses: int
    rate_hz: int
    payload_bytes: int
    least: float
    aim: float


CASES = (
    Case("one bus, 4,000 frames/s", 1, 4_000, 8, 8, 15),
    Case("eight CAN FD buses, 33,000 frames/s", 8, 33_000, 64, 9, 15),
)


# --- the two programs, each in a process of its own ----------------------------------------------


class Ours:
    def __init__(self, database: Path, buses: int) -> None:
        links = [Loopback(free_interface(), CAPACITY_FRAMES) for _ in range(buses)]
        names = [f"can{bus}" for bus in range(buses)]
        source = SocketCanSource(links, names, SystemClock())
        databases = tuple(DatabaseRef(path=database, channel=name) for name in names)
        profile = Profile("bench", "bench", databases)
        self.hub = SignalHub(profile, [source], history_mb=64, tick_ms=TICK_MS)
        self.ports = [port_of(link.interface) for link in links]
        self.windows = 0
        prefix = "" if buses == 1 else "can0:"
        for number in range(SUBSCRIBED):
            self._subscribe(f"{prefix}Message{number}.Signal0")
        self.hub.start()

    def _subscribe(self, signal: str) -> None:
        spec = parse({"signals": [signal], "onboard": "mean", "window": {"samples": 40}})

        def deliver(_: object) -> None:
            self.windows += 1
            subscription.request()

        subscription = self.hub.subscribe(spec, deliver)
        subscription.request()

    def counts(self) -> dict[str, float]:
        stats = self.hub.stats()
        return {
            "frames": stats["frames.total"],
            "dropped": stats["frames.dropped"],
            "windows": self.windows,
            "lag_ms": stats["pump.lag_ms"],
        }


class LoopbackBus(can.BusABC):
    """python-can's SocketCAN bus on a socket of another family: its select, its reader."""

    def __init__(self) -> None:
        self.socket = bound()
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.channel_info = "loopback"
        super().__init__("loopback")

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        ready, _, _ = select.select([self.socket], [], [], timeout)
        if not ready:
            return None, True
        return capture_message(self.socket), True  # SocketCAN has filtered already

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        raise NotImplementedError


class Naive:
    def __init__(self, database: Path, buses: int) -> None:
        self._known = cantools.database.load_file(database)
        self._frames = [0] * buses
        opened = [LoopbackBus() for _ in range(buses)]
        self.ports = [bus.socket.getsockname()[1] for bus in opened]
        self._notifiers = [
            can.Notifier(bus, [self._taker(number)]) for number, bus in enumerate(opened)
        ]

    def _taker(self, bus: int) -> Callable[[can.Message], None]:
        decode, counts = self._known.decode_message, self._frames
        rings: dict[tuple[int, str], deque[tuple[float, Any]]] = {}

        def take(message: can.Message) -> None:
            found = decode(message.arbitration_id, message.data, decode_choices=False)
            for name, value in found.items():
                key = (message.arbitration_id, name)
                if key not in rings:
                    rings[key] = deque(maxlen=10_000)
                rings[key].append((message.timestamp, value))
            counts[bus] += 1

        return take

    def counts(self) -> dict[str, float]:
        return {"frames": sum(self._frames)}


def serve(role: str, database: str, buses: str) -> None:
    """Say the ports; then the counts and the CPU time used so far, whenever a line is read."""
    program = (Ours if role == "ours" else Naive)(Path(database), int(buses))
    sys.stdout.write(json.dumps(program.ports) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        answer = {**program.counts(), "cpu_s": time.process_time()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


# --- feeding and measuring -----------------------------------------------------------------------


def measure(role: str, case: Case, database: Path) -> dict[str, float]:
    """CPU-seconds a million frames received, and how many of those sent were not."""
    command = [sys.executable, "-m", "tests.benchmarks.live", role, str(database), str(case.buses)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def ask() -> dict[str, float]:
            child.stdin.write("\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        ports = json.loads(child.stdout.readline())
        frames = traffic(database, case.payload_bytes)
        feed(ports, frames, case.rate_hz, lambda passed: passed < 1.0)  # warm up
        threading.Event().wait(0.3)
        before = ask()
        sent = feed(ports, frames, case.rate_hz, lambda passed: passed < SECONDS)
        threading.Event().wait(0.3)
        after = ask()
        child.kill()  # python-can's threads would end when they like
    got = after["frames"] - before["frames"]
    return {
        "cpu_s": (after["cpu_s"] - before["cpu_s"]) / got * 1e6,
        "core": (after["cpu_s"] - before["cpu_s"]) / SECONDS,
        "lost": sent - got,
        "sent": sent,
    }


def run() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            database = Path(folder) / f"bus{case.payload_bytes}.dbc"
            database.write_text(generated_dbc(payload_bytes=case.payload_bytes))
            pairs, worst = [], {"ours": 0.0, "naive": 0.0}
            for _ in range(ROUNDS):
                found = {role: measure(role, case, database) for role in worst}
                pairs.append((found["ours"]["cpu_s"], found["naive"]["cpu_s"]))
                for role, seen in found.items():
                    worst[role] = max(worst[role], seen["lost"] / seen["sent"])
            ours, theirs, ratio = medians(pairs)
            yield Row(
                f"live: {case.name}",
                "python-can + cantools + deques",
                f"{ours:.1f} CPU-s/million, {worst['ours']:.1%} lost",
                f"{theirs:.1f} CPU-s/million, {worst['naive']:.1%} lost",
                ratio,
                case.least,
                case.aim,
            )


if __name__ == "__main__":
    serve(*sys.argv[1:])
