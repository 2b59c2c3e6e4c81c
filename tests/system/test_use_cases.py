"""The published use cases, each on simulated cars and on recorded drives, with real processes.

What comes back is held against the source decoded again, offline.
"""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from agent.sandbox.methods import registry
from agent.sandbox.methods.method import Prior
from user_lib.contract.states import JobState
from user_lib.examples import batch, code_swap_ab, mapreduce, monitoring, sampling, stream
from user_lib.examples import federated_learning as federated
from user_lib.results import VehicleResult

POINTS = 50
"""The slowest signal comes once a second."""

pytestmark = pytest.mark.timeout(240)


def newest_job(world: Any, name: str) -> Any:
    return next(job for job in world.fleet.jobs() if job.spec.name == name)


def good(results: list[VehicleResult]) -> list[VehicleResult]:
    assert results
    assert [r.error for r in results if not r.ok] == []
    return results


def test_monitoring_brings_exactly_the_values_above_the_threshold(world: Any) -> None:
    seen = monitoring.run(world.fleet, world.signal, above=world.above, enough=50)
    job = newest_job(world, "monitoring")

    assert len(seen) >= 50
    assert job.state is JobState.CANCELLED
    for result in good(job.results()):
        drove = world.window_of(result)
        above = drove.values > world.above
        found = result.value[world.signal]
        assert found["times_ns"] == drove.times_ns[above].tolist()
        assert found["values"] == drove.values[above].tolist()
        assert found["of"] == len(above)


def test_sampling_keeps_its_rate_beside_another_task(world: Any) -> None:
    rates = sampling.run(world.fleet, world.signal, rate_hz=0.5)

    assert sorted(rates) == world.vehicles
    for vehicle, rate_hz in rates.items():
        assert rate_hz == pytest.approx(0.5, rel=0.1), vehicle
    beside = newest_job(world, "beside")
    assert len(beside.closed_rounds()) == 3
    for result in good(beside.results()):
        drove = world.window_of(result)
        assert result.value[world.signal] == pytest.approx(np.mean(drove.values))


def test_a_batch_gives_the_quantiles_of_all_samples_within_the_stated_error(world: Any) -> None:
    found = batch.run(world.fleet, world.signal, points=POINTS)
    results = good(newest_job(world, "batch").results())

    together = np.sort(np.concatenate([world.window_of(r).values for r in results]))
    assert [len(world.window_of(r).values) for r in results] == [POINTS] * len(world.vehicles)
    assert found["samples"] == len(together)
    for q in (0.1, 0.5, 0.9):
        exact = together[int(q * (len(together) - 1))]
        error = found["relative_error"]
        assert found[f"{q:g}"] == pytest.approx(exact, rel=error * 1.001, abs=1e-6), q


def test_a_stream_gives_an_update_per_iteration(world: Any) -> None:
    rounds = list(stream.run(world.fleet, world.signal, updates=4))
    results = good(newest_job(world, "stream").results())

    assert [r.number for r in rounds] == [1, 2, 3, 4]
    assert all(sorted(r.vehicles) == world.vehicles for r in rounds)
    for round_ in rounds:
        windows = [world.window_of(r).values for r in results if r.iteration == round_.number]
        assert len(windows) == len(world.vehicles)
        assert round_.value[world.signal] == pytest.approx(np.mean(np.concatenate(windows)))


def test_windows_of_a_stream_follow_each_other_without_a_gap(world: Any) -> None:
    list(stream.run(world.fleet, world.signal, updates=3))
    results = good(newest_job(world, "stream").results())

    for vehicle in world.vehicles:
        receipts = sorted(
            (r.receipt for r in results if r.vehicle == vehicle), key=lambda r: r.iteration
        )
        assert [r.iteration for r in receipts] == [1, 2, 3]
        for before, after in itertools.pairwise(receipts):
            assert before.window_stop_ns == after.window_start_ns


def test_mapreduce_counts_as_a_single_machine_would(world: Any) -> None:
    counts = mapreduce.run(world.fleet, world.signal, points=POINTS)
    results = good(newest_job(world, "mapreduce").results())

    single: Counter[str] = Counter()
    for result in results:
        words = np.searchsorted(mapreduce.EDGES, world.window_of(result).values, side="right")
        single.update(mapreduce.WORDS[i] for i in words)
    assert counts == dict(single)
    assert sum(counts.values()) == POINTS * len(world.vehicles)


def test_code_is_swapped_on_half_of_the_vehicles_and_never_mixed(world: Any) -> None:
    swap, rounds = code_swap_ab.run(world.fleet, world.signal, rounds=2)
    half = world.vehicles[: len(world.vehicles) // 2]
    by_iteration = {(r.vehicle, r.iteration): r for r in good(newest_job(world, "a-b").results())}

    assert swap.pending == ()
    assert swap.refused == {}
    assert swap.latency.vehicles >= len(half)
    assert len(rounds) == 2
    for round_ in rounds:
        by_version = {g.code_version: g for g in round_.groups}
        assert set(by_version) == {swap.version, *swap.slot.overrides.values()}
        for version, group in by_version.items():
            own = [by_iteration[v, round_.number] for v in group.vehicles]
            assert {r.code_version for r in own} == {version}
            levels = [r.value["level"] for r in own]
            assert group.value["level"] == pytest.approx(np.mean(levels))
            for result in own:
                reference = np.median if result.vehicle in half else np.mean
                expected = reference(world.window_of(result).values)
                assert result.value["level"] == pytest.approx(expected)


def test_federated_learning_on_simulated_cars_learns_until_the_criterion(
    simulated_world: Any,
) -> None:
    models = federated.run(simulated_world.fleet, until="round >= 5 and loss < 300")

    check_learned(simulated_world, models, 300)


def test_federated_learning_on_a_recorded_drive_learns_until_the_criterion(
    recorded_world: Any,
) -> None:
    pedal = "Vehicle.Chassis.Accelerator.PedalPosition"
    models = federated.run(
        recorded_world.fleet,
        signals=("Vehicle.Powertrain.ElectricMotor.Power", pedal),
        scale={pedal: [12, 8]},
        vehicles=["tesla-1", "tesla-2"],
        until="round >= 5 and loss < 200",
    )

    check_learned(recorded_world, models, 200)
    assert models[-1]["weights"][pedal] > 0


def check_learned(world: Any, models: list[dict[str, Any]], below: float) -> None:
    """Check the criterion, the average, and that each training began with the round's model."""
    job = newest_job(world, "federated-learning")
    assert job.state is JobState.FINISHED
    met = [number >= 5 and model["loss"] < below for number, model in enumerate(models, start=1)]
    assert met == [False] * (len(models) - 1) + [True]
    results = good(job.results())
    train = registry.onboard("least_squares")
    params = train.check(job.spec.onboard_params)
    for number, model in enumerate(models, start=1):
        own = [r for r in results if r.iteration == number]
        assert sorted(r.vehicle for r in own) == sorted(job.vehicles)
        total = sum(r.receipt.weight for r in own)
        average = sum(r.value["intercept"] * r.receipt.weight for r in own) / total
        assert model["intercept"] == pytest.approx(average)
        assert model["samples"] == total
        prior = Prior(feedback=models[number - 2] if number > 1 else None)
        for result in own:
            window = world.whole_window_of(result, job.spec.signals)
            again = train.compute(window, params, prior).value
            assert result.value.pop("weights") == pytest.approx(again.pop("weights"))
            assert result.value == pytest.approx(again)
