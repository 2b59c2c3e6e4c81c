import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.signals.intake import Turn
from agent.supervision import Supervision
from user_lib.contract.clock import SECOND
from user_lib.wire.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


def told(manager: socket.socket) -> list[str]:
    heard = []
    while True:
        try:
            heard.append(manager.recv(4096).decode().split("\n")[0])
        except BlockingIOError:
            return heard


class Pump:
    """Tells when it last turned."""

    pumped_ns = 0


def supervised(manager: socket.socket, pump: Pump) -> Supervision:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000"})
    return Supervision(notifier, lambda: Turn("the pump", pump.pumped_ns), "car-1")


def test_is_ready_with_the_first_turn_and_only_once(manager: socket.socket) -> None:
    supervision = supervised(manager, Pump())

    supervision.turned(0)
    supervision.turned(1)

    assert told(manager) == ["READY=1", "WATCHDOG=1"]


def test_a_pump_that_stands_still_takes_the_food_away_and_is_told_once(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    pump = Pump()
    supervision = supervised(manager, pump)
    supervision.turned(0)
    told(manager)

    with caplog.at_level(logging.CRITICAL):
        for second in range(5, 12):
            supervision.turned(second * SECOND)

    assert told(manager) == []
    assert supervision.silent
    assert [r.message.split(":")[0] for r in caplog.records] == ["no frames are taken in for 5 s"]


def test_a_pump_that_goes_on_brings_the_food_back(manager: socket.socket) -> None:
    pump = Pump()
    supervision = supervised(manager, pump)
    supervision.turned(0)
    supervision.turned(6 * SECOND)
    told(manager)

    pump.pumped_ns = 7 * SECOND
    supervision.turned(7 * SECOND)

    assert told(manager) == ["WATCHDOG=1"]
    assert not supervision.silent


def test_a_reload_ends_with_the_next_turn(manager: socket.socket) -> None:
    supervision = supervised(manager, Pump())
    supervision.turned(0)
    told(manager)

    supervision.reloading(SECOND)
    supervision.turned(SECOND)
    supervision.stopping()

    assert told(manager) == ["RELOADING=1", "READY=1", "STOPPING=1"]
