"""Real databases, damaged: they load with the damage named, or are refused; no more."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbc import Catalog, DatabaseRef, Decoder, Encoder, load
from user_lib.contract.errors import DatabaseError
from user_lib.contract.frames import EXTENDED, FrameBatch

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((ROOT / "dbc" / "files").glob("*.dbc"))
SHARED = ROOT.parent / "shared" / "data" / "dbc"
_LARGEST_BYTES = 50_000  # a fuzzed file is read many times
THEIRS = [
    path
    for path in sorted(SHARED.rglob("*"))
    if path.suffix in (".dbc", ".kcd", ".sym") and path.stat().st_size < _LARGEST_BYTES
]

SCRAPS = [b'"', b";", b"\n", b"\\", b":", b"|", b"@", b"\x00", b"\xff", b"BO_ ", b"9" * 40, b"-1"]


def put_scrap(draw: st.DrawFn, line: bytes) -> bytes:
    place = draw(st.integers(0, len(line)))
    return line[:place] + draw(st.sampled_from(SCRAPS)) + line[place:]


def flip(draw: st.DrawFn, line: bytes) -> bytes:
    place = draw(st.integers(0, len(line)))
    return (
        line[:place]
        + bytes(b ^ draw(st.integers(1, 255)) for b in line[place : place + 1])
        + (line[place + 1 :])
    )


def cut(draw: st.DrawFn, line: bytes) -> bytes:
    return line[: draw(st.integers(0, len(line)))]


def join(draw: st.DrawFn, line: bytes) -> bytes:
    return line.rstrip()


def drop(draw: st.DrawFn, line: bytes) -> bytes:
    return b""


def repeat(draw: st.DrawFn, line: bytes) -> bytes:
    return line + line


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Damage a few lines, put one elsewhere, and cut the file off."""
    lines = content.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = draw(st.sampled_from([put_scrap, flip, cut, join, drop, repeat]))(
            draw, lines[at]
        )
    if draw(st.booleans()):
        line = lines.pop(draw(st.integers(0, len(lines) - 1)))
        lines.insert(draw(st.integers(0, len(lines))), line)
    whole = b"".join(lines)
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


@pytest.mark.parametrize("path", [*OURS, *THEIRS], ids=lambda p: p.name)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_database_loads_and_decodes_or_is_refused_by_name(
    path: Path, data: st.DataObject, tmp_path: Path
) -> None:
    damaged = tmp_path / f"damaged{path.suffix}"
    damaged.write_bytes(data.draw(damage(path.read_bytes())))
    try:
        catalog = load([DatabaseRef(damaged, channel="can0")])
    except DatabaseError as error:
        refused = str(error)
    else:
        refused = ""
        check_usable(catalog)
    assert not refused or damaged.name in refused


def check_usable(catalog: Catalog) -> None:
    """Decode a frame of noise of every message, in a batch and by itself; list and find all."""
    decoder = Decoder(catalog, ["can0"])
    messages = decoder.messages
    batch = FrameBatch.zeros(len(messages), 64)
    batch.can_id[:] = [m.can_id for m in messages]
    batch.flags[:] = [EXTENDED * m.extended for m in messages]
    batch.length[:] = [min(m.length, 64) for m in messages]
    batch.data[:] = np.random.default_rng(1).integers(0, 256, batch.data.shape)
    for decoded in decoder.decode_batch(batch):
        definition = messages[decoded.message]
        assert decoded.values.shape == (len(decoded.rows), len(definition.signals))
        alone = decoder.decode(
            decoded.message, batch.data[decoded.rows], batch.length[decoded.rows]
        )
        if definition.length <= 64:
            np.testing.assert_array_equal(decoded.values, alone)
    Encoder(decoder.catalog)
    for info in decoder.catalog.signals():
        assert decoder.catalog.resolve(info.name).unit == info.unit
