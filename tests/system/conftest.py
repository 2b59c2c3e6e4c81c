"""Worlds to ask: real clouds and agents as processes, and what their cars drove, to check against.

A world is started once a session. Its oracle decodes the same source again, offline and at full
speed, so that a test can say exactly which samples a window held.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from agent.signals.offline import run_on_log
from agent.signals.profile import load_profile
from hw.config import ReplayConfig, SimulatedConfig, open_source
from hw.source import SourceEnded
from tests.system.doctor import Doctor
from user_lib.contract.frames import FrameBatch
from user_lib.contract.validation import parse
from user_lib.contract.window import Window
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated
from user_lib.fleet import Fleet
from user_lib.results import VehicleResult

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
START_NS = 1_700_000_000_000_000_000
RECORDED_SPEED = 6.0


@dataclass
class Series:
    """Samples of one signal of one vehicle."""

    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


class Drive:
    """What one vehicle's source brings, decoded offline and only as far as somebody asked."""

    def __init__(self, vehicle: LocalVehicle, signals: tuple[str, ...]) -> None:
        profile = load_profile(vehicle.profile)
        (written,) = vehicle.sources
        config = msgspec.convert(dict(written), SimulatedConfig | ReplayConfig)
        source = open_source(msgspec.structs.replace(config, speed="max"))
        plain = {"signals": signals, "window": {"seconds": 1}, "onboard": "collect"}
        self._windows = run_on_log(
            parse(plain), profile.load_catalog(), _frames(source), source.channels
        )
        self._known_ns = 0
        self._parts: dict[str, list[Series]] = {signal: [] for signal in signals}

    def between(self, signal: str, start_ns: int, stop_ns: int) -> Series:
        while self._known_ns < stop_ns:
            window = next(self._windows)
            self._known_ns = window.stop_ns
            for name, parts in self._parts.items():
                parts.append(Series(window.times[name], window[name]))
        parts = self._parts[signal]
        whole = Series(
            np.concatenate([p.times_ns for p in parts]), np.concatenate([p.values for p in parts])
        )
        first, last = np.searchsorted(whole.times_ns, [start_ns, stop_ns])
        return Series(whole.times_ns[first:last], whole.values[first:last])


def _frames(source: Any) -> Iterator[FrameBatch]:
    with contextlib.suppress(SourceEnded):
        while True:
            yield source.read(1.0)


@dataclass
class World:
    """A running fleet, the signal that all its vehicles have, and what they drove."""

    local: LocalFleet
    fleet: Fleet
    above: float
    """A threshold that some samples exceed, and some do not."""
    signals: dict[str, tuple[str, ...]]
    """What the oracle decodes, by profile."""
    signal: str = "Vehicle.Speed"
    _drives: dict[str, Drive] = field(default_factory=dict)

    @property
    def vehicles(self) -> list[str]:
        return sorted(self.local.vehicles)

    def window_of(self, result: VehicleResult, signal: str = "") -> Series:
        """Return the samples that the result's window must have held."""
        receipt = result.receipt
        assert receipt.lost_frames == 0, receipt
        if result.vehicle not in self._drives:
            vehicle = self.local.vehicles[result.vehicle]
            profile = Path(vehicle.profile).stem
            self._drives[result.vehicle] = Drive(vehicle, self.signals[profile])
        drive = self._drives[result.vehicle]
        return drive.between(signal or self.signal, receipt.window_start_ns, receipt.window_stop_ns)

    def whole_window_of(self, result: VehicleResult, signals: Sequence[str]) -> Window:
        """Return the result's window as the vehicle must have built it."""
        receipt = result.receipt
        series = {signal: self.window_of(result, signal) for signal in signals}
        return Window(
            {signal: one.values for signal, one in series.items()},
            {signal: one.times_ns for signal, one in series.items()},
            receipt.window_start_ns,
            receipt.window_stop_ns,
        )


def _world(
    folder: Path,
    vehicles: Sequence[LocalVehicle],
    above: float,
    signals: dict[str, tuple[str, ...]],
) -> Iterator[World]:
    with LocalFleet(folder, vehicles) as local:
        local.start()
        with local.connect("tester") as fleet:
            local.wait_online(fleet)
            yield World(local, fleet, above, signals)


@pytest.fixture(scope="session")
def simulated_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    vehicles = [
        simulated("compact-1", "compact", seed=11, speed=8.0),
        simulated("wagon-1", "wagon", seed=12, speed=8.0),
        simulated("wagon-2", "wagon", seed=13, speed=8.0),
    ]
    fixed = [
        LocalVehicle(v.vehicle_id, v.profile, [{**v.sources[0], "start_ns": START_NS}])
        for v in vehicles
    ]
    yield from _world(tmp_path_factory.mktemp("simulated"), fixed, 40.0, SIMULATED_SIGNALS)


DRIVEN = (
    "Vehicle.Speed",
    "Vehicle.Powertrain.CombustionEngine.Speed",
    "Vehicle.Powertrain.Transmission.CurrentGear",
)
SIMULATED_SIGNALS = {"compact": DRIVEN, "wagon": DRIVEN}

TESLA = {
    "model": "model3",
    "channels": {"vcan0": {"databases": ["dbc/tesla_model3.dbc"]}},
    "mapping": "tesla.vspec",
    "tags": {"make": "tesla"},
}
TESLA_VSPEC = {
    "Vehicle.Speed": "ID257DIspeed.DI_vehicleSpeed",
    "Vehicle.Chassis.Accelerator.PedalPosition": "ID118DriveSystemStatus.DI_accelPedalPos",
    "Vehicle.Powertrain.ElectricMotor.Power": "ID266RearInverterPower.RearPower266",
}
SEAT = {
    "model": "seat",
    "channels": {"2": {"databases": ["dbc/css_canmod_gps.dbc"]}},
    "mapping": "seat.vspec",
    "tags": {"make": "seat"},
}
SEAT_VSPEC = {"Vehicle.Speed": "gnss_speed.Speed"}
RECORDED_SIGNALS = {"tesla": tuple(TESLA_VSPEC), "seat": tuple(SEAT_VSPEC)}
TO_KM_H = {"Vehicle.Speed": {"math": "x * 3.6"}}


def _profile(
    folder: Path, name: str, profile: dict[str, Any], vspec: dict[str, str], math: dict[str, Any]
) -> str:
    """Write a profile and its mapping of recorded data; returns its path."""
    entries = {
        path: {
            "type": "sensor",
            "datatype": "float",
            "dbc2vss": {
                "signal": signal,
                **({"transform": math[path]} if path in math else {}),
            },
        }
        for path, signal in vspec.items()
    }
    (folder / f"{name}.vspec").write_text(yaml.safe_dump(entries))
    channels = {
        channel: {"databases": [str(SHARED / file) for file in one["databases"]]}
        for channel, one in profile["channels"].items()
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**profile, "channels": channels}))
    return str(path)


@pytest.fixture(scope="session")
def recorded_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two makes, recorded by others, mapped to the same names; the Tesla's drive twice."""
    logs = SHARED / "logs"
    if not logs.exists():
        pytest.skip(f"no recorded drives at {logs}")
    pytest.importorskip("asammdf")
    folder = tmp_path_factory.mktemp("recorded")
    tesla = _profile(folder, "tesla", TESLA, TESLA_VSPEC, {})
    seat = _profile(folder, "seat", SEAT, SEAT_VSPEC, TO_KM_H)
    tesla_log = str(logs / "tesla_m3_drive.candump.log")
    seat_log = str(logs / "seat_obd2_gps.MF4")
    vehicles = [
        LocalVehicle("tesla-1", tesla, [_looped(tesla_log)]),
        LocalVehicle("tesla-2", tesla, [_looped(tesla_log)]),
        LocalVehicle("seat-1", seat, [_looped(seat_log)]),
    ]
    yield from _world(folder, vehicles, 90.0, RECORDED_SIGNALS)


def _looped(log: str) -> dict[str, Any]:
    return {"kind": "replay", "log": log, "speed": RECORDED_SPEED, "loop": True}


@pytest.fixture(params=["simulated", "recorded"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found


@pytest.fixture
def doctor(
    local: LocalFleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Doctor:
    """Ask `oodida doctor` of the fleet that the test's module starts as ``local``."""
    for name, value in local.environ("tester").items():
        monkeypatch.setenv(name, value)
    return Doctor(capfd)
