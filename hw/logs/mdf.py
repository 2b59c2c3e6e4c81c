"""ASAM MDF 4 (``.mf4``) bus logs, as CANedge and others write them, through asammdf.

asammdf is an extra (``pip install '.[mdf]'``), for its licence is LGPL. Read in slices, group
by group, and merged by time: each kind of frame has a channel group of its own.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import copyfileobj
from tempfile import TemporaryFile
from traceback import walk_tb
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hw.logs.merge import merge_by_time
from hw.logs.reading import Reading
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import (
    BRS,
    ERROR,
    ESI,
    EXTENDED,
    FD,
    MAX_PAYLOAD,
    REMOTE,
    TX,
    FrameBatch,
)

__all__ = ["EXPECTED", "read_mdf"]

EXPECTED = "an MDF 4 record of a CAN frame"

_FINALISED, _UNFINALISED = b"MDF     ", b"UnFinMF "
_KINDS = {"CAN_DataFrame": 0, "CAN_RemoteFrame": REMOTE, "CAN_ErrorFrame": ERROR}
_BITS = {"IDE": EXTENDED, "EDL": FD, "BRS": BRS, "ESI": ESI, "Dir": TX}
_SLICE_FRAMES = 65_536
_MOST_FAILURES = 64
"""After so many tries in a group, what cannot be read is not looked at any closer."""
_LAST_NUMERIC_CONVERSION = 6
"""The types of conversion are numbered; those behind value range to value lead from or to text."""
_FD_LENGTHS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64])
_SECOND_NS = 1_000_000_000
_ID_MASK = 0x1FFF_FFFF


def read_mdf(reading: Reading) -> Iterator[FrameBatch]:
    """Read an MDF 4 bus log. Resolution: 1 ns for logs of up to 50 days.

    A damaged file may crash this process; see `hw.logs.mdf_apart`.

    Raises: SourceError, when the file is no MDF 4, or it holds no CAN frames.
    """
    with _opened(reading) as mdf:
        groups = [
            _Group(mdf, index, kind, reading)
            for index, group in enumerate(mdf.groups)
            for kind in _KINDS
            if any(channel.name == kind for channel in group.channels)
        ]
        if not groups:
            raise SourceError(
                f"{reading.path} holds no CAN frames: expected an MDF 4 bus log with groups "
                f"{', '.join(_KINDS)}; a file of decoded signals cannot be replayed"
            )
        filled = [group.slices() for group in groups if group.frames]
        yield from merge_by_time(filled, reading.batch_frames)


@contextmanager
def _opened(reading: Reading) -> Iterator[Any]:
    """Open a file with asammdf, and close both."""
    import asammdf

    with _stream(reading) as stream:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mdf = asammdf.MDF(cast("Any", stream))
        except Exception as error:  # a damaged file fails anywhere inside asammdf
            _dispose_of_half_made(error)
            raise SourceError(
                f"cannot read {reading.path}: expected an MDF 4 file, asammdf says "
                f"{type(error).__name__}: {error}"
            ) from error
        try:
            yield mdf
        finally:
            mdf.close()


def _dispose_of_half_made(error: Exception) -> None:
    """Clean up after asammdf failed to open a file: its own way to do so fails too, and noisily."""
    for frame, _ in walk_tb(error.__traceback__):
        made = frame.f_locals.get("self")
        if made is not None and getattr(made, "_closed", None) is False:
            made._tempfile.close()
            made._closed = True


@contextmanager
def _stream(reading: Reading) -> Iterator[BinaryIO]:
    """Open the file; of one that was not finalised, a copy that asammdf may finish.

    Raises: SourceError, when it cannot be opened or does not begin as an MDF 4 file.
    """
    with reading.open() as stream:
        head = stream.read(16)
        stream.seek(0)
        if head[:8] not in (_FINALISED, _UNFINALISED) or head[8:9] != b"4":
            raise SourceError(f"cannot read {reading.path}: expected an MDF 4 file, found {head!r}")
        if head[:8] == _FINALISED:
            yield stream
            return
        with TemporaryFile() as copy:
            copyfileobj(stream, copy)
            copy.seek(0)
            yield copy


def _is_numeric(channel: Any) -> bool:  # noqa: ANN401 - asammdf is untyped here
    """Whether a channel's conversion gives numbers, and not the words for them."""
    conversion = channel.conversion
    return conversion is not None and conversion.conversion_type <= _LAST_NUMERIC_CONVERSION


class _Group:
    """One channel group: all frames of one kind, read a slice at a time."""

    def __init__(self, mdf: Any, index: int, kind: str, reading: Reading) -> None:  # noqa: ANN401
        self._mdf, self._index, self._kind, self._reading = mdf, index, kind, reading
        group = mdf.groups[index]
        self.frames = int(group.channel_group.cycles_nr)
        self._numeric = {channel.name: _is_numeric(channel) for channel in group.channels}
        self._start_ns = int(mdf.header.abs_time)

    def slices(self) -> Iterator[FrameBatch]:
        """Yield all frames, in the file's order.

        Records that cannot be read are looked for in ever smaller slices, so that one of them - the
        last, whose payload a pulled plug cut off - does not cost the others.
        """
        waiting = [
            (first, min(_SLICE_FRAMES, self.frames - first))
            for first in range(0, self.frames, _SLICE_FRAMES)
        ][::-1]
        failures = 0
        while waiting:
            first, count = waiting.pop()
            self._reading.fraction_read = max(self._reading.fraction_read, first / self.frames)
            try:
                part = self._slice(first, count)
            except Exception as error:  # noqa: BLE001 -- a damaged block fails inside asammdf
                failures += 1
                half = count // 2
                if half and failures <= _MOST_FAILURES:
                    waiting += [(first + half, count - half), (first, half)]
                    continue
                where = f"{self._kind} records {first} to {first + count - 1}"
                self._reading.damage.report(where, f"{type(error).__name__}: {error}", count=count)
            else:
                yield part

    def _slice(self, first: int, count: int) -> FrameBatch:
        seconds, can_id = self._column("ID", first, count)
        data = self._data(first, count)
        batch = FrameBatch.zeros(len(seconds), data.shape[1])
        batch.time_ns[:] = self._start_ns + np.rint(seconds * _SECOND_NS).astype(np.int64)
        batch.can_id[:] = can_id.astype(np.int64) & _ID_MASK
        batch.flags[:] = _KINDS[self._kind]
        for name, bit in _BITS.items():
            if self._has(name):
                batch.flags[:] |= np.where(self._column(name, first, count)[1] != 0, bit, 0).astype(
                    np.uint8
                )
        self._name_buses(batch, first, count)
        lengths = self._lengths(first, count, batch.flags)
        batch.length[:] = np.clip(lengths, 0, data.shape[1])
        batch.data[:] = data
        batch.data[np.arange(data.shape[1]) >= batch.length[:, None]] = 0
        return batch

    def _has(self, name: str) -> bool:
        return f"{self._kind}.{name}" in self._numeric

    def _column(self, name: str, first: int, count: int) -> tuple[NDArray[np.float64], Any]:
        """Return times in seconds and values of one part of the frames; zeros if absent.

        A column may be stored as it is, or be computed: a table gives the length of a DLC, and a
        constant is a channel without bits whose conversion ignores the number of the record.
        """
        wanted = f"{self._kind}.{name}" if self._has(name) else self._kind
        signal = self._mdf.get(
            wanted,
            group=self._index,
            raw=not self._numeric[wanted],
            record_offset=first,
            record_count=count,
            ignore_invalidation_bits=True,
        )
        seconds = np.asarray(signal.timestamps, np.float64)
        samples = signal.samples if self._has(name) else np.zeros(len(seconds), np.uint32)
        if samples.dtype.kind == "f":
            samples = np.rint(samples).astype(np.int64)
        return seconds, samples

    def _data(self, first: int, count: int) -> NDArray[np.uint8]:
        """Return payloads (n, 8) or (n, 64)."""
        if self._kind != "CAN_DataFrame":
            return np.zeros((count, 8), np.uint8)
        samples = np.asarray(self._column("DataBytes", first, count)[1])
        samples = samples.astype(np.uint8).reshape(len(samples), -1)[:, :MAX_PAYLOAD]
        stride = 8 if samples.shape[1] <= 8 else MAX_PAYLOAD
        data = np.zeros((len(samples), stride), np.uint8)
        data[:, : samples.shape[1]] = samples
        return data

    def _lengths(self, first: int, count: int, flags: NDArray[np.uint8]) -> NDArray[np.int64]:
        if self._has("DataLength"):
            return np.asarray(self._column("DataLength", first, count)[1], np.int64)
        code = np.asarray(self._column("DLC", first, count)[1], np.int64)
        return np.where(flags & FD, _FD_LENGTHS[np.clip(code, 0, 15)], code)

    def _name_buses(self, batch: FrameBatch, first: int, count: int) -> None:
        """Number the channels in the order in which the frames name them."""
        if not self._has("BusChannel"):
            batch.bus[:] = self._reading.bus("")
            return
        numbers = np.asarray(self._column("BusChannel", first, count)[1])
        known, where = np.unique(numbers, return_index=True)
        for number in known[np.argsort(where)].tolist():
            batch.bus[numbers == number] = self._reading.bus(str(number))
