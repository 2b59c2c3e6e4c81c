"""The recorded drives, against what other tools decoded of them."""

import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.signals import load_profile, run_on_log
from agent.signals.profile import Profile
from hw import read_log
from user_lib.contract.clock import SECOND
from user_lib.contract.validation import parse

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
LOGS = {
    "tesla": "tesla_m3_drive",
    "kona": "kona_power_on_off",
    "seat": "seat_obd2_gps",
    "johndeere": "johndeere_j1939_tp",
}
CARS = ("tesla", "kona", "seat")


@cache
def drive(name: str) -> tuple[Profile, list[Any], tuple[str, ...]]:
    profile = load_profile(name, [PROFILES])
    log = read_log(Path(profile.sources[0].log))
    batches = list(log)
    return profile, batches, log.channels


def expected(shared_data: Path, name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the samples of every signal of a drive: its name, times in seconds, values."""
    notes = json.loads((shared_data / "expected" / f"{LOGS[name]}.json").read_text())
    arrays = np.load(shared_data / "expected" / f"{LOGS[name]}.npz")
    for series in notes["messages"]:
        times, values = arrays[f"{series['key']}_t"], arrays[f"{series['key']}_v"]
        for column, signal in enumerate(series["columns"]):
            there = ~np.isnan(values[:, column])
            yield f"{series['message']}.{signal}", times[there], values[there, column]


def windows(name: str, signals: list[str], window: dict[str, float], **more: Any) -> list[Any]:
    profile, batches, channels = drive(name)
    spec = parse({"signals": signals, "onboard": "mean", "window": window, **more})
    return list(run_on_log(spec, profile, batches, channels))


@pytest.mark.parametrize("name", CARS)
def test_consecutive_windows_hold_exactly_the_samples_of_the_drive(
    name: str, shared_data: Path
) -> None:
    found = [one for one in expected(shared_data, name) if len(one[1]) >= 50]
    rng = np.random.default_rng(5)
    for index in rng.choice(len(found), size=min(len(found), 25), replace=False):
        signal, times_s, values = found[index]
        samples = len(values) // 3
        taken = windows(name, [signal], {"samples": samples})

        assert len(taken) == len(values) // samples, signal
        n = len(taken) * samples
        np.testing.assert_allclose(
            np.concatenate([w[signal] for w in taken]), values[:n], rtol=1e-12, err_msg=signal
        )
        np.testing.assert_allclose(
            np.concatenate([w.times[signal] for w in taken]) / SECOND, times_s[:n], atol=1e-6
        )
        assert not any(w.lost_frames for w in taken)


@pytest.mark.parametrize("name", CARS)
def test_windows_by_time_partition_the_drive(name: str, shared_data: Path) -> None:
    most: dict[str, tuple[str, int]] = {}
    for signal, times_s, _ in expected(shared_data, name):
        message = signal.split(".")[0]
        most[message] = max(most.get(message, ("", 0)), (signal, len(times_s)), key=lambda m: m[1])
    signals = [signal for signal, n in most.values() if n > 100][:8]

    taken = windows(name, signals, {"seconds": 1})

    for one, other in pairwise(taken):
        assert one.stop_ns <= other.start_ns
    counts = {signal: len(times_s) for signal, times_s, _ in expected(shared_data, name)}
    for signal in signals:
        in_windows = sum(len(w[signal]) for w in taken)
        tail = sum(1 for t in last_times(shared_data, name, signal) if t >= taken[-1].stop_ns)
        assert in_windows + tail == counts[signal]


def last_times(shared_data: Path, name: str, wanted: str) -> np.ndarray:
    for signal, times_s, _ in expected(shared_data, name):
        if signal == wanted:
            return np.rint(times_s * SECOND)
    raise AssertionError(wanted)


@pytest.mark.parametrize(
    ("signal", "plain", "samples"),
    [
        ("1:EEC1@00.EngineSpeed", "EEC1.EngineSpeed", 100),
        ("1:CCVS1@47.WheelBasedVehicleSpeed", "CCVS1.WheelBasedVehicleSpeed", 40),
        ("1:EC1.EngineSpeedAtPoint5", "EC1.EngineSpeedAtPoint5", 13),
    ],
)
def test_the_tractor_is_read_by_source_address_and_over_transport(
    signal: str, plain: str, samples: int, shared_data: Path
) -> None:
    (times_s, values), *_ = [
        (times_s, values)
        for name, times_s, values in expected(shared_data, "johndeere")
        if name == plain
    ]
    taken = windows("johndeere", [signal], {"samples": samples})

    assert taken
    n = samples * len(taken)
    np.testing.assert_allclose(np.concatenate([w[signal] for w in taken]), values[:n])
    times_ns = np.concatenate([w.times[signal] for w in taken])
    np.testing.assert_allclose(times_ns / SECOND, times_s[:n], atol=1e-6)


def test_the_tesla_is_read_by_its_vss_paths(shared_data: Path) -> None:
    taken = windows("tesla", ["Vehicle.Speed"], {"seconds": 5}, rate_hz=10)

    assert {len(w["Vehicle.Speed"]) for w in taken} == {50}
    speeds = np.concatenate([w["Vehicle.Speed"] for w in taken])
    assert np.isfinite(speeds[1:]).all()
    assert np.nanmin(speeds) >= 0


def test_a_trigger_on_a_recorded_drive_gives_its_look_back(shared_data: Path) -> None:
    speeds = windows("tesla", ["Vehicle.Speed"], {"samples": 1000})
    threshold = float(np.median(np.concatenate([w["Vehicle.Speed"] for w in speeds])))
    when = {"condition": f"Vehicle.Speed > {threshold}", "before_s": 1, "after_s": 1}

    taken = windows("tesla", ["Vehicle.Speed"], {}, when=when)

    assert taken
    for window in taken:
        times, values = window.times["Vehicle.Speed"], window["Vehicle.Speed"]
        at = int(np.searchsorted(times, window.trigger_ns))
        assert values[at] > threshold
        assert at == 0 or values[at - 1] <= threshold
        assert window.stop_ns - window.start_ns == 2 * SECOND + 1


def test_gaps_of_the_kona_are_those_between_its_recorded_times(shared_data: Path) -> None:
    times_of: dict[str, np.ndarray] = {}
    for signal, times_s, _ in expected(shared_data, "kona"):
        message = signal.split(".")[0]  # the signal that is there most often has every frame
        if len(times_s) > len(times_of.get(message, ())):
            times_of[message] = times_s
    regular = {m: t for m, t in times_of.items() if len(t) > 1 and (np.diff(t) >= 0).all()}
    assert len(regular) > 30
    names = [f"@message.{message}.gap_ms" for message in regular]

    taken = windows("kona", names, {"seconds": 3.0})

    for message, times_s in regular.items():
        name = f"@message.{message}.gap_ms"
        found = np.concatenate([w.times[name] for w in taken]) / SECOND
        gaps = np.concatenate([w[name] for w in taken])
        inside = times_s[1:] < taken[-1].stop_ns / SECOND
        np.testing.assert_allclose(found, times_s[1:][inside], atol=1e-6, err_msg=message)
        np.testing.assert_allclose(gaps, np.diff(times_s)[inside] * 1000, atol=2e-3)
