from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dbc import Catalog, DatabaseRef, Decoder, load
from dbc.j1939 import absent_from
from dbc.model import MessageDef, SignalDef
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.frames import EXTENDED, FrameBatch


def signal(length: int, **more: object) -> SignalDef:
    return SignalDef(name=f"S{length}", start=0, length=length, **more)


ENGINE = MessageDef(
    name="EEC1", can_id=0x0CF004FE, extended=True, length=8, channel="c", j1939=True,
    signals=(
        SignalDef(name="Speed", start=24, length=16, scale=0.125),
        SignalDef(name="State", start=0, length=2),
        SignalDef(name="Mode", start=2, length=4),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("length", "limit"), [(1, None), (2, 2), (4, 15), (8, 0xFE), (16, 0xFE00), (32, 0xFE000000)]
)
def test_the_top_of_the_range_means_that_there_is_no_value(length: int, limit: int | None) -> None:
    assert absent_from(signal(length)) == limit


def test_signed_and_float_signals_use_their_whole_range() -> None:
    assert absent_from(signal(8, signed=True)) is None
    assert absent_from(signal(32, is_float=True)) is None


def test_values_not_available_are_absent_and_counted(frames: Callable[..., FrameBatch]) -> None:
    decoder = Decoder(Catalog((ENGINE,)), ["c"])
    payloads = [
        b"\x00\x00\x00\x40\x1f\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3a\x00\x00\xff\xfd\x00\x00\x00",
        b"\x00\x00\x00\x00\xfe\x00\x00\x00",
        b"\x00\x00",
    ]
    batch = frames([(0, 0x18F00421, EXTENDED, p) for p in payloads])

    (decoded,) = decoder.decode_batch(batch)

    nan = np.nan
    expected = [[1000, 0, 0], [nan, nan, nan], [8127.875, nan, 14], [nan, 0, 0], [nan, 0, 0]]
    np.testing.assert_array_equal(decoded.values, expected)
    np.testing.assert_array_equal(decoder.decode(0, batch.data, batch.length), expected)
    counted = decoder.stats().messages[0]
    assert (counted.unavailable_values, counted.short_frames) == (5, 1)


def test_each_source_is_a_series_of_its_own(frames: Callable[..., FrameBatch]) -> None:
    plain = MessageDef(
        name="Plain", can_id=0x10, extended=False, length=8, channel="c",
        signals=(SignalDef(name="S", start=0, length=8),),
    )  # fmt: skip
    decoder = Decoder(Catalog((plain, ENGINE)), ["c"])
    ids = [0x0CF00400, 0x10, 0x18F00421, 0x0CF00400, 0x10, 0x18F00421, 0x18F00422]

    decoded = decoder.decode_batch(frames([(0, i, EXTENDED * (i > 0x7FF), bytes(8)) for i in ids]))

    assert [(d.message, d.source, d.rows.tolist()) for d in decoded] == [
        (0, None, [1, 4]),
        (1, 0x00, [0, 3]),
        (1, 0x21, [2, 5]),
        (1, 0x22, [6]),
    ]


def test_a_name_may_ask_for_one_source() -> None:
    catalog = Catalog((ENGINE,))

    assert catalog.resolve("EEC1.Speed").source is None
    assert catalog.resolve("EEC1@2a.Speed").source == 0x2A
    with pytest.raises(UnknownSignal):
        catalog.resolve("EEC1@zz.Speed")


def test_only_databases_that_say_so_match_by_group(
    shared: Path, frames: Callable[..., FrameBatch]
) -> None:
    path = shared / "dbc/css_j1939_demo.dbc"
    batch = frames([(0, 0x0CF00400, EXTENDED, bytes(8))])

    by_group = Decoder(load([DatabaseRef(path, j1939=True)]), ["c"])
    by_id = Decoder(load([DatabaseRef(path)]), ["c"])

    assert len(by_group.decode_batch(batch)) == 1
    assert len(by_id.decode_batch(batch)) == 0
