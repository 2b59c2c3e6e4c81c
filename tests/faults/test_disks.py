"""A disk turns read-only under a running process, or large contents fill it: nothing is lost."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.byte_link import ByteLink
from tests.faults.disk import Disk, cannot_mount
from user_lib.contract.errors import OodidaError
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated
from user_lib.job import Job

WHY_NOT = cannot_mount()
pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

CAR = "compact-1"
MEAN = {
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 20},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": "forever",
}
SIZE = 1_500_000
LARGE = {**MEAN, "onboard": "custom", "offboard": "collect", "iterations": 6, "deadline_s": 60}
RETURN_LARGE = f"def custom(data, params):\n    return chr(64 + params.iteration) * {SIZE}\n"


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[dict[str, Disk]]:
    """A disk for the vehicle and one for the cloud."""
    disks = {name: Disk(tmp_path / f"{name}.disk", mb=40) for name in (CAR, "cloud")}
    yield disks
    for disk in disks.values():
        disk.close()


@pytest.fixture
def local(tmp_path: Path, disks: dict[str, Disk]) -> Iterator[LocalFleet]:
    ledger = str(disks["cloud"].path / "ledger.sqlite")
    config = {"lease_s": 2.0, "ledger": ledger, "contents": {"reserve_mb": 1.0}}
    with LocalFleet(tmp_path, [], cloud_config=config) as local:
        local.start_cloud()
        yield local


@pytest.fixture
def link(local: LocalFleet, disks: dict[str, Disk]) -> Iterator[ByteLink]:
    """The way of a vehicle to the cloud."""
    link = ByteLink(local.endpoint, seed=1)
    car = simulated(CAR, "compact", seed=21, speed=8.0)
    state = str(disks[CAR].path / "state")
    config = {"cloud": link.endpoint, "state_dir": state}
    local.vehicles[CAR] = LocalVehicle(CAR, car.profile, car.sources, config)
    local.start_agent(CAR)
    yield link
    link.close()


@pytest.fixture
def fleet(local: LocalFleet, link: ByteLink) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        local.wait_online(fleet)
        yield fleet


def eventually(happened: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def more_results(job: Job, count: int = 3) -> None:
    """Wait until so many results more have come."""
    before = job.info.results
    eventually(lambda: job.info.results >= before + count, job.explain)


def check_whole(job: Job) -> None:
    """All that the job's vehicle committed is there, once, and the analyst can verify it."""
    eventually(lambda: "said that their task ended" not in repr(job.verify()), job.explain)
    eventually(lambda: job.verify().ok, job.verify)  # the end may come before what is resent
    iterations = [r.iteration for r in job.results()]
    assert sorted(iterations) == list(range(1, len(iterations) + 1))


def test_an_agent_stays_on_a_disk_that_turned_read_only_says_so_and_goes_on_once_it_is_repaired(
    local: LocalFleet, disks: dict[str, Disk], fleet: Any
) -> None:
    job = fleet.assign(MEAN)
    more_results(job)

    disks[CAR].fail()
    eventually(lambda: "cannot be written" in " ".join(job.explain().split()), job.explain)
    assert local.is_running(CAR)

    local.kill(CAR)
    disks[CAR].repair()
    local.start_agent(CAR)
    more_results(job)
    job.cancel()
    check_whole(job)


def test_a_cloud_stays_on_a_disk_that_turned_read_only_and_acknowledges_nothing_there(
    local: LocalFleet, disks: dict[str, Disk], fleet: Any
) -> None:
    job = fleet.assign(MEAN)
    more_results(job)

    disks["cloud"].fail()
    eventually(lambda: "cannot be used" in local.log_tail("cloud", 50), job.explain)
    with pytest.raises(OodidaError):
        fleet.assign(MEAN)
    assert local.is_running("cloud")

    local.kill("cloud")
    disks["cloud"].repair()
    local.start_cloud()
    more_results(job)
    job.cancel()
    check_whole(job)


@pytest.mark.parametrize("name", [CAR, "cloud"])
def test_a_process_killed_on_a_disk_that_contents_filled_goes_on_once_there_is_room(
    local: LocalFleet, disks: dict[str, Disk], link: ByteLink, fleet: Any, name: str
) -> None:
    fleet.update_code(RETURN_LARGE)
    disks[name].fill(2 * SIZE)
    job = fleet.assign(LARGE)
    link.closed = name == CAR  # so that what it computes stays on its disk
    said = ("tasks pause", "cannot be used", "no room for content")
    eventually(
        lambda: any(words in local.log_tail(name, 200) for words in said),
        lambda: local.log_tail(name),
    )

    local.kill(name)
    if name == CAR:
        local.start_agent(CAR)
    else:
        local.start_cloud()
    disks[name].empty()
    link.calm()

    job.wait(timeout_s=90)
    check_whole(job)
