from pathlib import Path
from typing import Any

import can
import msgspec
import pytest

from hw import CanConfig, ReplayConfig, SimulatedConfig, Source, SourceConfig, open_source
from hw.source import SourceEnded
from user_lib.contract.errors import SourceError

S = 1_000_000_000


def config(**entries: Any) -> SourceConfig:
    return msgspec.convert(entries, SourceConfig)


def test_entries_are_told_apart_by_kind() -> None:
    assert isinstance(config(kind="can", interface="virtual", channel="x"), CanConfig)
    assert isinstance(config(kind="replay", log="a.log", speed=10), ReplayConfig)
    assert isinstance(config(kind="simulated", model="wagon", speed="max"), SimulatedConfig)


@pytest.mark.parametrize(
    "entries",
    [
        {"kind": "radio"},
        {"kind": "can", "interface": "virtual"},
        {"kind": "replay", "log": "a.log", "sped": 2},
        {"kind": "replay", "log": "a.log", "speed": 0},
        {"kind": "replay", "log": "a.log", "speed": "fast"},
        {"kind": "simulated", "model": "compact", "duration_s": -1},
        {"kind": "can", "interface": "virtual", "channel": "x", "capacity_frames": 1},
    ],
)
def test_mistakes_in_an_entry_are_refused(entries: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        config(**entries)


def test_an_interface_is_opened_under_its_name() -> None:
    source = open_source(config(kind="can", interface="virtual", channel="hw-cfg", name="can0"))
    try:
        assert isinstance(source, Source)
        assert source.channels == ("can0",)
        with can.Bus(interface="virtual", channel="hw-cfg", ignore_config=True) as bus:
            bus.send(can.Message(arbitration_id=7))
            batch = source.read(30)
        assert batch.can_id.tolist() == [7]
    finally:
        source.close()


def test_a_replay_renames_channels(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.000000) vcan0 118#00\n")
    source = open_source(
        config(kind="replay", log=str(path), speed="max", channels={"vcan0": "can0"})
    )

    assert source.channels == ("can0",)
    assert len(source.read(0)) == 1
    with pytest.raises(SourceEnded):
        source.read(0)


def test_a_missing_log_or_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.log"):
        open_source(config(kind="replay", log=str(tmp_path / "none.log")))
    table = str(tmp_path / "none.csv")
    with pytest.raises(SourceError, match=r"none\.csv"):
        open_source(config(kind="simulated", model="compact", speed_table=table))


def test_a_live_simulated_car_begins_now_and_keeps_the_clocks_pace(clock: Any) -> None:
    source = open_source(config(kind="simulated", model="compact", seed=7), clock=clock)
    assert source.live
    first = source.read(0)
    clock.advance(3.0)
    more = source.read(0)

    assert first.time_ns[0] - clock.wall_ns + 3 * S < S
    assert 2.9 * S < more.time_ns[-1] - first.time_ns[0] < 3.1 * S
    assert len(more) > 900


def test_a_simulated_car_at_full_speed_repeats_its_times(clock: Any) -> None:
    entries = {"kind": "simulated", "model": "wagon", "speed": "max", "duration_s": 12}
    once, again = (open_source(config(**entries), clock=clock).read(0) for _ in range(2))

    assert (once.time_ns == again.time_ns).all()
    assert once.time_ns[0] >= 1_704_067_200 * S


def test_a_simulated_drive_ends_or_loops_as_told(clock: Any) -> None:
    entries = {"kind": "simulated", "model": "compact", "speed": "max", "duration_s": 10}
    source = open_source(config(**entries), clock=clock)
    source.read(0)
    with pytest.raises(SourceEnded):
        source.read(0)

    looping = open_source(config(**entries, loop=True), clock=clock)
    first, second = looping.read(0), looping.read(0)
    assert len(first) == len(second)
    assert second.time_ns[0] > first.time_ns[-1]
