"""The wall clock jumps hours either way: leases, deadlines and durations do not notice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.auth import Auth, Peer
from cloud.config import Config
from cloud.ledger import Ledger
from cloud.service import Service
from user_lib.contract.clock import SECOND
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST
from user_lib.contract.messages import (
    Deliver,
    Explain,
    Heartbeat,
    Hello,
    Ping,
    Request,
    Result,
    Submit,
)
from user_lib.contract.states import JobState
from user_lib.contract.validation import parse

HOUR_NS = 3600 * SECOND
DURATION_S = 60
SPEC = parse(
    {
        "signals": ["Vehicle.Speed"],
        "onboard": "mean",
        "window": {"seconds": 1},
        "iterations": "forever",
        "duration_s": DURATION_S,
        "deadline_s": 20,
    }
)


class TwoClocks:
    """The wall clock can be set; the monotonic one only goes on."""

    def __init__(self) -> None:
        self.monotonic, self.unix = 1_000 * SECOND, 10**18

    def monotonic_ns(self) -> int:
        return self.monotonic

    def unix_ns(self) -> int:
        return self.unix

    def go_on(self, seconds: float) -> None:
        self.monotonic += int(seconds * SECOND)
        self.unix += int(seconds * SECOND)


class Cloud:
    """The whole service on two clocks, with vehicles and an analyst that are played."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.settings = folder, settings
        self.clock = TwoClocks()
        self.start()

    def start(self) -> None:
        path = self.folder / "cloud.db"
        self.ledger = Ledger(path)
        self.service = Service(
            Config(lease_s=10, ledger=path, **self.settings),
            self.ledger,
            self.clock,
            "test",
            Auth(None),
        )

    def restart(self) -> None:
        """End as a power cut would, and begin again with what is on disk."""
        self.ledger.close()
        self.start()

    def say(self, vehicle: str, message: Any, *, finish: bool = True) -> None:
        self.service.receive(Peer(vehicle.encode()), FROM_VEHICLE.encode(message))
        if finish:
            self.service.finish()

    def ask(self, ask: Any) -> Any:
        request = Request(number=1, user="ada", ask=ask)
        self.service.receive(Peer(b"analyst"), REQUEST.encode(request))
        mail, _ = self.service.finish()
        (answer,) = (REPLY.decode(f).answer for peer, f in mail if peer == Peer(b"analyst"))
        return answer

    def answer(self, vehicle: str, job: str, iteration: int, *, finish: bool = True) -> None:
        result = Result(
            assignment_id=job, epoch="e", iteration=iteration, status="ok", value=1, method="mean",
            dbc_hash="d", window_start_ns=0, window_stop_ns=1, agent_version="1", created_ns=0,
        )  # fmt: skip
        self.say(vehicle, Deliver(seq=iteration, item=result), finish=finish)

    def pass_time(self, seconds: int) -> None:
        """Let time pass, a second at a time, with a heartbeat of each vehicle in it."""
        for _ in range(seconds):
            self.clock.go_on(1)
            for vehicle in ("kona", "leaf"):
                self.say(vehicle, Heartbeat())
            self.service.timers()
            self.service.finish()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path)
    yield cloud
    cloud.ledger.close()


@pytest.mark.parametrize("jump_ns", [5 * HOUR_NS, -5 * HOUR_NS])
def test_a_jump_ends_no_lease_no_round_and_no_job(cloud: Cloud, jump_ns: int) -> None:
    for vehicle in ("kona", "leaf"):
        cloud.say(vehicle, Hello(vehicle_id=vehicle, epoch="e", agent_version="1", dbc_hash="d"))
    job = cloud.ask(Submit(spec=SPEC, token="t")).assignment_id
    cloud.pass_time(5)
    cloud.answer("kona", job, 1)

    cloud.clock.unix += jump_ns
    cloud.service.timers()
    assert cloud.ask(Ping()).vehicles_online == 2
    told = cloud.ask(Explain(assignment_id=job))
    assert (told.job.state, told.waiting_for) == (JobState.RUNNING, ("leaf",))

    cloud.pass_time(10)
    cloud.answer("leaf", job, 1)
    assert cloud.ask(Explain(assignment_id=job)).job.state is JobState.RUNNING
    (result,) = [e for e in cloud.ledger.events.results_of(1, 1) if e.vehicle_id == "leaf"]
    assert not result.late
    cloud.pass_time(DURATION_S)
    assert cloud.ask(Explain(assignment_id=job)).open_rounds == ()


@pytest.mark.parametrize("jump_ns", [5 * HOUR_NS, -5 * HOUR_NS, 0])
def test_a_jump_across_a_restart_ends_no_job_early_and_none_never(
    cloud: Cloud, jump_ns: int
) -> None:
    hello = Hello(vehicle_id="kona", epoch="e", agent_version="1", dbc_hash="d")
    cloud.say("kona", hello)
    job = cloud.ask(Submit(spec=SPEC, token="t")).assignment_id
    cloud.pass_time(30)

    cloud.clock.unix += jump_ns
    cloud.restart()
    cloud.say("kona", hello)
    cloud.pass_time(20)
    assert cloud.ask(Explain(assignment_id=job)).job.state is JobState.RUNNING

    cloud.pass_time(25)
    assert cloud.ask(Explain(assignment_id=job)).job.state is JobState.FINISHED
