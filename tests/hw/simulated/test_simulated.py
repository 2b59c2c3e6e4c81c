from pathlib import Path

import numpy as np
import pytest

from dbc import Decoder, load
from hw import (
    MODELS,
    SimulatedDrive,
    SpeedTable,
    model_databases,
    model_mapping,
    read_log,
    simulate,
    write_candump,
)
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import EXTENDED, FD, FrameBatch

S = 1_000_000_000
BOTH = sorted(MODELS)


def frames_of(drive: SimulatedDrive) -> FrameBatch:
    return FrameBatch.concatenate(list(drive))


def decoder_of(model: str) -> Decoder:
    catalog = load(model_databases(model), mapping=model_mapping(model))
    return Decoder(catalog, tuple(MODELS[model].databases))


def vss_of(model: str, frames: FrameBatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return times in s and values of every VSS path that the model maps."""
    decoder = decoder_of(model)
    found = decoder.match(frames)
    values = {}
    for info in decoder.catalog.signals():
        if not info.vss:
            continue
        ref = decoder.catalog.resolve(info.name)
        rows = found == ref.message
        column = decoder.decode(ref.message, frames.data[rows], frames.length[rows], [ref.column])
        value = column[:, 0] if ref.transform is None else ref.transform.apply(column[:, 0])
        there = ~np.isnan(value)
        values[info.name] = (frames.time_ns[rows][there] / S, value[there])
    return values


@pytest.mark.parametrize("model", BOTH)
def test_a_seed_gives_the_same_frames_to_the_bit(model: str) -> None:
    once, again = frames_of(simulate(model, 7, 25)), frames_of(simulate(model, 7, 25))
    other = frames_of(simulate(model, 8, 25))

    for column in ("time_ns", "bus", "can_id", "flags", "length", "data"):
        assert (getattr(once, column) == getattr(again, column)).all()
    assert len(other) != len(once) or (other.data != once.data).any()


@pytest.mark.parametrize("model", BOTH)
def test_a_drive_cut_short_is_the_beginning_of_the_longer_one(model: str) -> None:
    short, long = frames_of(simulate(model, 7, 12.5)), frames_of(simulate(model, 7, 40))

    assert short.time_ns[-1] < 12.5 * S
    assert (long.time_ns[: len(short)] == short.time_ns).all()
    assert (long.data[: len(short)] == short.data).all()
    assert long.time_ns[len(short)] >= 12.5 * S


@pytest.mark.parametrize("model", BOTH)
def test_every_frame_is_known_whole_and_in_time_order(model: str) -> None:
    frames = frames_of(simulate(model, 3, 60))
    decoder = decoder_of(model)
    decoder.decode_batch(frames)
    stats = decoder.stats()

    assert (np.diff(frames.time_ns) >= 0).all()
    assert stats.unmatched_frames == 0
    assert len(stats.messages) == len(decoder.messages)
    for counts in stats.messages.values():
        assert counts.short_frames == counts.long_frames == counts.unknown_switch_frames == 0


@pytest.mark.parametrize("model", BOTH)
def test_every_message_keeps_its_cycle_across_chunks(model: str) -> None:
    frames = frames_of(simulate(model, 3, 60))
    decoder = decoder_of(model)
    found = decoder.match(frames)
    for index, message in enumerate(decoder.messages):
        assert message.cycle_time_ms is not None
        times = frames.time_ns[found == index]
        assert len(times) == 60_000 / message.cycle_time_ms
        gaps_ms = np.diff(times) / 1e6
        assert abs(gaps_ms - message.cycle_time_ms).max() < 0.2


def test_models_send_different_frames_of_every_kind() -> None:
    compact, wagon = (frames_of(simulate(model, 7, 10)) for model in BOTH)

    ids = [set(zip(f.can_id.tolist(), f.bus.tolist(), strict=True)) for f in (compact, wagon)]
    assert not ids[0] & ids[1] - {(0x130, 0), (0x130, 1)}
    for frames in (compact, wagon):
        assert set(frames.bus.tolist()) == {0, 1}
        kinds = set((frames.flags & (EXTENDED | FD)).tolist())
        assert {0, EXTENDED, FD & 0xFF} <= {k & ~16 for k in kinds}
        assert frames.length.max() == 64


TOLERANCES = {  # half the coarser model's step, and a little
    "Vehicle.Powertrain.FuelSystem.RelativeLevel": 0.21,
    "Vehicle.Exterior.AirTemperature": 0.26,
    "Vehicle.Cabin.HVAC.AmbientAirTemperature": 0.26,
    "Vehicle.CurrentLocation.Latitude": 1e-6,
    "Vehicle.CurrentLocation.Longitude": 1e-6,
}


def test_both_models_tell_of_the_same_drive_under_the_same_names() -> None:
    compact, wagon = (vss_of(model, frames_of(simulate(model, 7, 300))) for model in BOTH)
    assert compact.keys() == wagon.keys()
    assert len(compact) >= 13

    for path, (times, values) in compact.items():
        other_times, others = wagon[path]
        expected = np.interp(times, other_times, others)
        off = abs(values - expected)
        scale = max(np.ptp(values), 1.0)
        # Steps of codes fall between two samples: nearly all agree, the rest is such a moment.
        tolerance = TOLERANCES.get(path, 0.03 * scale)
        assert np.quantile(off, 0.98) <= tolerance, path


@pytest.mark.parametrize("model", BOTH)
def test_counters_count_and_checksums_hold_across_chunks(model: str) -> None:
    frames = frames_of(simulate(model, 3, 35))
    decoder = decoder_of(model)
    found = decoder.match(frames)
    checked = 0
    for index, message in enumerate(decoder.messages):
        rows = found == index
        data = frames.data[rows][:, : message.length]
        for column, signal in enumerate(message.signals):
            if signal.role == "counter":
                values = decoder.decode(index, data, frames.length[rows], [column])[:, 0]
                steps = np.diff(values) % (1 << signal.length)
                assert (steps == 1).all(), signal.name
            elif signal.role:
                rest = np.delete(data, signal.first_byte, axis=1).astype(int)
                join = np.bitwise_xor if signal.role == "xor8" else np.add
                expected = join.reduce(rest, axis=1) % 256
                assert (data[:, signal.first_byte] == expected).all(), signal.name
                checked += 1
    assert checked >= 2


@pytest.mark.parametrize("model", BOTH)
def test_a_speed_table_is_driven_to_its_end(model: str) -> None:
    table = SpeedTable(np.array([0.0, 10.0, 25.0, 31.0]), np.array([0.0, 20.0, 20.0, 0.0]))
    frames = frames_of(SimulatedDrive(model, seed=1, speed_table=table))
    times, kmh = vss_of(model, frames)["Vehicle.Speed"]

    assert 30.9 < times[-1] < 31
    assert kmh == pytest.approx(table.speeds(times) * 3.6, abs=0.2)


def test_a_simulated_drive_survives_being_written_as_a_log(tmp_path: Path) -> None:
    drive = simulate("wagon", 5, 20)
    path = tmp_path / "drive.log.gz"

    written = write_candump(path, drive, drive.channels)
    log = read_log(path)
    again, frames = FrameBatch.concatenate(list(log)), frames_of(drive)

    assert written == len(frames) == len(again)
    assert (again.time_ns == frames.time_ns).all()
    assert (again.data == frames.data).all()
    assert (again.flags == frames.flags).all()
    assert [log.channels[b] for b in again.bus] == [drive.channels[b] for b in frames.bus]


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"no simulated model 'compacd'.*compact"):
        simulate("compacd", 1, 10)
