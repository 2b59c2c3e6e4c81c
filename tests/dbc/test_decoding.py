"""Decoding against a bit-by-bit oracle of our own, and against cantools where it can."""

import gzip
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import cantools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc import Catalog, DatabaseRef, Decoder, load
from dbc.model import MessageDef, SignalDef
from dbc.parsing.dbcfile import parse_dbc
from user_lib.contract.errors import DatabaseError
from user_lib.contract.frames import EXTENDED, FD, REMOTE, FrameBatch

HEADER = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: A B\n\n'
FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}


def bits_of(signal: SignalDef, payload: bytes) -> int | None:
    """The raw bits, picked one by one; None beyond the payload."""
    raw = 0
    for i in range(signal.length):
        if signal.big_endian:
            byte, bit = divmod(signal.first_bit + i, 8)
            place, weight = 7 - bit, signal.length - 1 - i
        else:
            byte, place = divmod(signal.start + i, 8)
            weight = i
        if byte >= len(payload):
            return None
        raw |= ((payload[byte] >> place) & 1) << weight
    return raw


def number_of(signal: SignalDef, payload: bytes) -> int | float | None:
    raw = bits_of(signal, payload)
    if raw is None:
        return None
    if signal.is_float:
        kind = FLOATS[signal.length]
        return float(np.frombuffer(raw.to_bytes(signal.length // 8, "little"), kind)[0])
    return raw - (1 << signal.length) if signal.signed and raw >> (signal.length - 1) else raw


def value_of(message: MessageDef, signal: SignalDef, payload: bytes) -> float | None:
    """What a signal's value must be, by following the switches upwards."""
    if signal.multiplexed_by:
        switch = message.signals[message.columns[signal.multiplexed_by]]
        if value_of(message, switch, payload) is None:
            return None
        chosen = number_of(switch, payload)
        if not any(low <= chosen <= high for low, high in signal.multiplex_ids):
            return None
    number = number_of(signal, payload)
    return None if number is None else number * signal.scale + signal.offset


def same(ours: float, expected: float | None) -> bool:
    if expected is None:
        return math.isnan(ours)
    with np.errstate(all="ignore"):
        return (math.isnan(ours) and math.isnan(expected)) or ours == expected or (
            math.isclose(ours, expected, rel_tol=1e-15)
        )  # fmt: skip


def assert_decodes(message: MessageDef, payloads: list[bytes], stride: int) -> None:
    decoder = Decoder(Catalog((message,)), ["c"])
    batch = FrameBatch.zeros(len(payloads), stride)
    for row, payload in enumerate(payloads):
        batch.data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
        batch.length[row] = len(payload)
    batch.can_id[:], batch.flags[:] = message.can_id, EXTENDED * message.extended
    alone = decoder.decode(0, batch.data, batch.length)
    (together,) = decoder.decode_batch(batch)

    np.testing.assert_array_equal(alone, together.values)
    for row, payload in enumerate(payloads):
        for column, signal in enumerate(message.signals):
            expected = value_of(message, signal, payload)
            assert same(alone[row, column], expected), (signal, payload.hex(), expected)


@st.composite
def signals(draw: st.DrawFn, length: int, name: str) -> SignalDef:
    big = draw(st.booleans())
    is_float = draw(st.integers(0, 5)) == 0
    limit = min(64, 8 * length)
    if is_float:
        bits = draw(st.sampled_from([b for b in FLOATS if b <= limit] or [0]))
        is_float = bits > 0
    if not is_float:
        bits = draw(
            st.one_of(st.integers(1, limit), st.sampled_from([1, 8, min(53, limit), limit]))
        )
    first = draw(st.integers(0, 8 * length - bits))
    start = 8 * (first // 8) + 7 - first % 8 if big else first
    return SignalDef(
        name=name, start=start, length=bits, big_endian=big, signed=draw(st.booleans()),
        is_float=is_float, scale=draw(st.sampled_from([1.0, 1.0, 0.1, -2.0, 0.0625, 1e-7])),
        offset=draw(st.sampled_from([0.0, 0.0, -40.0, 0.3])),
    )  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> MessageDef:
    """Messages with fields anywhere, overlapping or not, and up to two levels of multiplexing."""
    length = draw(st.sampled_from([1, 2, 3, 7, 8, 8, 12, 20, 64]))
    made = [draw(signals(length, f"S{i}")) for i in range(draw(st.integers(1, 9)))]
    switches: list[str] = []
    result = []
    for signal in made:
        changes: dict[str, object] = {}
        if switches and draw(st.booleans()):
            low = draw(st.integers(0, 3))
            changes["multiplexed_by"] = draw(st.sampled_from(switches))
            changes["multiplex_ids"] = ((low, low + draw(st.integers(0, 2))),)
        if not signal.is_float and draw(st.booleans()):
            changes |= {"is_switch": True, "scale": 1.0, "offset": 0.0}
            changes["length"] = min(signal.length, 2)
            switches.append(signal.name)
        fields = {f: getattr(signal, f) for f in signal.__struct_fields__}
        result.append(SignalDef(**{**fields, **changes}))
    return MessageDef(
        name="M", can_id=draw(st.sampled_from([0, 5, 0x6FF])), extended=draw(st.booleans()),
        length=length, signals=tuple(result), channel="c",
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(message=messages(), data=st.data())
def test_every_bit_is_where_the_database_says(message: MessageDef, data: st.DataObject) -> None:
    stride = data.draw(st.sampled_from([8, 64]))
    sizes = st.integers(0, min(stride, message.length + 2))
    payloads = data.draw(
        st.lists(sizes.flatmap(lambda n: st.binary(min_size=n, max_size=n)), min_size=1, max_size=8)
    )
    payloads += [b"\x00" * min(stride, message.length), b"\xff" * min(stride, message.length)]

    assert_decodes(message, payloads, stride)


@st.composite
def dbc_texts(draw: st.DrawFn) -> str:
    """DBCs that cantools reads: fields one after another, all little- or all big-endian."""
    lines = []
    for number in range(draw(st.integers(1, 3))):
        length = draw(st.sampled_from([1, 5, 8, 8, 16, 64]))
        big = draw(st.booleans())
        multiplexed = draw(st.booleans()) and length >= 5
        lines.append(f"BO_ {0x100 + number} M{number}: {length} A")
        marks = [""]
        bit = 0
        if multiplexed:
            lines.append(f' SG_ Switch M : {7 if big else 0}|8@{0 if big else 1}+ (1,0) [0|0] "" B')
            bit = 8
            marks = [f" m{m}" for m in draw(st.sets(st.integers(0, 5), min_size=1, max_size=3))]
        for mark in marks:
            at = bit
            while at < 8 * length and draw(st.integers(0, 9)):
                bits = draw(st.integers(1, min(64, 8 * length - at)))
                start = 8 * (at // 8) + 7 - at % 8 if big else at
                sign = draw(st.sampled_from("+-"))
                scale = draw(st.sampled_from(["1", "0.5", "-3", "0.01", "1E-005"]))
                lines.append(
                    f" SG_ S{mark.strip()}_{at}{mark} : {start}|{bits}@{0 if big else 1}{sign} "
                    f'({scale},{draw(st.sampled_from(["0", "-40", "0.25"]))}) [0|0] "u" B'
                )
                at += bits + draw(st.sampled_from([0, 0, 1, 3]))
    return HEADER + "\n".join(lines) + "\n"


@settings(max_examples=120, deadline=None)
@given(text=dbc_texts(), data=st.data())
def test_agrees_with_cantools(text: str, data: st.DataObject) -> None:
    oracle = cantools.database.load_string(text, "dbc", strict=False)
    found, repairs = parse_dbc(text, "x.dbc")
    assert repairs == ()
    decoder = Decoder(Catalog(found), ["c"])
    for index, message in enumerate(decoder.messages):
        payload = data.draw(st.binary(min_size=message.length, max_size=message.length))
        cut = payload[: data.draw(st.integers(0, message.length))]
        for content in (payload, cut):
            try:
                expected = oracle.get_message_by_name(message.name).decode(
                    content, decode_choices=False, allow_truncated=True
                )
            except cantools.database.DecodeError:
                continue  # an unknown multiplexer value costs cantools the whole frame
            padded = np.zeros((1, 64), np.uint8)
            padded[0, : len(content)] = np.frombuffer(content, np.uint8)
            ours = decoder.decode(index, padded, np.array([len(content)], np.uint8))[0]
            got = {n: ours[c] for n, c in message.columns.items() if not np.isnan(ours[c])}
            assert got.keys() == expected.keys()
            for name, value in expected.items():
                assert same(got[name], float(value)), (name, content.hex())


def shared_vectors() -> list[dict[str, object]]:
    path = Path(__file__).resolve().parents[3] / "shared/data/expected/dbc_vectors.json.gz"
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else []


@pytest.mark.parametrize("entry", shared_vectors(), ids=lambda e: Path(e["file"]).name)
def test_decodes_the_vectors_of_real_databases(entry: dict, shared: Path) -> None:
    catalog = load([DatabaseRef(shared / entry["file"].removeprefix("shared/"))])
    decoder = Decoder(catalog, ["c"])
    index = {(m.can_id, m.extended): i for i, m in enumerate(decoder.messages)}
    for name, can_id, extended, payload, expected in entry["vectors"]:
        message = index[can_id, bool(extended)]
        definition = decoder.messages[message]
        content = bytes.fromhex(payload)
        data = np.zeros((1, max(8, len(content))), np.uint8)
        data[0, : len(content)] = np.frombuffer(content, np.uint8)
        values = decoder.decode(message, data, np.array([len(content)], np.uint16))[0]
        if not isinstance(expected, dict):
            continue  # cantools gave the frame up, for an unknown multiplexer value
        assert definition.name in (name, f"{name}_{can_id:X}")  # a second message of one name
        got = {n: values[c] for n, c in definition.columns.items() if not np.isnan(values[c])}
        numbers = {n: float(v) for n, v in expected.items()}  # "nan" is written as a word
        assert got.keys() == {n for n, v in numbers.items() if not math.isnan(v)}
        for signal, value in numbers.items():
            assert same(got.get(signal, math.nan), value), (name, signal, payload)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_raw_integers_are_exact_beyond_53_bits(signed: bool, big: bool) -> None:
    signal = SignalDef(name="S", start=7 if big else 0, length=64, big_endian=big, signed=signed)
    message = MessageDef(
        name="M", can_id=1, extended=False, length=8, signals=(signal,), channel="c"
    )
    number = 0x8123456789ABCDEF
    content = number.to_bytes(8, "big" if big else "little")
    data = np.frombuffer(content + content, np.uint8).reshape(2, 8)

    raw, present = Decoder(Catalog((message,)), ["c"]).decode_raw(0, 0, data, np.array([8, 7]))

    assert int(raw[0]) == (number - (1 << 64) if signed else number)
    assert present.tolist() == [True, False]


def test_raw_integers_have_64_bits_at_most() -> None:
    signal = SignalDef(name="Vin", start=0, length=136)
    message = MessageDef(
        name="M", can_id=1, extended=False, length=17, signals=(signal,), channel="c"
    )

    with pytest.raises(DatabaseError, match="Vin has 136 bits"):
        Decoder(Catalog((message,)), ["c"]).decode_raw(
            0, 0, np.zeros((1, 64), np.uint8), np.array([17])
        )


def test_a_value_wider_than_64_bits_is_rounded_once() -> None:
    signal = SignalDef(name="S", start=0, length=128)
    message = MessageDef(
        name="M", can_id=1, extended=False, length=16, signals=(signal,), channel="c"
    )
    data = np.full((1, 64), 0xA5, np.uint8)

    values = Decoder(Catalog((message,)), ["c"]).decode(0, data, np.array([16]))

    assert values[0, 0] == float(int.from_bytes(b"\xa5" * 16, "little"))


PAGED = """BO_ 256 Paged: 4 A
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" B
 SG_ Always : 24|8@1+ (1,0) [0|0] "" B
 SG_ One m1 : 8|8@1+ (1,0) [0|0] "" B
 SG_ Two m2 : 8|16@1+ (1,0) [0|0] "" B

VAL_ 256 Page 7 "Nothing" ;
"""


def test_an_unknown_page_loses_only_the_paged_signals_and_is_counted(
    catalog_of: Callable[..., Catalog], frames: Callable[..., FrameBatch]
) -> None:
    decoder = Decoder(catalog_of(PAGED), ["c"])
    payloads = [b"\x01\x0b\x00\x63", b"\x09\x0b\x00\x63", b"\x07\x0b\x00\x63", b"\x02\x0b\x01\x63"]

    (decoded,) = decoder.decode_batch(frames([(0, 256, 0, p) for p in payloads]))

    nan = math.nan
    expected = [[1, 99, 11, nan], [9, 99, nan, nan], [7, 99, nan, nan], [2, 99, nan, 267]]
    np.testing.assert_array_equal(decoded.values, expected)
    assert decoder.stats().messages[0].unknown_switch_frames == 1


def test_a_signal_is_read_where_its_page_has_it(
    catalog_of: Callable[..., Catalog], frames: Callable[..., FrameBatch]
) -> None:
    twice = PAGED.replace("Two m2", "One m2")
    decoder = Decoder(catalog_of(twice), ["c"])

    (decoded,) = decoder.decode_batch(
        frames([(0, 256, 0, p) for p in (b"\x01\x0b\x00\x63", b"\x02\x0b\x01\x63")])
    )

    np.testing.assert_array_equal(decoded.values, [[1, 99, 11], [2, 99, 267]])


def test_what_was_absent_is_counted(
    catalog_of: Callable[..., Catalog], frames: Callable[..., FrameBatch]
) -> None:
    decoder = Decoder(catalog_of(PAGED), ["c"])
    decoder.decode_batch(
        frames(
            [
                (0, 256, 0, b"\x01\x0b"),
                (0, 256, 0, b"\x01\x0b\x00\x63\x00"),
                (0, 256, REMOTE, b""),
                (0, 257, 0, b"\x00"),
            ]
        )
    )
    stats = decoder.stats()

    assert (stats.frames, stats.unmatched_frames, stats.remote_frames) == (4, 2, 1)
    only = stats.messages[0]
    assert (only.frames, only.short_frames, only.long_frames) == (2, 1, 1)
    assert only.unknown_switch_frames == 0


def test_a_batch_gives_each_message_its_rows_in_order(
    catalog_of: Callable[..., Catalog], frames: Callable[..., FrameBatch]
) -> None:
    text = "".join(
        f'BO_ {i} M{i}: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] "" B\n'
        + "".join(f' SG_ X{c} : {8 + c}|1@1+ (1,0) [0|0] "" B\n' for c in range(i))
        for i in range(1, 30)
    )
    decoder = Decoder(catalog_of(text), ["c"])
    order = [(i * 7) % 31 for i in range(200)]

    decoded = decoder.decode_batch(frames([(0, i, 0, bytes([n] * 8)) for n, i in enumerate(order)]))

    assert [d.message for d in decoded] == list(range(29))
    for entry in decoded:
        rows = [n for n, i in enumerate(order) if i == entry.message + 1]
        assert entry.rows.tolist() == rows
        assert entry.values[:, 0].tolist() == rows
        assert entry.values.shape == (len(rows), entry.message + 2)
    assert decoded[-1].message == 28
    assert [d.message for d in decoded[1:3]] == [1, 2]


def test_columns_are_decoded_on_demand(catalog_of: Callable[..., Catalog]) -> None:
    decoder = Decoder(catalog_of(PAGED), ["c"])
    data = np.array([[1, 11, 0, 99], [2, 11, 1, 99]], np.uint8)

    values = decoder.decode(0, data, np.array([4, 4]), columns=[3, 1])

    np.testing.assert_array_equal(values, [[math.nan, 99], [267, 99]])


def test_an_empty_batch_decodes_to_nothing(catalog_of: Callable[..., Catalog]) -> None:
    decoder = Decoder(catalog_of(PAGED), ["c"])

    assert len(decoder.decode_batch(FrameBatch.empty())) == 0
    assert decoder.decode(0, np.zeros((0, 8), np.uint8), np.zeros(0, np.uint8)).shape == (0, 4)


def test_classic_batches_hold_no_more_than_their_bytes(
    catalog_of: Callable[..., Catalog], frames: Callable[..., FrameBatch]
) -> None:
    text = (
        'BO_ 1 Wide: 64 A\n SG_ Near : 0|8@1+ (1,0) [0|0] "" B\n'
        ' SG_ Far : 509|3@1+ (1,0) [0|0] "" B\n'
    )
    decoder = Decoder(catalog_of(text), ["c"])

    (classic,) = decoder.decode_batch(frames([(0, 1, 0, b"\x05" * 8)]))
    (flexible,) = decoder.decode_batch(frames([(0, 1, FD, b"\xff" * 64)], stride=64))

    np.testing.assert_array_equal(classic.values, [[5, math.nan]])
    np.testing.assert_array_equal(flexible.values, [[255, 7]])


def test_every_shared_database_loads(shared: Path) -> None:
    expected = json.loads((shared / "expected/dbc_table.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in expected:
            path = shared / entry["file"].removeprefix("shared/")
            catalog = load([DatabaseRef(path)])
            assert len(catalog.messages) == entry["messages"], path.name
            assert sum(len(m.signals) for m in catalog.messages) == entry["signals"], path.name
