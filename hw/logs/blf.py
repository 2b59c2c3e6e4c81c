"""Vector ``.blf`` logs: objects, mostly in compressed containers, read one by one.

Laid out little-endian: a file header ``LOGG`` with the measurement's start to the millisecond,
then objects ``LOBJ`` with a size, a type and a time since the start in ns or in 10 us. An object
may begin in one container and end in the next. Types that hold no CAN frame are passed by.
Channels are numbered as in the file, from 1.
"""

import datetime as dt
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hw.logs.reading import MAX_TIME_NS, Reading
from hw.records import FrameRecords
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

__all__ = ["EXPECTED", "read_blf"]

EXPECTED = "a BLF object with a CAN frame"

_FILE_HEADER = struct.Struct("<4sL32x8H8H")
_FILE_HEADER_BYTES = 144
_BASE = struct.Struct("<4sHHLL")
_HEADER_V1 = struct.Struct("<LHHQ")
_HEADER_V2 = struct.Struct("<LBxHQ")
_CONTAINER = struct.Struct("<H6xL4x")
_CLASSIC = struct.Struct("<HBBL8s")
_FD_100 = struct.Struct("<HBBLLBBB5x64s")
_FD_101 = struct.Struct("<BBBBLLLLLLLHBBL")
_ERROR_2 = struct.Struct("<H")

_TYPE_CONTAINER = 10
_LARGEST_OBJECT_BYTES = 1 << 26
_ID_MASK = 0x1FFF_FFFF
_EXTENDED_BIT = 0x8000_0000
_LAST_11_BIT = 0x7FF
_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class _Frame:
    channel: int
    can_id: int
    flags: int
    length: int
    payload: bytes


def read_blf(reading: Reading) -> Iterator[FrameBatch]:
    """Read a BLF log. Resolution: the start to 1 ms, offsets to 1 ns or 10 us as recorded.

    Raises: SourceError, when the file does not begin as a BLF does.
    """
    return reading.batches(lambda records: _fill(reading, records))


def _fill(reading: Reading, records: FrameRecords) -> Iterator[None]:
    stream = _Objects(reading)
    for kind, time_ns, header_bytes, body in stream:
        read = _FRAME_READERS.get(kind)
        if read is None:
            continue
        try:
            frame = read(body, header_bytes)
            bus = reading.bus(str(frame.channel))
        except (ValueError, IndexError, struct.error) as error:
            reading.damage.report(f"object {stream.count}", str(error))
            continue
        records.append(time_ns, bus, frame.can_id, frame.flags, frame.length, frame.payload)
        yield


class _Objects:
    """Iterates over a file's objects: type, time in ns, size of the header, body after it."""

    def __init__(self, reading: Reading) -> None:
        self.count = 0
        self._reading = reading
        self._bytes = _Buffer(reading.chunks())
        self._inner = b""
        self._start_ns = self._read_header()

    def _read_header(self) -> int:
        head = self._bytes.take(_FILE_HEADER.size)
        if len(head) < _FILE_HEADER.size or head[:4] != b"LOGG":
            raise SourceError(
                f"cannot read {self._reading.path}: expected a BLF file, which begins with "
                f"'LOGG', found {head[:4]!r}"
            )
        _, size, *dates = _FILE_HEADER.unpack(head)
        self._bytes.take(min(max(size, _FILE_HEADER_BYTES), 4096) - _FILE_HEADER.size)
        return _system_time_ns(dates[:8])

    def __iter__(self) -> Iterator[tuple[int, int, int, bytes]]:
        while self._bytes.seek(b"LOBJ", self._lost):
            head = self._bytes.peek(_BASE.size)
            if len(head) < _BASE.size:
                self._lost(head)
                return
            _, header_size, _, size, kind = _BASE.unpack(head)
            if not max(header_size, _BASE.size) <= size <= _LARGEST_OBJECT_BYTES:
                self._lost(self._bytes.take(4))
                continue
            body = self._bytes.take(size)
            if len(body) < size:
                self._reading.damage.report(f"object {self.count + 1}", "the file ends inside it")
            if kind == _TYPE_CONTAINER:
                yield from self._unpack(self._decompress(body[_BASE.size :]))
            else:
                yield from self._unpack(body)
        if self._inner.strip(b"\0"):
            self._reading.damage.report(f"object {self.count + 1}", "the file ends inside it")

    def _lost(self, skipped: bytes) -> None:
        if skipped.strip(b"\0"):
            self._reading.damage.report(f"object {self.count + 1}", repr(skipped[:16]))

    def _decompress(self, body: bytes) -> bytes:
        if len(body) < _CONTAINER.size:
            self._lost(body)
            return b""
        method, _size = _CONTAINER.unpack_from(body)
        packed = body[_CONTAINER.size :]
        if method == 0:
            return packed
        try:
            return zlib.decompressobj().decompress(packed, _LARGEST_OBJECT_BYTES)
        except zlib.error as error:
            self._reading.damage.report(f"object {self.count + 1}", f"container: {error}")
            self._inner = b""
            return b""

    def _unpack(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield the whole objects of what is here; keep the rest for the next container."""
        data, at = self._inner + data, 0
        while True:
            found = data.find(b"LOBJ", at)
            if found < 0 or len(data) - found < _BASE.size:
                at = max(at, len(data) - 3) if found < 0 else found
                break
            self._lost(data[at:found])
            _, header_size, version, size, kind = _BASE.unpack_from(data, found)
            if not max(header_size, _BASE.size) <= size <= _LARGEST_OBJECT_BYTES:
                self._lost(data[found : found + 4])
                at = found + 4
                continue
            if found + size > len(data):
                at = found
                break
            self.count += 1
            time_ns = self._time_ns(data, found + _BASE.size, version)
            if time_ns is not None:
                yield kind, time_ns, header_size, data[found + header_size : found + size]
            at = found + size
        self._inner = data[at:]

    def _time_ns(self, data: bytes, at: int, version: int) -> int | None:
        header = {1: _HEADER_V1, 2: _HEADER_V2}.get(version)
        if header is None or len(data) - at < header.size:
            return None
        flags, _, _, time = header.unpack_from(data, at)
        time_ns: int = self._start_ns + time * (10_000 if flags == 1 else 1)
        if time_ns > MAX_TIME_NS:
            self._reading.damage.report(f"object {self.count}", f"a time of {time_ns} ns")
            return None
        return time_ns


class _Buffer:
    """Bytes of a file that comes in chunks, taken from the front."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._at = 0

    def _fill(self, count: int) -> None:
        """Hold at least ``count`` bytes from here on, unless the file has no more."""
        while len(self._held) - self._at < count:
            chunk = next(self._chunks, b"")
            if not chunk:
                return
            self._held, self._at = self._held[self._at :] + chunk, 0

    def peek(self, count: int) -> bytes:
        self._fill(count)
        return self._held[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        taken = self.peek(count)
        self._at += len(taken)
        return taken

    def seek(self, mark: bytes, lost: Callable[[bytes], None]) -> bool:
        """Drop what stands before the next mark, telling ``lost``; False at the end."""
        while True:
            self._fill(len(mark))
            found = self._held.find(mark, self._at)
            if found >= 0:
                lost(self.take(found - self._at))
                return True
            held = len(self._held) - self._at
            if held < len(mark):
                lost(self.take(held))
                return False
            lost(self.take(held - len(mark) + 1))


def _system_time_ns(parts: list[int]) -> int:
    """Return a Windows SYSTEMTIME in UTC as ns since 1970; 0 when it is no date from then on."""
    year, month, _, day, hour, minute, second, ms = parts
    try:
        date = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    except ValueError:
        return 0
    seconds = (date - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)
    time_ns = seconds * 1_000_000_000 + ms * 1_000_000
    return time_ns if 0 <= time_ns <= MAX_TIME_NS else 0


def _identifier(raw: int) -> tuple[int, int]:
    """Return an identifier and its flag, which some writers forget where 11 bits are too few."""
    can_id = raw & _ID_MASK
    return can_id, EXTENDED if raw & _EXTENDED_BIT or can_id > _LAST_11_BIT else 0


def _classic(body: bytes, _: int) -> _Frame:
    channel, bits, code, raw, data = _CLASSIC.unpack_from(body)
    can_id, flags = _identifier(raw)
    flags |= (TX if bits & 1 else 0) | (REMOTE if bits & 0x80 else 0)
    length = min(code, 8)
    return _Frame(channel, can_id, flags, length, b"" if flags & REMOTE else data[:length])


def _fd_100(body: bytes, _: int) -> _Frame:
    channel, bits, code, raw, _, _, fd, valid, data = _FD_100.unpack_from(
        body.ljust(_FD_100.size, b"\0")
    )
    can_id, flags = _identifier(raw)
    flags |= (TX if bits & 1 else 0) | (REMOTE if bits & 0x80 else 0)
    flags |= (FD if fd & 1 else 0) | (BRS if fd & 2 else 0) | (ESI if fd & 4 else 0)
    length = _fd_length(code, valid)
    return _Frame(channel, can_id, flags, length, b"" if flags & REMOTE else data[:length])


def _fd_101(body: bytes, header_bytes: int) -> _Frame:
    channel, code, valid, _, raw, _, fd, *_, direction, extra, _ = _FD_101.unpack_from(body)
    can_id, flags = _identifier(raw)
    flags |= (TX if direction else 0) | (REMOTE if fd & 0x10 else 0)
    flags |= (FD if fd & 0x1000 else 0) | (BRS if fd & 0x2000 else 0) | (ESI if fd & 0x4000 else 0)
    length = _fd_length(code, valid)
    # Some writers announce more valid bytes than they store; ``extra`` is where others begin.
    end = extra - header_bytes if extra else len(body)
    data = body[_FD_101.size : end][:length]
    return _Frame(channel, can_id, flags, length, b"" if flags & REMOTE else data)


def _fd_length(code: int, valid: int) -> int:
    """Return the length of a code; codes past the last mean 64. Raises: ValueError."""
    if valid > MAX_PAYLOAD:
        raise ValueError(f"no CAN FD frame has {valid} bytes")
    return _LENGTHS[min(code, 15)]


def _error(body: bytes, _: int) -> _Frame:
    return _Frame(_ERROR_2.unpack_from(body)[0], 0, ERROR, 0, b"")


def _fd_error(body: bytes, _: int) -> _Frame:
    return _Frame(body[0], 0, ERROR | FD, 0, b"")


_FRAME_READERS: dict[int, Callable[[bytes, int], _Frame]] = {
    1: _classic,
    2: _error,
    73: _error,
    86: _classic,
    100: _fd_100,
    101: _fd_101,
    104: _fd_error,
}
