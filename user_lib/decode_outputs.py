"""Where decoded signals go: ``.npz`` by series, ``.csv`` and ``.parquet`` a value a row.

All three are written as the log is read, in bounded memory, beside their final name, which they get
once they are complete: a file of that name is never half written.
"""

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, BinaryIO, Protocol, TextIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from user_lib.contract.errors import ConfigError

__all__ = ["SUFFIXES", "Output", "Part", "open_output"]

SUFFIXES = (".npz", ".csv", ".parquet")

_HEADINGS = ("time_ns", "channel", "message", "source", "signal", "value", "unit")
_BLOCK_ROWS = 4096
_GROUP_ROWS = 1 << 20
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The decoded frames of one message (and J1939 source) in one batch.

    Shapes: time_ns and order (m,); values (m, k), a column for each of ``signals``.
    Gaps:   NaN where a signal is absent. ``order`` says where the frame stood in the batch.
    """

    channel: str
    message: str
    source: str
    """The J1939 source address in two hexadecimal digits; empty for other messages."""
    signals: tuple[str, ...]
    units: tuple[str, ...]
    time_ns: NDArray[np.int64]
    order: NDArray[np.intp]
    values: NDArray[np.float64]

    @property
    def series(self) -> str:
        """The name of the series: ``CHANNEL/MESSAGE`` or ``CHANNEL/MESSAGE@SA``."""
        return f"{self.channel}/{self.message}{'@' if self.source else ''}{self.source}"


class Output(Protocol):
    """Takes the parts of batch after batch."""

    def add(self, parts: Sequence[Part]) -> None:
        """Take what one batch decoded to."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


@contextmanager
def open_output(path: Path) -> Iterator[Output]:
    """Open an output by its suffix; on leaving without an error it gets its final name.

    Raises: ConfigError, for an unknown suffix, a place that cannot be written, or ``.parquet``
            without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"cannot write {path}: the output's name must end in {', '.join(SUFFIXES)}"
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened(path.suffix, partial) as output:
            yield output
            output.finish()
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _opened(suffix: str, path: Path) -> Iterator[Output]:
    if suffix == ".npz":
        with TemporaryFile() as held, path.open("wb") as out:
            yield _Npz(held, out)
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as text:
            yield _Csv(text)
    else:
        parquet = _Parquet(_pyarrow(), path)
        try:
            yield parquet
        finally:
            parquet.close()


class _Series:
    """One series on its way: what waits to be put aside, and where the rest was put."""

    def __init__(self, signals: tuple[str, ...]) -> None:
        self.signals = signals
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self.waiting_rows = 0
        self.blocks: list[tuple[int, int]] = []
        """Offset in the held file, and rows, of each block: times first, then column by column."""


class _Npz:
    """Keys ``SERIES/time_ns`` and ``SERIES/SIGNAL``; held in a temporary file by blocks of rows."""

    def __init__(self, held: BinaryIO, out: BinaryIO) -> None:
        self._held, self._out = held, out
        self._series: dict[str, _Series] = {}

    def add(self, parts: Sequence[Part]) -> None:
        for part in parts:
            series = self._series.get(part.series)
            if series is None:
                series = self._series[part.series] = _Series(part.signals)
            # A copy: the values may be a view into those of the whole batch.
            series.waiting.append((part.time_ns, part.values.copy()))
            series.waiting_rows += len(part.time_ns)
            if series.waiting_rows >= _BLOCK_ROWS:
                self._put_aside(series)

    def _put_aside(self, series: _Series) -> None:
        times = np.concatenate([t for t, _ in series.waiting])
        values = np.concatenate([v for _, v in series.waiting])
        series.blocks.append((self._held.tell(), len(times)))
        self._held.write(times.astype("<i8").tobytes())
        self._held.write(np.ascontiguousarray(values.T, "<f8").tobytes())
        series.waiting.clear()
        series.waiting_rows = 0

    def finish(self) -> None:
        for series in self._series.values():
            if series.waiting:
                self._put_aside(series)
        with zipfile.ZipFile(self._out, "w", allowZip64=True) as archive:
            for name, series in sorted(self._series.items()):
                for column, signal in enumerate(("time_ns", *series.signals)):
                    with archive.open(f"{name}/{signal}.npy", "w", force_zip64=True) as entry:
                        self._write_column(entry, series, column)

    def _write_column(self, entry: IO[bytes], series: _Series, column: int) -> None:
        rows = sum(n for _, n in series.blocks)
        head = io.BytesIO()
        kind = "<i8" if column == 0 else "<f8"
        npy.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": (rows,)})
        entry.write(head.getvalue())
        for offset, n in series.blocks:
            self._held.seek(offset + 8 * n * column)
            left = 8 * n
            while left:
                piece = self._held.read(min(left, _COPY_BYTES))
                entry.write(piece)
                left -= len(piece)


@dataclass(frozen=True, slots=True, eq=False)
class _Long:
    """Values a row, in the order of their frames. Shapes: all (n,); ``kind`` indexes ``kinds``."""

    time_ns: NDArray[np.int64]
    kind: NDArray[np.int64]
    value: NDArray[np.float64]


class _Kinds:
    """Numbers what a row tells besides time and value: channel, message, source, signal, unit."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        self._first: dict[str, int] = {}

    def lengthen(self, parts: Sequence[Part]) -> _Long:
        """Turn parts into rows; absent values have none."""
        times, kinds, values, orders = [], [], [], []
        for part in parts:
            row, column = np.nonzero(~np.isnan(part.values))
            times.append(part.time_ns[row])
            orders.append(part.order[row])
            kinds.append(self._number(part) + column)
            values.append(part.values[row, column])
        if not parts:
            return _Long(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        order = np.argsort(np.concatenate(orders), kind="stable")
        return _Long(
            np.concatenate(times)[order],
            np.concatenate(kinds)[order],
            np.concatenate(values)[order],
        )

    def _number(self, part: Part) -> int:
        first = self._first.get(part.series)
        if first is None:
            first = self._first[part.series] = len(self.rows)
            self.rows += [
                (part.channel, part.message, part.source, signal, unit)
                for signal, unit in zip(part.signals, part.units, strict=True)
            ]
        return first


class _Csv:
    """A heading, then ``time_ns,channel,message,source,signal,value,unit`` a row."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._kinds = _Kinds()
        self._around: list[tuple[str, str]] = []
        out.write(",".join(_HEADINGS) + "\n")

    def add(self, parts: Sequence[Part]) -> None:
        rows = self._kinds.lengthen(parts)
        for *before, unit in self._kinds.rows[len(self._around) :]:
            self._around.append((_csv_cells(before), _csv_cells([unit])))
        around = self._around
        triples = zip(rows.time_ns.tolist(), rows.kind.tolist(), rows.value.tolist(), strict=True)
        self._out.writelines(
            f"{time_ns},{around[kind][0]},{value!r},{around[kind][1]}\n"
            for time_ns, kind, value in triples
        )

    def finish(self) -> None:
        self._out.flush()


def _csv_cells(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue() if text.getvalue() != '""' else ""


class _Parquet:
    """The columns of the CSV, in row groups; the words as dictionaries."""

    def __init__(self, pyarrow: ModuleType, path: Path) -> None:
        self._pa = pyarrow
        word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        kinds = {"time_ns": pyarrow.int64(), "value": pyarrow.float64()}
        self._schema = pyarrow.schema([(name, kinds.get(name, word)) for name in _HEADINGS])
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._kinds = _Kinds()
        self._waiting: list[_Long] = []

    def add(self, parts: Sequence[Part]) -> None:
        self._waiting.append(self._kinds.lengthen(parts))
        if sum(len(rows.value) for rows in self._waiting) >= _GROUP_ROWS:
            self.finish()

    def finish(self) -> None:
        if not self._waiting:
            return
        pa = self._pa
        kind = np.concatenate([rows.kind for rows in self._waiting])
        columns = {
            "time_ns": pa.array(np.concatenate([rows.time_ns for rows in self._waiting])),
            "value": pa.array(np.concatenate([rows.value for rows in self._waiting])),
        }
        for place, name in enumerate(("channel", "message", "source", "signal", "unit")):
            words, code = np.unique(
                np.array([row[place] for row in self._kinds.rows], dtype=object),
                return_inverse=True,
            )
            columns[name] = pa.DictionaryArray.from_arrays(
                pa.array(code.astype(np.int32)[kind]), pa.array(words.tolist(), pa.string())
            )
        table = pa.table([columns[name] for name in _HEADINGS], schema=self._schema)
        self._writer.write_table(table)
        self._waiting.clear()

    def close(self) -> None:
        self._writer.close()


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "writing .parquet needs pyarrow, which is not installed; "
            "run: pip install 'oodida[dataframe]'"
        ) from error
    module: ModuleType = pyarrow
    return module
