from pathlib import Path

import cantools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc import Catalog, DatabaseRef, Decoder, Encoder, load
from dbc.model import MessageDef, SignalDef
from user_lib.contract.errors import DatabaseError, UnknownSignal


def catalog_with(*signals: SignalDef, length: int = 8) -> Catalog:
    message = MessageDef(
        name="M", can_id=1, extended=False, length=length, signals=signals, channel="c"
    )
    return Catalog((message,))


def round_trip(catalog: Catalog, values: dict[str, object]) -> np.ndarray:
    payload = Encoder(catalog).encode("M", values)
    length = np.full(len(payload), payload.shape[1], np.uint8)
    return Decoder(catalog, ["c"]).decode(0, payload, length)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_is_encoded_decodes_to_the_nearest_step(data: st.DataObject) -> None:
    length = data.draw(st.sampled_from([1, 4, 8, 24, 64]))
    bits = data.draw(st.integers(1, min(52, 8 * length)))
    first = data.draw(st.integers(0, 8 * length - bits))
    big = data.draw(st.booleans())
    signal = SignalDef(
        name="S", start=8 * (first // 8) + 7 - first % 8 if big else first, length=bits,
        big_endian=big, signed=data.draw(st.booleans()),
        scale=data.draw(st.sampled_from([1.0, 0.25, -0.1])),
        offset=data.draw(st.sampled_from([0.0, -40.0])),
    )  # fmt: skip
    low = -(1 << (bits - 1)) if signal.signed else 0
    raw = data.draw(st.lists(st.integers(low, low + (1 << bits) - 1), min_size=1, max_size=5))
    values = np.array(raw, np.float64) * signal.scale + signal.offset

    got = round_trip(catalog_with(signal, length=length), {"S": values})[:, 0]

    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(
    ("signed", "bits", "low", "high"),
    [(False, 8, 0, 255), (True, 8, -128, 127), (False, 1, 0, 1), (True, 64, -(2.0**63), 2.0**63)],
)
def test_what_does_not_fit_is_held_at_the_limit(
    signed: bool, bits: int, low: float, high: float
) -> None:
    catalog = catalog_with(SignalDef(name="S", start=0, length=bits, signed=signed))

    got = round_trip(catalog, {"S": [-1e30, 1e30, -np.inf, np.inf, np.nan]})[:, 0]

    np.testing.assert_allclose(got, [low, high, low, high, 0], rtol=1e-15)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_floats_are_written_as_floats(bits: int) -> None:
    catalog = catalog_with(SignalDef(name="S", start=0, length=bits, is_float=True))

    got = round_trip(catalog, {"S": [1.5, -0.25, 0.0]})[:, 0]

    assert got.tolist() == [1.5, -0.25, 0.0]


def test_integers_keep_64_bits() -> None:
    catalog = catalog_with(SignalDef(name="S", start=7, length=64, big_endian=True))
    number = 2**64 - 12345

    payload = Encoder(catalog).encode("M", {"S": np.array([number], np.uint64)})

    assert int.from_bytes(payload.tobytes(), "big") == number


def test_only_the_chosen_page_is_written(demo_files: Path) -> None:
    catalog = load([DatabaseRef(demo_files / "compact_powertrain.dbc", "can0")])
    oracle = cantools.database.load_file(demo_files / "compact_powertrain.dbc")
    values = {
        "MonitorPage": [0, 1, 2],
        "IntakeAirTemperature": 25,
        "ManifoldPressure": 101.3,
        "RailPressure": 1200.5,
        "LambdaValue": 1.0,
        "KnockLevel": -3.5,
        "IgnitionAngle": 12.25,
    }

    payloads = Encoder(catalog).encode("EngineMonitor", values)

    decoded = [oracle.decode_message("EngineMonitor", p.tobytes()) for p in payloads]
    pages = (("IntakeAirTemperature", "ManifoldPressure"), ("RailPressure", "LambdaValue"))
    for page, names in enumerate((*pages, ("KnockLevel", "IgnitionAngle"))):
        assert decoded[page].keys() == {"MonitorPage", *names}
        for name in names:
            assert decoded[page][name] == pytest.approx(values[name])


def test_counters_count_on_and_checksums_are_right(demo_files: Path) -> None:
    catalog = load([DatabaseRef(demo_files / "compact_powertrain.dbc", "can0")])
    encoder = Encoder(catalog)
    payload = encoder.encode("EngineData", {"EngineSpeed": [800.0, 900.0, 1000.0]})

    protected = encoder.protect("EngineData", payload, first_count=15)

    assert (protected[:, 6] & 15).tolist() == [15, 0, 1]
    for row in protected:
        assert row[7] == np.bitwise_xor.reduce(row[:7])
    brakes = encoder.protect("Brakes", encoder.encode("Brakes", {"BrakePressure": [9.5]}))
    assert brakes[0, 5] == brakes[0, :5].sum() % 256


def test_an_unknown_signal_or_message_brings_the_nearest_name(demo_files: Path) -> None:
    encoder = Encoder(load([DatabaseRef(demo_files / "compact_powertrain.dbc", "can0")]))

    with pytest.raises(UnknownSignal, match="EngineSpeed"):
        encoder.encode("EngineData", {"EngineSped": [1]})
    with pytest.raises(DatabaseError, match="EngineData"):
        encoder.encode("EngineDat", {})


def test_a_message_of_two_channels_is_named_with_its_channel(demo_files: Path) -> None:
    catalog = load([DatabaseRef(demo_files / "wagon_drive.dbc")]).bind(["can0", "can1"])

    with pytest.raises(DatabaseError, match="can0:Tcu_State or can1:Tcu_State"):
        Encoder(catalog).encode("Tcu_State", {})
    assert Encoder(catalog).encode("can1:Tcu_State", {"Tcu_GearAct": [3]}).shape == (1, 3)
