from typing import Any

import numpy as np
import pytest

from agent.signals.names import Derivation, SignalNames
from user_lib.contract.errors import ConfigError, UnknownSignal

MS = 1_000_000


def test_absent_values_are_no_samples(car: Any) -> None:
    recording = car.recording()
    frames = [car.motion(0, 1000), car.motion(MS, 1100, length=1), car.motion(2 * MS, 1200)]
    recording.add(car.batch_of(frames))

    samples = recording.reader.rows(recording.names.resolve("Motion.Speed"), 0, 3)

    assert samples.time_ns.tolist() == [0, 2 * MS]
    assert samples.values.tolist() == [10.0, 12.0]
    assert samples.seq.tolist() == [0, 2]


def test_multiplexed_signals_have_samples_only_where_they_are_chosen(car: Any) -> None:
    recording = car.recording()
    recording.add(car.batch_of([car.body(0, 0, 5), car.body(MS, 1, 6), car.body(2 * MS, 0, 7)]))

    door, warmth = (recording.names.resolve(n) for n in ("Body.Door", "Body.Warmth"))

    assert recording.reader.rows(door, 0, 3).values.tolist() == [5.0, 7.0]
    assert recording.reader.rows(warmth, 0, 3).values.tolist() == [3.0]


def test_several_signals_are_read_at_once_by_name(car: Any) -> None:
    recording = car.recording()
    recording.add(car.batch_of([car.motion(0, 1000, 50), car.brake(MS, 30)]))
    names = ("Motion.Accel", "Brake.Pressure", "Motion.Speed")

    found = recording.reader.many(
        [recording.names.resolve(n) for n in names], {car.MOTION: (0, 1), car.BRAKE: (0, 1)}
    )

    assert tuple(found) == names
    assert {name: samples.values.tolist() for name, samples in found.items()} == {
        "Motion.Accel": [0.5],
        "Brake.Pressure": [3.0],
        "Motion.Speed": [10.0],
    }


def test_the_latest_value_is_held_even_from_far_back(car: Any) -> None:
    recording = car.recording()
    frames = [car.body(0, 0, 9)] + [car.body(i * MS, 1, 2) for i in range(1, 3000)]
    recording.add(car.batch_of(frames))

    held = recording.reader.hold(
        recording.names.resolve("Body.Door"), np.array([2000 * MS, 2500 * MS])
    )

    assert held.values.tolist() == [9.0, 9.0]
    assert held.time_ns.tolist() == [0, 0]


def test_before_the_first_value_there_is_nothing_to_hold(car: Any) -> None:
    recording = car.recording()
    recording.add(car.batch_of([car.motion(5 * MS, 1000)]))

    held = recording.reader.hold(
        recording.names.resolve("Motion.Speed"), np.array([4 * MS, 5 * MS])
    )

    assert np.isnan(held.values[0])
    assert held.values[1] == 10.0
    assert held.seq.tolist() == [-1, 0]


def test_a_derived_signal_follows_its_first_signal_and_holds_the_others(car: Any) -> None:
    recording = car.recording()
    frames = [
        car.motion(0, 1000),
        car.brake(MS, 20),
        car.motion(2 * MS, 2000),
        car.brake(3 * MS, 40),
    ]
    recording.add(car.batch_of(frames))

    work = recording.reader.rows(recording.names.resolve("Car.Work"), 0, 2)

    assert work.time_ns.tolist() == [2 * MS]  # no pressure was known at 0
    assert work.values.tolist() == [40.0]


def test_signals_of_one_frame_go_together_though_stamps_repeat(car: Any) -> None:
    derived = {"Twice": Derivation("Motion.Speed + Motion.Accel")}
    recording = car.recording()
    recording.names = SignalNames(recording.catalog, derived)
    recording.add(car.batch_of([car.motion(0, 100, 1), car.motion(0, 200, 2)]))

    twice = recording.reader.rows(recording.names.resolve("Twice"), 0, 2)

    assert twice.values.tolist() == pytest.approx([1.01, 2.02])


def test_a_derived_signal_may_stand_on_another(car: Any) -> None:
    derived = {
        "Power": Derivation("Work2 / 10"),
        "Work2": Derivation("Brake.Pressure * Motion.Speed"),
    }
    recording = car.recording()
    recording.names = SignalNames(recording.catalog, derived)
    recording.add(car.batch_of([car.motion(0, 1000), car.brake(MS, 20), car.motion(2 * MS, 500)]))

    power = recording.names.resolve("Power")

    assert recording.reader.rows(power, 0, 1).values.tolist() == [2.0]
    assert recording.reader.hold(power, np.array([0, 5 * MS])).values.tolist()[1] == 2.0


def test_an_unknown_name_is_answered_with_the_nearest(car: Any) -> None:
    names = car.recording().names

    with pytest.raises(UnknownSignal) as caught:
        names.resolve("Car.Wrok", path="signals[2]")

    assert "Car.Work" in caught.value.near
    assert caught.value.path == "signals[2]"


@pytest.mark.parametrize(
    ("derived", "complaint"),
    [
        ({"A": "B", "B": "A"}, "needs itself, by A -> B -> A"),
        ({"A": "Motion.Sped * 2"}, "no signal 'Motion.Sped'"),
        ({"A": "1 + 1"}, "names no signal"),
        ({"A": "__import__('os')"}, "__import__"),
    ],
)
def test_a_derived_signal_that_cannot_be_computed_is_refused(
    car: Any, derived: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SignalNames(car.catalog, {name: Derivation(text) for name, text in derived.items()})


def test_derived_signals_are_described_with_the_others(car: Any) -> None:
    infos = {info.name: info for info in car.recording().names.describe()}

    assert infos["Car.Work"].unit == "kN"
    assert infos["Motion.Speed"].channel == "can0"
