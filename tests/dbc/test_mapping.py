import json
from pathlib import Path

import numpy as np
import pytest

from dbc import DatabaseRef, Decoder, Transform, load
from dbc.mapping import parse_mapping
from dbc.model import SignalDef
from user_lib.contract.errors import DatabaseError
from user_lib.contract.frames import FrameBatch

GEAR = SignalDef(name="Gear", start=0, length=4, choices={0: "P", 1: "R", 4: "D", 7: "On"})


def transform_of(lines: str, signal: SignalDef = GEAR) -> Transform:
    text = f"A.B:\n  datatype: int8\n  dbc2vss:\n    signal: Gear\n    transform:\n{lines}"
    (mapped,) = parse_mapping(text.encode(), "test.vspec")
    transform = mapped.transform(signal)
    assert transform is not None
    return transform


def test_math_is_applied_to_every_value() -> None:
    transform = transform_of('      math: "floor(abs(x/5))"')

    assert transform.apply(np.array([-11.0, 4.0, np.nan])).tolist()[:2] == [2.0, 0.0]
    assert np.isnan(transform.apply(np.array([np.nan]))[0])


def test_a_caret_is_a_power_as_in_kuksa() -> None:
    assert transform_of('      math: "x^2"').apply(np.array([3.0])).tolist() == [9.0]


def test_a_constant_fills_the_shape() -> None:
    assert transform_of('      math: "7"').apply(np.zeros(3)).tolist() == [7.0] * 3


def test_a_table_maps_names_and_numbers_and_nothing_else() -> None:
    lines = "      mapping:\n        - {from: D, to: 1}\n        - {from: R, to: -1}\n"
    transform = transform_of(lines + "        - {from: 9, to: 2.5}")

    got = transform.apply(np.array([4.0, 1.0, 9.0, 0.0, np.nan]))

    assert got[:3].tolist() == [1.0, -1.0, 2.5]
    assert np.isnan(got[3:]).all()


def test_booleans_become_numbers_and_strings_become_choices() -> None:
    flags = transform_of(
        "      mapping:\n        - {from: On, to: true}\n        - {from: P, to: false}"
    )
    words = transform_of(
        "      mapping:\n        - {from: P, to: PARKED}\n        - {from: D, to: GOING}"
    )

    assert flags.apply(np.array([7.0, 0.0])).tolist() == [1.0, 0.0]
    assert words.apply(np.array([4.0, 0.0])).tolist() == [1.0, 0.0]
    assert words.choices == {0: "PARKED", 1: "GOING"}


def test_choice_names_follow_the_scale_of_the_signal() -> None:
    scaled = SignalDef(name="Gear", start=0, length=4, scale=0.5, offset=-1, choices={4: "D"})

    transform = transform_of("      mapping:\n        - {from: D, to: 1}", scaled)

    assert transform.apply(np.array([1.0])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "not a mapping"),
        ("A: [", "not a mapping"),
        ("A:\n  dbc2vss: {sigal: X}", "needs 'signal"),
        ("A:\n  dbc2vss: {signal: X, interval: 3}", "did you mean interval_ms"),
        ("A:\n  dbc2vss: {signal: X, interval_ms: soon}", "interval_ms is 'soon'"),
        ("A:\n  dbc2vss: {signal: X, transform: {math: 'y+1'}}", "reads 'y'"),
        ("A:\n  dbc2vss: {signal: X, transform: {math: '__import__(1)'}}", "no function"),
        ("A:\n  dbc2vss: {signal: X, transform: {mapping: [{from: 1}]}}", "needs a list"),
        ("A:\n  dbc2vss: {signal: X, transform: {maths: '1'}}", "did you mean math"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(DatabaseError, match=r"bad\.vspec") as caught:
        parse_mapping(text.encode(), "bad.vspec")
    assert words in str(caught.value)


def test_a_row_for_an_unknown_value_is_named(demo_files: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "typo.vspec"
    text = (demo_files / "compact.vspec").read_text()
    mapping.write_text(text.replace('from: "On"', 'from: "Onn"'))

    catalog = load([DatabaseRef(demo_files / "compact_powertrain.dbc")], mapping=mapping)

    assert any("no value named 'Onn'" in repair.what for repair in catalog.repairs)


def test_paths_without_a_signal_are_listed(demo_files: Path) -> None:
    catalog = load(
        [DatabaseRef(demo_files / "compact_powertrain.dbc")], mapping=demo_files / "compact.vspec"
    )

    assert "Vehicle.CurrentLocation.Latitude" in catalog.unmapped
    assert "Vehicle.Speed" not in catalog.unmapped


def tesla_frames(path: Path) -> FrameBatch:
    lines = path.read_text().split("\n")
    frames = [line.split() for line in lines if line]
    batch = FrameBatch.zeros(len(frames))
    for row, (_, _, frame) in enumerate(frames):
        can_id, _, payload = frame.partition("#")
        content = bytes.fromhex(payload)
        batch.can_id[row], batch.length[row] = int(can_id, 16), len(content)
        batch.data[row, : len(content)] = np.frombuffer(content, np.uint8)
    return batch


@pytest.mark.parametrize("mapping", ["kuksa_dbc2vss.vspec", "kuksa_vss_4.0.json"])
def test_vss_values_of_a_recorded_drive(shared: Path, mapping: str) -> None:
    refs = [DatabaseRef(shared / "dbc/tesla_model3.dbc")]
    catalog = load(refs, mapping=shared / "mapping" / mapping)
    decoder = Decoder(catalog, ["vcan0"])
    decoded = {
        d.message: d
        for d in decoder.decode_batch(tesla_frames(shared / "logs/tesla_m3_drive.candump.log"))
    }

    for expected in json.loads((shared / "expected/vss_tesla_m3_drive.json").read_text()):
        ref = decoder.catalog.resolve(expected["path"])
        values = decoded[ref.message].values[:, ref.column]
        if ref.transform is not None:
            values = ref.transform.apply(values)
        assert np.count_nonzero(np.isnan(values)) == expected["unmapped"]
        assert len(values) == expected["frames"]
        assert (values[0], values[-1]) == (float(expected["first"]), float(expected["last"]))
        if expected["min"] is not None:
            assert (values.min(), values.max()) == (expected["min"], expected["max"])
