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
    (mapped,) = parse_mapping(text.encode(), "test.vspec").signals
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


@pytest.mark.parametrize("text", ["- a", "A: [", "{", "3", ""])
def test_what_is_no_mapping_is_refused_by_name(text: str) -> None:
    with pytest.raises(DatabaseError, match=r"^bad\.vspec is not a mapping: \S"):
        parse_mapping(text.encode(), "bad.vspec")


SOUND = "Sound:\n  dbc2vss: {signal: S}\n"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{sigal: X}", "needs 'signal"),
        ("{signal: 3}", "needs 'signal"),
        ("[X]", "needs 'signal"),
        ("{signal: X, transform: {math: 'y+1'}}", "reads 'y'"),
        ("{signal: X, transform: {math: '__import__(1)'}}", "no function"),
        ("{signal: X, transform: {math: 'x + \"a\"'}}", "cannot be computed"),
        ("{signal: X, transform: {math: 'r\"x\"'}}", "gives no number"),
        ("{signal: X, transform: {mapping: [{from: 1}]}}", "needs a list"),
        ("{signal: X, transform: {mapping: [{from: 1, to: [2]}]}}", "is no number"),
        ("{signal: X, transform: {mapping: [{from: 1, to: 1" + 40 * "0" + "}]}}", "64 bits"),
        ("{signal: X, transform: {maths: '1'}}", "either 'math' or 'mapping'"),
        ("{signal: X, transform: {math: x, mapping: []}}", "either 'math' or 'mapping'"),
        ("{signal: X, transform: [1]}", "expected 'math' or 'mapping'"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line_and_costs_itself_only(entry: str, words: str) -> None:
    parsed = parse_mapping(f"{SOUND}A.Bad:\n  dbc2vss: {entry}\n".encode(), "bad.vspec")

    assert [mapped.path for mapped in parsed.signals] == ["Sound"]
    *_, repair = parsed.repairs
    assert str(repair).startswith("bad.vspec:3: A.Bad: ")
    assert words in repair.what
    assert repair.what.endswith("; dropped")


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("interval: 3", "unknown key 'interval'; did you mean interval_ms?"),
        ("interval_ms: soon", "interval_ms is 'soon'; expected a number"),
        ("interval_ms: -1", "interval_ms is -1"),
        ("on_change: maybe", "on_change is 'maybe'; expected true or false"),
    ],
)
def test_a_wrong_detail_is_ignored_and_named(rest: str, words: str) -> None:
    parsed = parse_mapping(f"A:\n  dbc2vss: {{signal: X, {rest}}}".encode(), "bad.vspec")

    (mapped,), (repair,) = parsed.signals, parsed.repairs
    assert (mapped.signal, mapped.interval_ms, mapped.on_change) == ("X", None, None)
    assert str(repair).startswith(f"bad.vspec:1: A: {words}")
    assert repair.what.endswith("; ignored")


def test_strict_refuses_a_wrong_entry(demo_files: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "bad.vspec"
    mapping.write_text("A:\n  dbc2vss: {sigal: X}\n")

    with pytest.raises(DatabaseError, match=r"bad\.vspec:1: A: "):
        load([DatabaseRef(demo_files / "compact_powertrain.dbc")], mapping=mapping, strict=True)


def test_the_older_name_and_nested_trees_are_read_and_the_way_to_the_bus_is_not() -> None:
    tree = {
        "Vehicle": {
            "type": "branch",
            "children": {
                "Speed": {"type": "sensor", "dbc": {"signal": "S", "interval_ms": 100}},
                "Light": {"type": "actuator", "vss2dbc": {"signal": "L"}},
                "Horn": {
                    "type": "actuator",
                    "dbc2vss": {"signal": "H"},
                    "vss2dbc": {"signal": "H"},
                },
            },
        }
    }

    parsed = parse_mapping(json.dumps(tree).encode(), "tree.json")

    assert [(m.path, m.signal) for m in parsed.signals] == [
        ("Vehicle.Speed", "S"),
        ("Vehicle.Horn", "H"),
    ]
    assert parsed.to_bus == ("Vehicle.Light", "Vehicle.Horn")
    assert parsed.repairs == ()


def test_paths_that_are_mapped_onto_the_bus_are_told_of(
    demo_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = tmp_path / "both.vspec"
    mapping.write_text("Vehicle.Light:\n  vss2dbc: {signal: L}\n")

    load([DatabaseRef(demo_files / "compact_powertrain.dbc")], mapping=mapping, strict=True)

    assert "vss2dbc of 1 paths is ignored" in caplog.text
    assert "Vehicle.Light" in caplog.text


def test_of_two_rows_for_one_value_the_first_counts() -> None:
    transform = transform_of(
        "      mapping:\n        - {from: D, to: 1}\n        - {from: 4, to: 2}"
    )

    assert transform.apply(np.array([4.0])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("math", "wanted"),
    [
        ("if(x > 2, x * 10, -x)", [-1.0, 40.0]),
        ("2 * PI * x", [2 * np.pi, 8 * np.pi]),
        ("pow(x, 2) + x^2", [2.0, 32.0]),
        ("atan2(x, 1) - atan(x)", [0.0, 0.0]),
        ("log(E^x)", [1.0, 4.0]),
        ("x % 3", [1.0, 1.0]),
        ("(x > 2) + 0", [0.0, 1.0]),
    ],
)
def test_the_arithmetic_of_kuksa(math: str, wanted: list[float]) -> None:
    transform = transform_of(f'      math: "{math}"')

    np.testing.assert_allclose(transform.apply(np.array([1.0, 4.0])), wanted, rtol=1e-12)


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
