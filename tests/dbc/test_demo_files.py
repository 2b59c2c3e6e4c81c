"""The databases of the demo cars are sound, and both cars have the same VSS paths."""

from pathlib import Path

import cantools
import pytest

from dbc import Catalog, DatabaseRef, load

CARS = {
    "compact": {"can0": "compact_powertrain.dbc", "can1": "compact_body.dbc"},
    "wagon": {"can0": "wagon_drive.dbc", "can1": "wagon_comfort.dbc"},
}
PATHS = (
    "Vehicle.Speed",
    "Vehicle.Powertrain.CombustionEngine.Speed",
    "Vehicle.Powertrain.CombustionEngine.ECT",
    "Vehicle.Powertrain.Transmission.CurrentGear",
    "Vehicle.Chassis.Accelerator.PedalPosition",
    "Vehicle.Chassis.Brake.PedalPosition",
    "Vehicle.Chassis.SteeringWheel.Angle",
    "Vehicle.CurrentLocation.Latitude",
    "Vehicle.CurrentLocation.Longitude",
    "Vehicle.CurrentLocation.Altitude",
    "Vehicle.CurrentLocation.Heading",
    "Vehicle.Cabin.HVAC.AmbientAirTemperature",
    "Vehicle.Exterior.AirTemperature",
    "Vehicle.LowVoltageBattery.CurrentVoltage",
)


def car(model: str, files: Path) -> Catalog:
    refs = [DatabaseRef(files / name, channel) for channel, name in CARS[model].items()]
    return load(refs, mapping=files / f"{model}.vspec", strict=True)


@pytest.mark.parametrize("model", CARS)
def test_a_demo_car_loads_without_repairs_and_maps_every_path(model: str, demo_files: Path) -> None:
    catalog = car(model, demo_files)

    assert catalog.repairs == ()
    assert catalog.unmapped == ()
    for path in PATHS:
        assert catalog.resolve(path).name == path
    assert all(m.cycle_time_ms for m in catalog.messages)


def test_both_demo_cars_have_the_same_paths_and_units(demo_files: Path) -> None:
    paths = [{s.name: s.unit for s in car(m, demo_files).signals() if s.vss} for m in CARS]

    assert paths[0] == paths[1]


@pytest.mark.parametrize("model", CARS)
def test_a_demo_car_has_what_a_real_one_has(model: str, demo_files: Path) -> None:
    messages = car(model, demo_files).messages
    signals = [s for m in messages for s in m.signals]

    assert {m.extended for m in messages} == {True, False}
    assert {s.big_endian for s in signals} == {True, False}
    assert any(s.is_switch for s in signals)
    assert any(m.fd and m.length == 64 for m in messages)
    assert {"counter", "xor8", "sum8"} <= {s.role for s in signals}


@pytest.mark.parametrize("name", [n for files in CARS.values() for n in files.values()])
def test_cantools_reads_the_demo_databases_alike(name: str, demo_files: Path) -> None:
    oracle = cantools.database.load_file(demo_files / name, strict=True)
    ours = {m.name: m for m in load([DatabaseRef(demo_files / name)]).messages}

    assert ours.keys() == {m.name for m in oracle.messages}
    for message in oracle.messages:
        mine = ours[message.name]
        assert (mine.can_id, mine.extended) == (message.frame_id, message.is_extended_frame)
        assert (mine.fd, mine.cycle_time_ms) == (message.is_fd, message.cycle_time)
        assert {s.name for s in mine.signals} == {s.name for s in message.signals}
