"""A recorded log of any format as an iterable of frame batches."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hw.logs import asc, blf, candump, gvret, mdf, mdf_apart, tables, trc
from hw.logs.reading import BATCH_FRAMES, Damage, LogReader, Reading
from user_lib.contract.errors import SourceError, nearest
from user_lib.contract.frames import FrameBatch

__all__ = ["FORMATS", "Log", "read_log"]


@dataclass(frozen=True, slots=True)
class _Format:
    name: str
    read: LogReader
    expected: str
    begins: Callable[[bytes], bool]
    """Whether a file of unknown suffix may be of this format, by its first bytes."""


def _starts(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip(b"\xef\xbb\xbf \t").lower().startswith(marks)


_CANDUMP = _Format("candump", candump.read_candump, candump.EXPECTED, _starts(b"("))
_ASC = _Format("asc", asc.read_asc, asc.EXPECTED, _starts(b"date ", b"base "))
_BLF = _Format("blf", blf.read_blf, blf.EXPECTED, _starts(b"logg"))
_TRC = _Format("trc", trc.read_trc, trc.EXPECTED, _starts(b";$fileversion", b";##########"))
_GVRET = _Format("gvret", gvret.read_gvret, gvret.EXPECTED, _starts(b"time stamp,"))
_TABLE = _Format(
    "table",
    tables.read_table,
    tables.EXPECTED,
    _starts(tables.PYTHON_CAN_HEADER.encode(), tables.CANEDGE_HEADER.encode()),
)
_MDF = _Format("mf4", mdf_apart.read_mdf, mdf.EXPECTED, _starts(b"mdf ", b"unfinmf"))

FORMATS = {
    ".log": _CANDUMP,
    ".candump": _CANDUMP,
    ".asc": _ASC,
    ".blf": _BLF,
    ".trc": _TRC,
    ".csv": _GVRET,
    ".mf4": _MDF,
}
"""Formats by the suffix of a log's name; text formats may be compressed (``.gz`` after it)."""

_COMPRESSIBLE = (_CANDUMP, _ASC, _TRC, _GVRET, _TABLE, _BLF)


class Log:
    """A log on disk. Every iteration is a pass over the file from its start.

    `channels` names the buses in the order in which frames name them, and is complete once a pass
    has ended (`scan` makes one); a batch's bus indices are always within what it holds by then.
    """

    def __init__(self, path: Path, fmt: _Format, *, batch_frames: int = BATCH_FRAMES) -> None:
        self.path = path
        self.format = fmt.name
        self._format = fmt
        self._batch_frames = batch_frames
        self._reading = self._new_pass()

    def _new_pass(self) -> Reading:
        damage = Damage(self.path, self._format.expected)
        return Reading(self.path, damage, batch_frames=self._batch_frames)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the buses found so far, by index."""
        return tuple(self._reading.channels)

    @property
    def malformed(self) -> int:
        """Lines or records of the latest pass that hold no readable frame."""
        return self._reading.damage.malformed

    @property
    def first_damage(self) -> str:
        """Where the first malformed piece stands and what it holds; empty without one."""
        return self._reading.damage.first

    @property
    def fraction_read(self) -> float:
        """How much of the file the latest pass has read, 0 to 1."""
        return self._reading.fraction_read

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield all frames in batches, in file order.

        Raises: SourceError, when the file cannot be read or nothing in it is of its format.
        """
        reading = self._new_pass()
        reading.damage.told = bool(self._reading.damage.first)
        # Indices must not change between passes: a second one starts with the names of the first.
        reading.channels.extend(self._reading.channels)
        self._reading = reading
        frames = 0
        for batch in self._format.read(reading):
            frames += len(batch)
            yield batch
        if not frames and reading.damage.malformed:
            raise reading.damage.refuse()

    def scan(self) -> int:
        """Make a pass that only counts; return the frames. Afterwards `channels` is complete."""
        return sum(len(batch) for batch in self)


def read_log(path: Path | str, *, batch_frames: int = BATCH_FRAMES) -> Log:
    """Open a log of any known format: candump, ASC, BLF, TRC, three kinds of .csv, MDF 4.

    The format follows the suffix (``.gz`` after it: compressed), unless the file begins as one of
    another format does.
    Reading happens on iteration; damaged lines are counted, the first one named in a warning.

    Raises: SourceError, when the file is missing or of no known format.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    if not path.is_file():
        raise SourceError(f"cannot open log {path}: {_missing(path)}")
    fmt = _recognise(path, FORMATS.get(suffix))
    if packed and fmt not in _COMPRESSIBLE:
        raise SourceError(f"cannot read {path}: a compressed .{fmt.name} must be unpacked first")
    return Log(path, fmt, batch_frames=batch_frames)


def _missing(path: Path) -> str:
    if path.exists():
        return "not a file"
    try:
        beside = os.listdir(path.parent)
    except OSError:
        return f"no directory {path.parent}"
    near = nearest(path.name, beside)
    return "no such file" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _recognise(path: Path, named: _Format | None) -> _Format:
    """Return the format that the file begins with, else the one that its name says."""
    head = next(Reading(path, Damage(path, "a log", told=True)).text_chunks(), b"")[:64]
    if named is not None and named.begins(head):
        return named
    for fmt in (_CANDUMP, _ASC, _BLF, _TRC, _GVRET, _TABLE, _MDF):
        if fmt.begins(head):
            return fmt
    if named is not None:
        return named
    raise SourceError(
        f"cannot read {path}: not a log of a known format ({', '.join(sorted(FORMATS))}); "
        f"it begins with {head[:24]!r}"
    )
