"""The grammar at work on real processes: who, when, how long, side by side, and what is refused."""

import datetime as dt
import time
from typing import Any

import numpy as np
import pytest

from user_lib.contract.errors import CodeError, Rejected
from user_lib.contract.states import JobState

pytestmark = pytest.mark.timeout(180)

MEAN = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 2},
    "onboard": "mean",
    "offboard": "mean",
}
CUSTOM = {**MEAN, "onboard": "custom", "offboard": "collect"}
COUNT = "def custom(xs):\n    return len(xs)\n"


@pytest.fixture
def fleet(simulated_world: Any) -> Any:
    return simulated_world.fleet


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (["wagon-2"], {"wagon-2"}),
        ({"where": "model == 'wagon'"}, {"wagon-1", "wagon-2"}),
        ("all", {"compact-1", "wagon-1", "wagon-2"}),
    ],
)
def test_an_assignment_goes_to_the_vehicles_that_it_names(
    fleet: Any, selector: Any, chosen: set[str]
) -> None:
    job = fleet.assign(MEAN, vehicles=selector)

    assert job.wait(timeout_s=60) is JobState.FINISHED
    assert set(job.vehicles) == chosen
    assert {r.vehicle for r in job.results()} == chosen


def test_a_seeded_fraction_and_a_limit_choose_some(fleet: Any) -> None:
    first = fleet.assign(MEAN, vehicles={"fraction": 0.5, "seed": 5})
    again = fleet.assign(MEAN, vehicles={"fraction": 0.5, "seed": 5})
    limited = fleet.assign(MEAN, vehicles={"limit": 1})

    assert len(first.vehicles) == 2
    assert first.vehicles == again.vehicles
    assert len(limited.vehicles) == 1


def test_a_vehicle_that_does_not_exist_is_refused_with_the_nearest(fleet: Any) -> None:
    with pytest.raises(Rejected) as caught:
        fleet.assign(MEAN, vehicles=["compact-9"])

    assert "compact-1" in caught.value.near


def test_a_signal_that_no_vehicle_has_fails_the_job_with_the_nearest(fleet: Any) -> None:
    job = fleet.assign(MEAN, signals=["Vehicle.Sped"])

    assert job.wait(timeout_s=60) is JobState.FAILED
    assert "Vehicle.Speed" in job.info.reason + job.explain()


def test_a_start_time_is_waited_for_and_a_duration_ends_the_job(fleet: Any) -> None:
    start = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    job = fleet.assign(MEAN, start=start.isoformat(), duration_s=3, iterations="forever")

    assert job.state is JobState.SCHEDULED
    assert job.wait(timeout_s=60) is JobState.FINISHED
    results = job.results()
    assert results
    assert all(r.receipt.created_ns >= start.timestamp() * 1e9 for r in results)


def test_a_job_without_end_runs_until_it_is_cancelled(fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations="forever")
    rounds = job.rounds()
    seen = [next(rounds) for _ in range(3)]
    job.cancel()

    assert [r.number for r in seen] == [1, 2, 3]
    assert job.wait(timeout_s=30) is JobState.CANCELLED


def test_several_tasks_run_at_once_on_a_vehicle(fleet: Any) -> None:
    methods = ["mean", "min", "max", "std", "count"]
    jobs = [fleet.assign(MEAN, onboard=m, offboard="collect", iterations=3) for m in methods]

    for job in jobs:
        assert job.wait(timeout_s=90) is JobState.FINISHED
    starts = [min(r.receipt.window_start_ns for r in job.results()) for job in jobs]
    stops = [max(r.receipt.window_stop_ns for r in job.results()) for job in jobs]
    assert max(starts) < min(stops)


def test_a_trigger_keeps_the_look_back(simulated_world: Any) -> None:
    job = simulated_world.fleet.assign(
        signals=["Vehicle.Speed"],
        when={"condition": "Vehicle.Speed > 30", "before_s": 2, "after_s": 1},
        onboard="collect",
        iterations="forever",
    )
    later = (r for r in job.stream() if r.iteration > 1)  # the first may hold from the start
    seen = [next(later) for _ in range(3)]
    job.cancel()

    for result in seen:
        assert result.ok, result
        receipt = result.receipt
        assert receipt.trigger_ns is not None
        drove = simulated_world.window_of(result)
        found = result.value["Vehicle.Speed"]
        assert found["values"] == drove.values.tolist()
        at = np.searchsorted(drove.times_ns, receipt.trigger_ns)
        assert drove.values[at] > 30
        assert drove.values[at - 1] <= 30
        assert receipt.trigger_ns - receipt.window_start_ns == pytest.approx(2e9, abs=1e8)


def test_signals_are_put_on_one_grid(fleet: Any) -> None:
    engine = "Vehicle.Powertrain.CombustionEngine.Speed"
    code = "def custom(data, params):\n    return {s: len(data[s]) for s in data}\n"
    fleet.update_code(code)
    job = fleet.assign(CUSTOM, signals=["Vehicle.Speed", engine], rate_hz=5)

    assert job.wait(timeout_s=60) is JobState.FINISHED
    assert {tuple(r.value.values()) for r in job.results()} == {(10, 10)}


def test_custom_code_runs_off_board_too(fleet: Any) -> None:
    code = "def custom(data, params):\n    return {'vehicles': len(data), 'by': params.by}\n"
    fleet.update_code(code, side="offboard")
    job = fleet.assign(MEAN, offboard="custom", offboard_params={"by": 7})

    assert job.wait(timeout_s=60) is JobState.FINISHED
    (only_round,) = job.closed_rounds()
    assert only_round.value == {"vehicles": 3, "by": 7}
    assert only_round.message.offboard_version == fleet.code_status().offboard.version


def test_state_and_prints_of_custom_code_come_through(fleet: Any) -> None:
    code = (
        "from user_lib import Result\n"
        "def custom(data, params):\n"
        "    print('iteration', params.iteration)\n"
        "    seen = (params.state or 0) + 1\n"
        "    return Result(seen, state=seen)\n"
    )
    fleet.update_code(code)
    job = fleet.assign(CUSTOM, iterations=3)

    assert job.wait(timeout_s=60) is JobState.FINISHED
    assert all(r.value == r.iteration for r in job.results())
    assert all(r.receipt.prints == f"iteration {r.iteration}\n" for r in job.results())


def test_code_that_cannot_work_is_refused_before_it_is_sent(fleet: Any) -> None:
    before = fleet.code_status().onboard.generation
    for code in ("def custom(:\n", "def other(xs):\n    return 1\n", "import os\n" + COUNT):
        with pytest.raises(CodeError):
            fleet.update_code(code)

    assert fleet.code_status().onboard.generation == before


def test_custom_without_code_is_refused(simulated_world: Any) -> None:
    with (
        simulated_world.local.connect("newcomer") as newcomer,
        pytest.raises(Rejected) as caught,
    ):
        newcomer.assign(CUSTOM)

    assert caught.value.reason == "no_code"


def test_analysts_see_only_their_own_jobs_and_code(simulated_world: Any) -> None:
    with (
        simulated_world.local.connect("ada") as ada,
        simulated_world.local.connect("grace") as grace,
    ):
        ada.update_code(COUNT)
        grace.update_code(COUNT.replace("len(xs)", "-len(xs)"))
        hers, others = ada.assign(CUSTOM), grace.assign(CUSTOM)

        assert [j.id for j in ada.jobs()] == [hers.id]
        with pytest.raises(Rejected):
            grace.job(hers.id)
        assert hers.wait(timeout_s=60) is JobState.FINISHED
        assert others.wait(timeout_s=60) is JobState.FINISHED
        assert all(r.value > 0 for r in hers.results())
        assert all(r.value < 0 for r in others.results())


def test_a_swap_reaches_every_vehicle_while_the_job_and_the_processes_run_on(
    simulated_world: Any,
) -> None:
    fleet, local = simulated_world.fleet, simulated_world.local
    names = ["cloud", *simulated_world.vehicles]
    pids = [local.pid(name) for name in names]
    first = fleet.update_code(COUNT)
    job = fleet.assign(CUSTOM, iterations="forever")
    rounds = job.rounds()
    next(rounds)
    second = fleet.update_code(COUNT.replace("len(xs)", "-len(xs)"))
    swapped = next(r for r in rounds if r.groups[0].code_version == second.version)
    job.cancel()

    assert second.latency.vehicles == 3
    assert second.latency.armed_p50_ms <= second.latency.armed_p99_ms
    assert sorted(swapped.vehicles) == simulated_world.vehicles
    assert [local.pid(name) for name in names] == pids
    assert all(local.is_running(name) for name in names)
    for result in job.results():
        assert result.ok, result
        assert (result.value > 0) == (result.code_version == first.version)
    by_vehicle: dict[str, list[int]] = {}
    for result in job.results():
        by_vehicle.setdefault(result.vehicle, []).append(result.iteration)
    assert all(its == list(range(1, len(its) + 1)) for its in by_vehicle.values())


def test_a_version_that_fails_at_first_is_rolled_back_and_its_traceback_travels(
    fleet: Any,
) -> None:
    good = fleet.update_code(COUNT)
    job = fleet.assign(CUSTOM, iterations="forever", vehicles=["compact-1", "wagon-1"])
    stream = job.stream()
    next(stream)
    bad = fleet.update_code("def custom(xs):\n    return xs[10**9]\n")
    seen: dict[str, Any] = {}
    for result in stream:
        if result.receipt.rolled_back is not None:
            seen[result.vehicle] = result
        if len(seen) == 2:
            break
    job.cancel()

    for result in seen.values():
        assert result.ok
        assert result.code_version == good.version
        assert result.receipt.rolled_back.failed_version == bad.version
        assert "IndexError" in result.receipt.rolled_back.detail
    states = {s.vehicle_id: s.state for s in fleet.code_status().onboard.vehicles}
    assert states["compact-1"] == states["wagon-1"] == "rolled_back"


def test_code_that_hangs_or_hogs_costs_its_own_iteration_only(fleet: Any) -> None:
    code = (
        "import time\n"
        "def custom(data, params):\n"
        "    if params.iteration == 2:\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"
        "    if params.iteration == 3:\n"
        "        return len(bytearray(10**10))\n"
        "    return params.iteration\n"
    )
    fleet.update_code(code)
    limits = {"wall_s": 1.0, "memory_mb": 128}
    job = fleet.assign(CUSTOM, iterations=4, limits=limits, vehicles=["compact-1"])
    beside = fleet.assign(MEAN, iterations=4, vehicles=["compact-1"])

    assert job.wait(timeout_s=90) is JobState.FINISHED
    assert beside.wait(timeout_s=90) is JobState.FINISHED
    outcome = {r.iteration: r for r in job.results()}
    assert outcome[1].value == 1
    assert outcome[2].receipt.reason == "wall"
    assert not outcome[3].ok
    assert "memory" in outcome[3].error.lower()
    assert outcome[4].value == 4
    assert all(r.ok for r in beside.results())


def test_explain_says_what_a_job_waits_for(fleet: Any) -> None:
    job = fleet.assign(MEAN, window={"samples": 1_000_000}, vehicles=["compact-1"])
    deadline = time.monotonic() + 30
    while "samples of Vehicle.Speed" not in (text := job.explain()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    job.cancel()

    assert "compact-1" in text
