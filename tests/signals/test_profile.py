from pathlib import Path
from typing import Any

import pytest

from agent.signals import load_profile
from agent.signals.quality.frame_time import Bitrate
from hw import CanConfig, ReplayConfig, SimulatedConfig
from user_lib.contract.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, car: Any) -> Path:
    (tmp_path / "car.dbc").write_bytes(car.dbc.read_bytes())
    (tmp_path / "car.vspec").write_text(
        "Vehicle.Speed: {unit: km/h, dbc2vss: {signal: Motion.Speed}}\n"
    )
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


WHOLE = """
model: test-car
channels:
  can0: {databases: [car.dbc], source: {kind: can, interface: virtual, channel: vcan7}}
mapping: car.vspec
derived:
  Vehicle.Work: {expression: "Vehicle.Speed * Brake.Pressure", unit: kN}
sources:
  - {kind: replay, log: drives/one.log, loop: true}
  - {kind: simulated, model: compact, speed_table: table.csv}
tags: {fuel: petrol}
"""


def test_a_profile_is_read_with_its_files_beside_it(folder: Path) -> None:
    profile = load_profile(write(folder, "mine.yaml", WHOLE))

    assert (profile.name, profile.model, profile.tags) == ("mine", "test-car", {"fuel": "petrol"})
    assert profile.channels == ("can0",)
    replay, simulated, can = profile.sources
    assert replay == ReplayConfig(log=str(folder / "drives/one.log"), loop=True)
    assert simulated == SimulatedConfig(model="compact", speed_table=str(folder / "table.csv"))
    assert can == CanConfig(interface="virtual", channel="vcan7", name="can0")
    catalog = profile.load_catalog()
    assert catalog.resolve("Vehicle.Speed").unit == "km/h"


def test_a_name_is_looked_up_in_the_given_folders_first(folder: Path) -> None:
    write(folder, "compact.yaml", "model: other\nchannels: {can0: {databases: [car.dbc]}}\n")

    assert load_profile("compact", [folder]).model == "other"
    assert load_profile("compact").model == "compact"


def test_an_unknown_name_is_answered_with_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no profile 'compcat'; did you mean compact"):
        load_profile("compcat", [folder])


def test_a_path_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no profile at .*nowhere\.yaml"):
        load_profile(folder / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("chanels: {}\n", "chan"),
        (
            "channels: {can0: {databses: [car.dbc]}}\n",
            "did you mean databases",
        ),
        ("channels: {can0: {}}\n", "none has databases"),
        ("channels: {can0: {databases: [car.dbc], source: {kind: usb}}}\n", "kind"),
        ("channels: {can0: {databases: car.dbc}}\n", "databases"),
    ],
)
def test_mistakes_are_named(folder: Path, text: str, complaint: str) -> None:
    path = write(folder, "mine.yaml", text)

    with pytest.raises(ConfigError, match=complaint):
        load_profile(path)


@pytest.mark.parametrize("model", ["compact", "wagon"])
def test_the_packaged_profiles_name_the_same_signals(model: str) -> None:
    profile = load_profile(model)
    catalog = profile.load_catalog()

    assert not catalog.unmapped
    paths = {info.name for info in catalog.signals() if info.vss}
    other = load_profile("wagon" if model == "compact" else "compact").load_catalog()
    assert paths == {info.name for info in other.signals() if info.vss}
    assert profile.sources == (SimulatedConfig(model=model),)


SPEEDS = """
channels:
  can0: {databases: [car.dbc], bitrate: 250000}
  can1:
    databases: [car.dbc]
    bitrate: 250000
    data_bitrate: 5000000
    source: {kind: can, interface: virtual, channel: v, bitrate: 125000}
  can2: {databases: [car.dbc]}
"""


def test_the_speed_of_a_bus_is_as_its_interface_is_set_else_as_the_profile_says(
    folder: Path,
) -> None:
    profile = load_profile(write(folder, "speeds.yaml", SPEEDS))

    assert profile.bitrates == {
        "can0": Bitrate(250_000, 2_000_000),
        "can1": Bitrate(125_000, 5_000_000),
        "can2": Bitrate(500_000, 2_000_000),
    }
    set_otherwise = profile.heard_by(
        [CanConfig(interface="virtual", channel="can2", bitrate=1_000_000)]
    )
    assert set_otherwise.bitrates["can2"] == Bitrate(1_000_000, 2_000_000)
    assert set_otherwise.bitrates["can0"] == Bitrate(250_000, 2_000_000)


def test_a_bus_has_no_negative_speed(folder: Path) -> None:
    text = "channels: {can0: {databases: [car.dbc], bitrate: -1}}\n"

    with pytest.raises(ConfigError, match="bitrate"):
        load_profile(write(folder, "wrong.yaml", text))


def test_other_yaml_files_are_not_offered_as_profiles(folder: Path) -> None:
    write(folder, "agent.yaml", "profile: zzz\n")
    write(folder, "kona.yaml", "model: kona\nchannels: {can0: {databases: [car.dbc]}}\n")

    with pytest.raises(ConfigError, match="there are compact, kona, wagon"):
        load_profile("zzz", [folder])
