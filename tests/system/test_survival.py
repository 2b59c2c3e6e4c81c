"""kill -9 of each process in the middle of a job: what is left goes on, what comes back rejoins."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from user_lib.contract.states import JobState
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated

pytestmark = pytest.mark.timeout(180)

MEAN = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 2},
    "onboard": "mean",
    "offboard": "mean",
}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFleet]:
    vehicles = [
        simulated("compact-1", "compact", seed=21, speed=8.0),
        simulated("wagon-1", "wagon", seed=22, speed=8.0),
    ]
    with LocalFleet(tmp_path, vehicles, cloud_config={"lease_s": 2.0}) as local:
        local.start()
        yield local


@pytest.fixture
def fleet(local: LocalFleet) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        local.wait_online(fleet)
        yield fleet


def eventually(happened: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def check_each_iteration_once(job: Any, gaps_of: str = "") -> None:
    """No iteration twice, and none left out but those that passed while a vehicle was away."""
    seen = [(r.vehicle, r.receipt.epoch, r.iteration) for r in job.results()]
    assert len(seen) == len(set(seen))
    by_vehicle: dict[str, list[int]] = {}
    for vehicle, _, iteration in sorted(seen):
        by_vehicle.setdefault(vehicle, []).append(iteration)
    for vehicle, iterations in by_vehicle.items():
        assert vehicle == gaps_of or iterations == list(range(1, len(iterations) + 1))


def test_a_killed_agent_is_missed_and_rejoins_where_it_was(local: Any, fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations="forever", quorum=0.5, deadline_s=1)
    rounds = job.rounds()
    assert len(next(rounds).vehicles) == 2
    local.kill("wagon-1")
    alone = next(r for r in rounds if r.vehicles == ("compact-1",))
    local.start_agent("wagon-1")
    together = next(r for r in rounds if r.number > alone.number and "wagon-1" in r.vehicles)
    job.cancel()

    assert alone.missing == ("wagon-1",)
    assert together.vehicles == ("compact-1", "wagon-1")
    check_each_iteration_once(job, gaps_of="wagon-1")
    assert len({r.receipt.epoch for r in job.results() if r.vehicle == "wagon-1"}) == 1


def test_a_killed_cloud_goes_on_with_every_job_after_its_restart(local: Any, fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations=8)
    rounds = job.rounds()
    seen = [next(rounds).number]
    local.kill("cloud")
    time.sleep(1.0)  # vehicles go on computing without it
    local.start_cloud()
    seen += [r.number for r in rounds]

    assert seen == list(range(1, 9))
    assert job.state is JobState.FINISHED
    assert len(job.results()) == 16
    check_each_iteration_once(job)


def test_a_killed_worker_costs_one_iteration(local: Any, fleet: Any) -> None:
    code = (
        "import time\n"
        "def custom(data, params):\n"
        "    if params.iteration == 2:\n"
        "        time.sleep(60)\n"
        "    return params.iteration\n"
    )
    fleet.update_code(code)
    job = fleet.assign(
        MEAN, onboard="custom", offboard="collect", iterations=3, vehicles=["compact-1"],
        limits={"wall_s": 90.0},
    )  # fmt: skip
    eventually(lambda: len(job.results()) == 1, job.explain)
    eventually(lambda: "computes" in job.explain(), job.explain)
    for pid in descendants(local.pid("compact-1")):
        with suppress(ProcessLookupError):  # it ended with one that was killed before it
            os.kill(pid, signal.SIGKILL)

    assert job.wait(timeout_s=60) is JobState.FINISHED
    outcome = {r.iteration: r for r in job.results()}
    assert outcome[1].ok
    assert not outcome[2].ok
    assert outcome[3].value == 3
    assert local.is_running("compact-1")


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``, the deepest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found[::-1]


def test_custom_code_survives_the_restart_of_its_vehicle(local: Any, fleet: Any) -> None:
    fleet.update_code("def custom(xs):\n    return len(xs)\n")
    job = fleet.assign(
        MEAN, onboard="custom", offboard="mean", iterations=5, vehicles=["compact-1"]
    )
    eventually(lambda: len(job.results()) >= 1, job.explain)
    local.kill("compact-1")
    local.start_agent("compact-1")

    assert job.wait(timeout_s=90) is JobState.FINISHED
    assert [r.ok for r in job.results()] == [True] * 5
    check_each_iteration_once(job)


def test_a_swap_reaches_a_vehicle_that_was_away(local: Any, fleet: Any) -> None:
    local.kill("wagon-1")
    eventually(
        lambda: [v.online for v in fleet.vehicles() if v.vehicle_id == "wagon-1"] == [False],
        fleet.vehicles,
    )
    update = fleet.update_code("def custom(xs):\n    return 1\n")
    states = {s.vehicle_id: s.state for s in update.vehicles}
    assert states == {"compact-1": "armed", "wagon-1": "offline"}
    local.start_agent("wagon-1")

    eventually(
        lambda: {s.state for s in fleet.code_status().onboard.vehicles} == {"armed"},
        fleet.code_status,
    )


def test_every_process_ends_cleanly_when_asked(local: Any, fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations="forever")
    next(job.rounds())
    below = descendants(local.pid("compact-1"))

    assert local.stop("compact-1") == 0, local.log_tail("compact-1")
    assert local.stop("wagon-1") == 0, local.log_tail("wagon-1")
    assert local.stop("cloud") == 0, local.log_tail("cloud")
    eventually(lambda: not any(Path(f"/proc/{p}").exists() for p in below), lambda: below)


def test_an_external_worker_of_another_language_is_a_method(tmp_path: Path) -> None:
    worker = '{ n = gsub(/,/, ","); printf "{\\"value\\": %d}\\n", (n > 0) }'
    vehicle = simulated("compact-1", "compact", seed=23, speed=8.0)
    equipped = LocalVehicle(
        vehicle.vehicle_id,
        vehicle.profile,
        vehicle.sources,
        {"external_methods": {"commas": ["awk", worker]}},
    )
    with LocalFleet(tmp_path, [equipped]) as local:
        local.start()
        with local.connect("tester") as fleet:
            local.wait_online(fleet)
            job = fleet.assign(MEAN, onboard="external:commas", iterations=2)
            assert job.wait(timeout_s=60) is JobState.FINISHED
            assert [r.value for r in job.results()] == [1, 1]
            assert [r.receipt.method for r in job.results()] == ["external:commas"] * 2
