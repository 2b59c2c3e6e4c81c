"""A thread that takes frames in hangs for real and alone: the watchdog is withheld, and it is told.

The main loop goes on meanwhile, and so does the link to the cloud.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.service import PATIENCE_S, Service
from tests.vm.guest.held_threads import frozen_asleep, thread_named
from user_lib.contract.messages import Heartbeat, Hello

WATCHDOG_S = 2.0
DRIVER = """
import os, can

class HungBus(can.BusABC):
    \"\"\"Its driver waits for a frame however long that takes, whatever the timeout says.\"\"\"

    def __init__(self, channel, **_):
        self.channel_info = channel
        self._fd = os.open(channel, os.O_RDWR)
        super().__init__(channel)

    def _recv_internal(self, timeout):
        return can.Message(arbitration_id=os.read(self._fd, 1)[0]), True

    def send(self, msg, timeout=None):
        raise can.CanOperationError("nothing is ever sent")
"""


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_withheld(service: Service, cloud: Any, who: str) -> None:
    """The watchdog gets no food, and the main loop still tells the cloud how things are."""
    eventually(lambda: f"{who} hangs; the watchdog restarts this agent" in service.log)
    service.manager.forget()
    assert service.manager.silent_for(2 * WATCHDOG_S)
    beats = len(cloud.all(Heartbeat))
    late = cloud.until(
        lambda: [h for h in cloud.all(Heartbeat)[beats:] if h.stats["pump.lag_ms"] > 8000]
    )
    assert late
    eventually(lambda: service.metrics()["oodida_agent_pump_lag_seconds"] > 8)
    assert service.log.count("hangs; the watchdog") == 1


def test_a_pump_that_hangs_alone_gets_no_food_until_it_goes_on(
    serve: Callable[..., Service], cloud: Any
) -> None:
    quiet = [{"kind": "can", "interface": "virtual", "channel": "can0"}]
    service = serve(WATCHDOG_S, sources=quiet)
    service.manager.until("READY=1")
    cloud.until(lambda: cloud.last(Hello))
    pump = thread_named(service.process.pid, "signals")
    assert pump is not None

    try:
        with frozen_asleep(pump):
            assert_withheld(service, cloud, "the pump")
    except PermissionError:
        pytest.skip("threads of others may not be held here (ptrace)")

    service.manager.until("WATCHDOG=1")
    eventually(lambda: "frames are taken in again" in service.log)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """Install a driver for python-can that hangs; return the pipe on which it waits."""
    (tmp_path / "hung_can.py").write_text(DRIVER)
    installed = tmp_path / "hung_can-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: hung-can\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[can.interface]\nhung = hung_can:HungBus\n")
    pipe = tmp_path / "frames"
    os.mkfifo(pipe)
    return pipe


def test_a_driver_that_hangs_gets_no_food_and_does_not_keep_the_agent_from_ending(
    serve: Callable[..., Service], cloud: Any, driver: Path
) -> None:
    hung = {"kind": "can", "interface": "hung", "channel": str(driver), "name": "can0"}
    service = serve(WATCHDOG_S, sources=[hung])
    service.manager.until("READY=1")
    cloud.until(lambda: cloud.last(Hello))

    assert_withheld(service, cloud, "the driver of channel can0")
    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(PATIENCE_S) == 0
    assert "its driver hangs; it is not closed" in service.log


def test_a_driver_that_waits_for_rare_frames_is_fed(
    serve: Callable[..., Service], driver: Path
) -> None:
    hung = {"kind": "can", "interface": "hung", "channel": str(driver), "name": "can0"}
    service = serve(WATCHDOG_S, sources=[hung])
    service.manager.until("READY=1")
    eventually(lambda: "hangs; the watchdog restarts" in service.log)

    with driver.open("wb", buffering=0) as frames:
        deadline = time.monotonic() + PATIENCE_S
        service.manager.forget()
        while "WATCHDOG=1" not in service.manager.told:
            frames.write(b"\x10")
            service.manager.take()
            assert time.monotonic() < deadline
            time.sleep(0.05)
