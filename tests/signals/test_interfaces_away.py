"""An interface that is removed and made again while windows are gathered, on real sockets."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.signals import Profile, SignalHub, WindowReady
from dbc import DatabaseRef
from hw.socketcan.source import SocketCanSource
from tests.hw.socketcan.datagram_link import Link
from user_lib.contract.clock import SystemClock
from user_lib.contract.validation import parse
from user_lib.contract.window import Window

PATIENCE_S = 20
AWAY_S = 0.3
MODE, BRAKE = 768, 512
SAMPLES = 4


class Drive:
    """A hub on two interfaces, with a task that counts samples of one signal of each."""

    def __init__(self, dbc: Any) -> None:
        self.links = [Link(), Link()]
        source = SocketCanSource(self.links, ["can0", "can1"], SystemClock())
        profile = Profile(name="test", model="test", databases=(DatabaseRef(path=dbc),))
        self.hub = SignalHub(profile, [source], history_mb=1.0, tick_ms=5.0)
        self.given: dict[str, queue.SimpleQueue[Any]] = {}
        self.tasks = {}
        for channel in ("can0", "can1"):
            self.given[channel] = queue.SimpleQueue()
            spec = parse({
                "signals": [f"{channel}:Body.Mode"], "onboard": "mean",
                "window": {"samples": SAMPLES},
            })  # fmt: skip
            self.tasks[channel] = self.hub.subscribe(spec, self.given[channel].put)
        self.hub.start()

    def frames(self, n: int) -> None:
        """Send frames on both buses, and see that they are taken in."""
        reached = self.stat("frames.total") + 2 * n
        for link in self.links:
            link.send(*[MODE] * n)
        eventually(lambda: self.stat("frames.total") >= reached)

    def lose(self) -> float:
        """Remove the first interface; return a time from which on it is away for certain."""
        self.links[0].remove()
        eventually(lambda: self.stat("source.disconnected") == 1)
        taken = self.stat("frames.total")
        self.links[1].send(BRAKE)
        eventually(lambda: self.stat("frames.total") > taken)
        return time.monotonic()

    def stat(self, name: str) -> float:
        return self.hub.stats()[name]

    def windows(self) -> dict[str, Window]:
        """Return the next window of either task."""
        for task in self.tasks.values():
            task.request()
        found = {name: given.get(timeout=PATIENCE_S) for name, given in self.given.items()}
        assert all(isinstance(delivery, WindowReady) for delivery in found.values())
        return {name: delivery.window for name, delivery in found.items()}


def eventually(holds: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if holds():
            return
        waited.wait(0.01)
    raise AssertionError("it did not become true")


@pytest.fixture
def drive(car: Any) -> Iterator[Drive]:
    made = Drive(car.dbc)
    yield made
    made.hub.close()


def test_a_window_says_how_long_the_interface_of_its_signals_was_away(drive: Drive) -> None:
    """The bus that stayed has nothing to say, though both are read by one source."""
    drive.frames(2)
    began_s = time.monotonic()
    away_s = drive.lose()
    threading.Event().wait(AWAY_S)
    least_ms = (time.monotonic() - away_s) * 1000
    drive.links[0].there = True
    eventually(lambda: drive.stat("source.disconnected") == 0)
    drive.frames(2 * SAMPLES)
    most_ms = (time.monotonic() - began_s) * 1000

    over, after = drive.windows(), drive.windows()

    assert least_ms <= over["can0"].away_ms <= most_ms + 1
    assert after["can0"].away_ms == 0
    assert over["can1"].away_ms == after["can1"].away_ms == 0


def test_a_bus_that_speaks_tells_of_the_other_that_is_still_away(drive: Drive) -> None:
    """Its own windows do not; those of whoever takes both do, though no end is in sight."""
    both: queue.SimpleQueue[Any] = queue.SimpleQueue()
    spec = parse({
        "signals": ["can1:Body.Mode", "can0:Body.Mode"], "onboard": "mean",
        "window": {"samples": SAMPLES},
    })  # fmt: skip
    drive.frames(1)
    task = drive.hub.subscribe(spec, both.put)
    away_s = drive.lose()
    threading.Event().wait(AWAY_S)
    least_ms = (time.monotonic() - away_s) * 1000
    drive.tasks["can1"].request()
    task.request()

    def done() -> bool:
        drive.links[1].send(MODE)
        return not both.empty()

    eventually(done)

    assert both.get(timeout=PATIENCE_S).window.away_ms >= least_ms
    assert drive.given["can1"].get(timeout=PATIENCE_S).window.away_ms == 0
