"""SavvyCAN's GVRET ``.csv``, read with numpy; rows that differ, one by one.

::

    Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8
    1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3D
    Time Stamp,ID,Extended,Dir,Bus,LEN,D1,...            the newer form, which says Rx or Tx

Times are microseconds; one with a decimal point is seconds. Data bytes are hexadecimal.
"""

from collections.abc import Iterator
from functools import partial
from string import hexdigits

import numpy as np
from numpy.typing import NDArray

from hw.logs.digits import decimal, hexadecimal
from hw.logs.reading import MAX_TIME_NS, Reading
from hw.logs.text import Lines, Positions, in_pieces, reread
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import EXTENDED, FD, MAX_PAYLOAD, TX, FrameBatch

__all__ = ["EXPECTED", "read_gvret"]

EXPECTED = "a GVRET row such as '1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3D'"

_US = 1_000
_HEADER = "time stamp,id,extended"
_TRUE = {b"true", b"1"}
_FALSE = {b"false", b"0"}


def read_gvret(reading: Reading) -> Iterator[FrameBatch]:
    """Read a GVRET log. Resolution: 1 us, or as written.

    Raises: SourceError, when the first line is not a GVRET header.
    """
    lines_before = 0
    directed: bool | None = None
    for block in reading.blocks():
        rows = block
        if directed is None:
            header, _, rows = block.partition(b"\n")
            directed = _has_direction(header, reading)
            lines_before = 1
        lines = Lines.split(rows, lines_before)
        lines_before += lines.count
        if len(lines):
            batch = _Rows(lines, reading, directed).frames()
            yield from in_pieces(batch, reading.batch_frames)


def _has_direction(header: bytes, reading: Reading) -> bool:
    """Read the header. Raises: SourceError, when it is none."""
    text = header.decode("utf-8-sig", "replace").strip().lower().replace(", ", ",")
    if not text.startswith(_HEADER):
        raise SourceError(
            f"cannot read {reading.path}: expected a .csv that begins with 'Time Stamp,ID,Extended,"
            f"Bus,LEN,D1' (GVRET), 'timestamp,arbitration_id,' (python-can) or 'TimestampEpoch;' "
            f"(CANedge), found {text[:60]!r}"
        )
    return ",dir," in text


class _Rows:
    """The rows of one block on their way to a batch."""

    def __init__(self, lines: Lines, reading: Reading, directed: bool) -> None:
        self.lines, self.text = lines, lines.text
        self.reading, self.directed = reading, directed
        self.commas = np.append(self.text.find(b","), len(self.text.bytes))
        self.first = np.searchsorted(self.commas, lines.start)

    def frames(self) -> FrameBatch:
        fields = 5 if self.directed else 4
        ok = self._comma(fields - 1) < self.lines.stop
        length, good = self._decimal(fields)
        ok &= good & (length <= MAX_PAYLOAD)
        length = np.where(ok, length, 0)
        batch = FrameBatch.zeros(len(ok), MAX_PAYLOAD if length.max() > 8 else 8)
        batch.length[:] = length
        ok &= self._read_head(batch, fields)
        ok &= self._read_bytes(batch.data, self._comma(fields) + 1, length)
        read_row = partial(_read_row, self.reading, self.directed)
        return reread(self.lines, batch, ok, self.reading, read_row)

    def _comma(self, field: int) -> Positions:
        """Return where a field ends: at its comma, or at the line's end."""
        found: Positions = self.commas[np.minimum(self.first + field, len(self.commas) - 1)]
        return np.minimum(found, self.lines.stop)

    def _start(self, field: int) -> Positions:
        return self._comma(field - 1) + 1 if field else self.lines.start

    def _decimal(self, field: int) -> tuple[Positions, NDArray[np.bool_]]:
        stop = self._comma(field)
        return decimal(self.text, stop, stop - self._start(field))

    def _read_head(self, batch: FrameBatch, length_field: int) -> NDArray[np.bool_]:
        text = self.text
        time_us, ok = self._decimal(0)
        ok &= time_us <= MAX_TIME_NS // _US
        batch.time_ns[:] = time_us * _US
        stop = self._comma(1)
        batch.can_id[:], good = hexadecimal(text, stop, stop - self._start(1))
        extended, known = self._one_of(2, b"tT1", b"fF0")
        batch.flags[:] = np.where(extended, np.uint8(EXTENDED), np.uint8(0))
        batch.flags[:] |= np.where(batch.length > 8, np.uint8(FD), np.uint8(0))
        ok &= good & known & (batch.can_id <= np.where(extended, 0x1FFFFFFF, 0x7FF))
        if self.directed:
            sent, known = self._one_of(3, b"tT", b"rR")
            batch.flags[:] |= np.where(sent, np.uint8(TX), np.uint8(0))
            ok &= known
        bus, good = self._decimal(length_field - 1)
        return ok & good & self._read_bus(batch, bus, ok & good)

    def _one_of(self, field: int, yes: bytes, no: bytes) -> tuple[NDArray[np.bool_], ...]:
        """Return whether a field's first letter is one of ``yes``, and whether it is known."""
        letter = self.text.bytes[self._start(field)]
        positive = np.isin(letter, list(yes))
        return positive, positive | np.isin(letter, list(no))

    def _read_bus(
        self, batch: FrameBatch, bus: Positions, ok: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        unnamed = ok.copy()
        good = ok.copy()
        while unnamed.any():
            number = int(bus[np.argmax(unnamed)])
            same = unnamed & (bus == number)
            unnamed &= ~same
            try:
                batch.bus[same] = self.reading.bus(str(number))
            except ValueError:  # more channels than an index can tell apart
                good &= ~same
        return good

    def _read_bytes(
        self, data: NDArray[np.uint8], first: Positions, length: Positions
    ) -> NDArray[np.bool_]:
        """Fill in payloads; a row is good when each byte is two digits between two commas."""
        text, stop = self.text, self.lines.stop
        end = first + 3 * length - 1
        good: NDArray[np.bool_] = (end == stop) | (length == 0)
        good |= (end < stop) & (text.bytes[np.minimum(end, stop)] == ord(","))
        for i in range(int(length.max(initial=0))):
            has = length > i
            at = np.minimum(first + 3 * i, stop)
            value = _PAIRS.take(text.pair(at))
            good &= ~has | ((value < 0x100) & (text.bytes[at - 1] == ord(",")))
            data[:, i] = np.where(has, value, 0)
        return good


def _pair_table() -> NDArray[np.uint16]:
    """Return the byte that two hexadecimal characters spell, 0x100 where they spell none."""
    table = np.full(1 << 16, 0x100, np.uint16)
    digits = {ord(c): int(c, 16) for c in hexdigits}
    for first, high in digits.items():
        for second, low in digits.items():
            table[first | second << 8] = high << 4 | low
    return table


_PAIRS = _pair_table()


def _read_row(reading: Reading, directed: bool, line: bytes) -> FrameBatch | None:
    """Read one row leniently: blanks, ``0x``, single digits, seconds with a decimal point."""
    cells = [cell.strip() for cell in line.split(b",")]
    sent = directed and len(cells) > 3 and cells.pop(3).lower() == b"tx"
    if len(cells) < 5 or cells[2].lower() not in _TRUE | _FALSE:
        return None
    extended = cells[2].lower() in _TRUE
    try:
        time_ns = _time_ns(cells[0])
        can_id = int(cells[1], 16)
        bus, length = reading.bus(str(int(cells[3]))), int(cells[4])
        payload = bytes(int(cell, 16) for cell in cells[5 : 5 + length])
    except ValueError:
        return None
    if not 0 <= length == len(payload) <= MAX_PAYLOAD:
        return None
    if not 0 <= can_id <= (0x1FFFFFFF if extended else 0x7FF):
        return None
    frame = FrameBatch.zeros(1, 8 if length <= 8 else MAX_PAYLOAD)
    frame.time_ns[0], frame.bus[0], frame.can_id[0] = time_ns, bus, can_id
    frame.flags[0] = EXTENDED * extended | TX * sent | (FD if length > 8 else 0)
    frame.length[0] = length
    frame.data[0, :length] = np.frombuffer(payload, np.uint8)
    return frame


def _time_ns(text: bytes) -> int:
    """Return a time in ns: whole numbers are microseconds, others seconds. Raises: ValueError.

    It may be negative: SavvyCAN writes what was there before its time began anew.
    """
    whole, dot, decimals = text.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or (dot and not decimals.isdigit()) or len(whole) > 16:
        raise ValueError(f"not a time: {text!r}")
    time_ns = int(whole) * _US
    if dot:
        time_ns = int(whole) * 1_000_000_000 + int(decimals[:9].ljust(9, b"0"))
    if time_ns > MAX_TIME_NS:
        raise ValueError(f"not a time: {text!r}")
    return -time_ns if text.startswith(b"-") else time_ns
