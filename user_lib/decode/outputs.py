"""Where decoded signals go: ``.npz`` by series, ``.csv`` and ``.parquet`` a value a row.

All three are written as the log is read, in bounded memory, beside their final name, which they get
once they are complete: a file of that name is never half written.
"""

import csv
import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, BinaryIO, Protocol, TextIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from user_lib.contract.errors import ConfigError
from user_lib.decode.rows import Kinds, LongRows, Part

__all__ = ["Output", "check_output", "open_output"]

_SUFFIXES = (".npz", ".csv", ".parquet")

_HEADINGS = ("time_ns", "channel", "message", "source", "signal", "value", "unit")
_NAME = "name"
"""The heading of a further column, if it is asked for."""
_BLOCK_ROWS = 4096
_GROUP_ROWS = 1 << 20
_COPY_BYTES = 1 << 20


class Output(Protocol):
    """Takes the parts of batch after batch."""

    def add(self, parts: Sequence[Part]) -> None:
        """Take what one batch decoded to."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


def check_output(path: Path, *, names: bool = False) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Raises: ConfigError, for an unknown suffix, names in a file that has no room for them, a folder
            that is not there, or ``.parquet`` without pyarrow.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"cannot write {path}: the output's name must end in {', '.join(_SUFFIXES)}"
        )
    if names and path.suffix == ".npz":
        raise ConfigError(f"cannot write names to {path}: .npz holds numbers; use .csv or .parquet")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder")
    if path.suffix == ".parquet":
        _pyarrow()


@contextmanager
def open_output(
    path: Path, *, names: bool = False, unless: Callable[[], bool] = lambda: False
) -> Iterator[Output]:
    """Open an output by its suffix; on leaving without an error it gets its final name.

    ``names`` adds what the value is called, where the database says. ``unless`` is asked at the
    end: where it says yes nothing is written, and a file of that name stays as it is.

    Raises: ConfigError, as `check_output`, or for a place that cannot be written.
    """
    check_output(path, names=names)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened(path.suffix, partial, names=names) as output:
            yield output
            output.finish()
        if not unless():
            partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _opened(suffix: str, path: Path, *, names: bool) -> Iterator[Output]:
    if suffix == ".npz":
        with TemporaryFile() as held, path.open("wb") as out:
            yield _Npz(held, out)
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as text:
            yield _Csv(text, names=names)
    else:
        parquet = _Parquet(_pyarrow(), path, names=names)
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


class _Csv:
    """A heading, then ``time_ns,channel,message,source,signal,value,unit`` a row, and the name."""

    def __init__(self, out: TextIO, *, names: bool) -> None:
        self._out, self._names = out, names
        self._kinds = Kinds()
        self._around: list[tuple[str, str]] = []
        out.write(",".join((*_HEADINGS, _NAME) if names else _HEADINGS) + "\n")

    def add(self, parts: Sequence[Part]) -> None:
        rows = self._kinds.lengthen(parts)
        for *before, unit in self._kinds.rows[len(self._around) :]:
            self._around.append((_csv_cells(before), _csv_cells([unit])))
        self._out.writelines(self._named(rows) if self._names else self._plain(rows))

    def _plain(self, rows: LongRows) -> Iterator[str]:
        around = self._around
        triples = zip(rows.time_ns.tolist(), rows.kind.tolist(), rows.value.tolist(), strict=True)
        return (
            f"{time_ns},{around[kind][0]},{value!r},{around[kind][1]}\n"
            for time_ns, kind, value in triples
        )

    def _named(self, rows: LongRows) -> Iterator[str]:
        names = self._kinds.names_of(rows).tolist()
        cell = {name: _csv_cells([name]) for name in set(names)}
        lines = zip(self._plain(rows), names, strict=True)
        return (f"{line[:-1]},{cell[name]}\n" for line, name in lines)

    def finish(self) -> None:
        self._out.flush()


def _csv_cells(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue() if text.getvalue() != '""' else ""


class _Parquet:
    """The columns of the CSV, in row groups; the words as dictionaries."""

    def __init__(self, pyarrow: ModuleType, path: Path, *, names: bool) -> None:
        self._pa, self._names = pyarrow, names
        word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        kinds = {"time_ns": pyarrow.int64(), "value": pyarrow.float64()}
        self._headings = (*_HEADINGS, _NAME) if names else _HEADINGS
        self._schema = pyarrow.schema([(name, kinds.get(name, word)) for name in self._headings])
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._kinds = Kinds()
        self._waiting: list[LongRows] = []

    def add(self, parts: Sequence[Part]) -> None:
        self._waiting.append(self._kinds.lengthen(parts))
        if sum(len(rows.value) for rows in self._waiting) >= _GROUP_ROWS:
            self.finish()

    def finish(self) -> None:
        if not self._waiting:
            return
        pa = self._pa
        rows = LongRows(
            np.concatenate([rows.time_ns for rows in self._waiting]),
            np.concatenate([rows.kind for rows in self._waiting]),
            np.concatenate([rows.value for rows in self._waiting]),
        )
        columns = {"time_ns": pa.array(rows.time_ns), "value": pa.array(rows.value)}
        if self._names:
            names = pa.array(self._kinds.names_of(rows).tolist(), pa.string())
            columns[_NAME] = names.dictionary_encode()
        for place, name in enumerate(("channel", "message", "source", "signal", "unit")):
            words, code = np.unique(
                np.array([row[place] for row in self._kinds.rows], dtype=object),
                return_inverse=True,
            )
            columns[name] = pa.DictionaryArray.from_arrays(
                pa.array(code.astype(np.int32)[rows.kind]), pa.array(words.tolist(), pa.string())
            )
        table = pa.table([columns[name] for name in self._headings], schema=self._schema)
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
            "run: pip install pyarrow (or, in the sources of oodida, pip install '.[dataframe]')"
        ) from error
    module: ModuleType = pyarrow
    return module
