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
from user_lib.contract.assignment import parse
from user_lib.contract.frames import FrameBatch
from user_lib.contract.window import Window
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated
from user_lib.fleet import Fleet
from user_lib.results import VehicleResult

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
START_NS = 1_700_000_000_000_000_000
RECORDED_SPEED = 6.0
AHEAD_NS = 300_000_000_000


@dataclass
class Series:
    """One signal of one vehicle, as far as it was decoded."""

    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]

    def between(self, start_ns: int, stop_ns: int) -> "Series":
        first, last = np.searchsorted(self.times_ns, [start_ns, stop_ns])
        return Series(self.times_ns[first:last], self.values[first:last])


@dataclass
class World:
    """A running fleet, the signal that all its vehicles have, and what they drove."""

    local: LocalFleet
    fleet: Fleet
    above: float
    """A threshold that some samples exceed, and some do not."""
    signal: str = "Vehicle.Speed"
    _known: dict[tuple[str, str], Series] = field(default_factory=dict)

    @property
    def vehicles(self) -> list[str]:
        return sorted(self.local.vehicles)

    def drove(self, vehicle_id: str, signal: str, stop_ns: int) -> Series:
        known = self._known.get((vehicle_id, signal))
        if known is None or known.times_ns[-1] < stop_ns:
            known = _decode(self.local.vehicles[vehicle_id], signal, stop_ns + AHEAD_NS)
            self._known[vehicle_id, signal] = known
        return known

    def window_of(self, result: VehicleResult, signal: str = "") -> Series:
        """Return the samples that the result's window must have held."""
        receipt = result.receipt
        assert receipt.lost_frames == 0, receipt
        drove = self.drove(result.vehicle, signal or self.signal, receipt.window_stop_ns)
        return drove.between(receipt.window_start_ns, receipt.window_stop_ns)

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


def _decode(vehicle: LocalVehicle, signal: str, stop_ns: int) -> Series:
    """Decode a vehicle's source anew; the windows of a second are put together again."""
    profile = load_profile(vehicle.profile)
    (written,) = vehicle.sources
    config = msgspec.convert(dict(written), SimulatedConfig | ReplayConfig)
    config = msgspec.structs.replace(config, speed="max")
    source = open_source(config)
    spec = parse({"signals": [signal], "window": {"seconds": 1}, "onboard": "collect"})
    catalog = profile.load_catalog()
    windows = list(run_on_log(spec, catalog, _frames(source, stop_ns), source.channels))
    source.close()
    return Series(
        np.concatenate([w.times[signal] for w in windows]),
        np.concatenate([w[signal] for w in windows]),
    )


def _frames(source: Any, stop_ns: int) -> Iterator[FrameBatch]:
    """Yield frames until well after ``stop_ns``, so that a window that ends there is known."""
    latest_ns = 0
    with contextlib.suppress(SourceEnded):
        while latest_ns <= stop_ns:
            batch = source.read(1.0)
            latest_ns = int(batch.time_ns[-1]) if len(batch) else latest_ns
            yield batch


def _world(folder: Path, vehicles: Sequence[LocalVehicle], above: float) -> Iterator[World]:
    with LocalFleet(folder, vehicles) as local:
        local.start()
        with local.connect("tester") as fleet:
            local.wait_online(fleet)
            yield World(local, fleet, above)


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
    yield from _world(tmp_path_factory.mktemp("simulated"), fixed, above=40.0)


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
    yield from _world(folder, vehicles, above=90.0)


def _looped(log: str) -> dict[str, Any]:
    return {"kind": "replay", "log": log, "speed": RECORDED_SPEED, "loop": True}


@pytest.fixture(params=["simulated", "recorded"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found
