"""What is fuzzed: each target reads bytes as one kind of file, and lets only our own errors pass.

What could be read must be usable: frames are what frames can be, databases decode noise.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dbc import Catalog, DatabaseRef, Decoder, load
from dbc.mapping import parse_mapping
from hw import read_log
from user_lib.contract.errors import DatabaseError, SourceError
from user_lib.contract.frames import EXTENDED, MAX_PAYLOAD, FrameBatch

__all__ = ["TARGETS", "check_catalog", "check_frames"]

Target = Callable[[bytes], bool]
"""Tells whether the bytes could be read."""
_folder = TemporaryDirectory(prefix="oodida-fuzz-")
_NOISE = np.random.default_rng(1).integers(0, 256, (2, MAX_PAYLOAD), np.uint8)


def _database(suffix: str) -> Target:
    path = Path(_folder.name) / f"input{suffix}"

    def read(content: bytes) -> bool:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                catalog = load([DatabaseRef(path)])
            except DatabaseError as error:
                _check_refusal(error, path.name)
                return False
        check_catalog(catalog)
        return True

    return read


def _check_refusal(error: Exception, name: str) -> None:
    assert name in str(error), f"which file? {error}"


def check_catalog(catalog: Catalog) -> None:
    """Decode noise with every message, long and short, by itself and in a batch."""
    decoder = Decoder(catalog, ["can0"])
    batch = FrameBatch.zeros(2 * len(decoder.messages), MAX_PAYLOAD)
    for i, message in enumerate(decoder.messages):
        rows = slice(2 * i, 2 * i + 2)
        batch.can_id[rows], batch.flags[rows] = message.can_id, EXTENDED * message.extended
        batch.length[rows] = min(message.length, MAX_PAYLOAD), min(message.length, 3)
        batch.data[rows] = _NOISE
    batch.data[np.arange(MAX_PAYLOAD) >= batch.length[:, None]] = 0
    for decoded in decoder.decode_batch(batch):
        assert decoded.values.shape[0] == len(decoded.rows)
    for info in decoder.catalog.signals():
        decoder.catalog.resolve(info.name)


def _log(suffix: str) -> Target:
    path = Path(_folder.name) / f"input{suffix}"

    def read(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            log = read_log(path)
            for batch in log:
                check_frames(batch, len(log.channels))
        except SourceError as error:
            _check_refusal(error, path.name)
            return False
        return True

    return read


def check_frames(batch: FrameBatch, channels: int) -> None:
    """Make sure that frames are what frames can be, whatever was in the file."""
    stride = batch.data.shape[1]
    assert stride in (8, MAX_PAYLOAD)
    assert (batch.length <= stride).all()
    assert not batch.data[np.arange(stride) >= batch.length[:, None]].any()
    assert (batch.can_id <= np.where(batch.flags & EXTENDED, 0x1FFF_FFFF, 0x7FF)).all()
    assert (batch.bus < channels).all()
    columns = (batch.bus, batch.can_id, batch.flags, batch.length, batch.data)
    assert {len(column) for column in columns} == {len(batch)}


def _mapping(content: bytes) -> bool:
    try:
        parsed = parse_mapping(content, "input.vspec")
    except DatabaseError as error:
        _check_refusal(error, "input.vspec")
        return False
    database = b"BS_:\nBU_:\nBO_ 1 M: 8 A\n" + b"".join(
        f' SG_ {name} : {8 * i}|8@1+ (1,0) [0|0] "" A\n'.encode()
        for i, name in enumerate(
            sorted({m.signal for m in parsed.signals if m.signal.isidentifier()})
        )
        if i < 8
    )
    (Path(_folder.name) / "mapped.dbc").write_bytes(database)
    (Path(_folder.name) / "input.vspec").write_bytes(content)
    catalog = load(
        [DatabaseRef(Path(_folder.name) / "mapped.dbc")], mapping=Path(_folder.name) / "input.vspec"
    )
    for info in catalog.signals():
        transform = catalog.resolve(info.name).transform
        if transform is not None:
            assert transform.apply(np.arange(4.0)).shape == (4,)
    return True


TARGETS: Mapping[str, Target] = {
    "dbc": _database(".dbc"),
    "kcd": _database(".kcd"),
    "sym": _database(".sym"),
    "mapping": _mapping,
    "candump": _log(".log"),
    "asc": _log(".asc"),
    "blf": _log(".blf"),
    "trc": _log(".trc"),
    "gvret": _log(".csv"),
    "table": _log(".csv"),
    "mf4": _log(".mf4"),
}
