"""``candump -L`` logs, read with numpy a megabyte at a time; lines that differ, one by one.

::

    (1597243084.254287) vcan0 118#5003851817800000        11 bits, classic
    (1597243084.254694) can1 18FEF100#R8                  29 bits, remote, asked for 8 bytes
    (1597243084.261843) can1 123##5112233 T               FD: flags 5, payload; sent by us
    (1597243084.263138) can1 20000004#0001000000000000    an error frame

Times have up to nine decimals and are kept exactly. The vectorised path takes the regular lines;
a line that fails any of its checks is tried again alone, more leniently, and counts as damage when
that fails too.
"""

import re
from collections.abc import Iterator
from functools import partial
from string import hexdigits

import numpy as np
from numpy.typing import NDArray

from hw.logs.digits import decimal, first_characters, fraction_ns, hex_bytes, hexadecimal
from hw.logs.reading import MAX_TIME_NS, Reading
from hw.logs.text import Lines, Positions, in_pieces, reread
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

__all__ = ["EXPECTED", "read_candump"]

EXPECTED = "a candump line such as '(1597243084.254287) can0 118#5003851817800000'"

_ERROR_BIT = 0x2000_0000
_ID_MASK = 0x1FFF_FFFF
_SECOND_NS = 1_000_000_000
_MOST_SECONDS = MAX_TIME_NS // _SECOND_NS
_LONGEST_NAME = 16
_FD_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
_IS_FD_LENGTH = np.isin(np.arange(MAX_PAYLOAD + 1), _FD_LENGTHS)
_NIBBLE = np.array([int(chr(c), 16) if chr(c) in hexdigits else 16 for c in range(256)], np.uint8)
_FD_FLAGS = np.array([FD | BRS * (b & 1) | ESI * (b >> 1 & 1) for b in range(17)], np.uint8)

_LINE = re.compile(
    rb"\s*\(\s*(?P<s>\d{1,10})\.(?P<f>\d{1,9})\)\s+(?P<channel>[^\s#]+)\s+"
    rb"(?:(?P<id>[0-9A-Fa-f]{1,8})#(?:#(?P<flags>[0-9A-Fa-f]))?"
    rb"(?:(?P<remote>[Rr])(?P<dlc>[0-9A-Fa-f])?|(?P<data>(?:[0-9A-Fa-f]{2}\.?)*))(?:_[0-9A-Fa-f])?"
    rb"|(?P<plain_id>[0-9A-Fa-f]{3,8})\s+\[0?(?P<count>\d{1,2})\]"
    rb"(?:\s+(?P<plain_remote>remote request)|(?P<plain>(?:\s+[0-9A-Fa-f]{2})*)))"
    rb"(?:\s+(?P<direction>[RrTt]))?(?:\s+ERRORFRAME)?\s*"
)


def read_candump(reading: Reading) -> Iterator[FrameBatch]:
    """Read a candump log. Resolution: as written, up to 1 ns."""
    lines_before = 0
    for block in reading.blocks():
        lines = Lines.split(block, lines_before)
        lines_before += lines.count
        if len(lines):
            yield from in_pieces(_Block(lines, reading).frames(), reading.batch_frames)


class _Block:
    """The lines of one block on their way to a batch."""

    def __init__(self, lines: Lines, reading: Reading) -> None:
        self.lines, self.text, self.reading = lines, lines.text, reading
        self.close = self._closing(lines)
        self.hash_at = self._hashes(lines)
        self.fd = self.text.bytes[self.hash_at + 1] == ord("#")

    def _closing(self, lines: Lines) -> Positions:
        """Return where each time ends: as far in as on the first line, or by search.

        An earlier ``)`` cannot hide from this: a time that has one inside is not regular.
        """
        first = lines.line(0).find(b")")
        guess = np.minimum(lines.start + max(first, 0), lines.stop)
        if (self.text.bytes[guess] == ord(")")).all():
            return guess
        return lines.first(b")", lines.start)

    def _hashes(self, lines: Lines) -> Positions:
        """Return each line's first ``#`` after its time: where the first line's name puts it.

        Or by search, if names are not of one length. A name that holds a ``#`` itself is none.
        """
        name = lines.text.raw[self.close[0] + 2 : lines.stop[0]].partition(b" ")[0]
        narrow = np.minimum(self.close + (len(name) + 6), lines.stop)
        wide = np.minimum(narrow + 5, lines.stop)
        at = np.where(self.text.bytes[narrow] == ord("#"), narrow, wide)
        if (self.text.bytes[at] == ord("#")).all():
            return at
        return lines.first(b"#", self.close)

    def frames(self) -> FrameBatch:
        batch = FrameBatch.zeros(len(self.lines), MAX_PAYLOAD if self.fd.any() else 8)
        ok = self._read_head(batch)
        ok &= self._read_payload(batch, ok)
        return reread(self.lines, batch, ok, self.reading, partial(_read_line, self.reading))

    def _read_head(self, batch: FrameBatch) -> NDArray[np.bool_]:
        """Fill in times, buses and identifiers; say which rows are regular."""
        text, start, close, hash_at = self.text, self.lines.start, self.close, self.hash_at
        # Most logs have six decimals: their dot is found without a search.
        dot = close - 7
        odd = text.bytes[dot] != ord(".")
        if odd.any():
            dot = np.where(odd, self.lines.first(b".", start), dot)
        seconds, ok = decimal(text, dot, dot - start - 1)
        fraction, good = fraction_ns(text, dot + 1, close - dot - 1)
        ok &= good & (dot - start <= 11) & (text.bytes[start] == ord("("))
        ok &= seconds < _MOST_SECONDS
        batch.time_ns[:] = np.where(ok, seconds, 0) * _SECOND_NS + fraction

        wide = text.bytes[hash_at - 4] != ord(" ")
        space = np.where(wide, hash_at - 9, hash_at - 4)
        can_id, good = hexadecimal(text, hash_at, hash_at - space - 1)
        ok &= good & (text.bytes[space] == ord(" ")) & (text.bytes[close + 1] == ord(" "))
        ok &= (hash_at < self.lines.stop) & (space > close + 2)
        batch.can_id[:] = can_id & np.uint32(_ID_MASK)
        batch.flags[:] = np.where(wide, np.uint8(EXTENDED), np.uint8(0))
        batch.flags[:] |= np.where(can_id & np.uint32(_ERROR_BIT), np.uint8(ERROR), np.uint8(0))
        ok &= wide | (can_id < 0x800)
        return ok & self._read_bus(batch, close + 2, space, ok)

    def _read_bus(
        self, batch: FrameBatch, start: Positions, stop: Positions, ok: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Name by name: a log has few channels, so each costs one comparison of all rows."""
        text = self.text
        length = stop - start
        good = ok & (length > 0) & (length <= _LONGEST_NAME)
        low = text.word(start) & first_characters(length)
        high = None
        if length.max() > 8:
            high = text.word(start + 8) & first_characters(length - 8)
        unnamed = good.copy()
        while unnamed.any():
            row = int(np.argmax(unnamed))
            name = text.raw[start[row] : stop[row]]
            same = unnamed & (low == low[row])
            if high is not None:
                same &= high == high[row]
            unnamed &= ~same
            bus = self._bus(name) if name.split() == [name] and b"#" not in name else None
            if bus is None:
                good &= ~same
            else:
                batch.bus[same] = bus
        return good

    def _bus(self, name: bytes) -> int | None:
        try:
            return self.reading.bus(name.decode())
        except (ValueError, UnicodeDecodeError):
            return None

    def _read_payload(self, batch: FrameBatch, ok: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Fill in lengths and payloads; remote frames are left to go line by line."""
        text, stop, fd = self.text, self.lines.stop, self.fd
        first = self.hash_at + np.where(fd, 3, 1)
        last = text.bytes[stop - 1]
        directed = (text.bytes[stop - 2] == ord(" ")) & (stop - 2 >= first)
        sent = directed & ((last == ord("T")) | (last == ord("t")))
        directed &= sent | (last == ord("R")) | (last == ord("r"))
        batch.flags[:] |= np.where(sent, np.uint8(TX), np.uint8(0))
        count = stop - np.where(directed, 2, 0) - first
        good: NDArray[np.bool_] = ok & (count >= 0) & (count % 2 == 0)
        good &= count <= np.where(fd, 2 * MAX_PAYLOAD, 16)
        length = np.where(good, count // 2, 0)
        if fd.any():
            bits = _NIBBLE[text.bytes[self.hash_at + 2]]
            good &= ~fd | ((bits < 16) & _IS_FD_LENGTH[length])
            batch.flags[:] |= np.where(fd, _FD_FLAGS[bits], np.uint8(0))
        self._read_bytes(batch.data, first, length, good)
        batch.length[:] = length
        return good

    def _read_bytes(
        self,
        data: NDArray[np.uint8],
        first: Positions,
        length: NDArray[np.int64],
        good: NDArray[np.bool_],
    ) -> None:
        """Fill in payloads four bytes at a time; rows with a byte that is none turn not good."""
        fours = data.view("<u4")
        rows: NDArray[np.intp] | slice = slice(None)
        for i in range(-(-int(length.max(initial=0)) // 4)):
            if i == 2:  # few rows of most logs are longer: from here on only they are touched
                rows = np.flatnonzero(length > 8)
            at = np.minimum(first[rows] + 8 * i, self.lines.stop[rows])
            fours[rows, i], ok = hex_bytes(self.text, at, 2 * length[rows] - 8 * i)
            good[rows] &= ok


def _read_line(reading: Reading, line: bytes) -> FrameBatch | None:
    """Read one line of any shape that candump writes to a file or a terminal."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    part = match.groupdict()
    id_text = part["id"] or part["plain_id"]
    can_id, wide = int(id_text, 16), len(id_text) > 3
    payload = bytes.fromhex((part["data"] or part["plain"] or b"").replace(b".", b"").decode())
    length = _length_of(part, payload)
    if int(part["s"]) >= _MOST_SECONDS:
        return None
    if length is None or (not wide and can_id > 0x7FF):
        return None
    try:
        bus = reading.bus(part["channel"].decode())
    except ValueError:  # too many channels, or a name that is not text
        return None
    frame = FrameBatch.zeros(1, 8 if length <= 8 else MAX_PAYLOAD)
    frame.time_ns[0] = int(part["s"]) * _SECOND_NS + int(part["f"].ljust(9, b"0"))
    frame.bus[0] = bus
    frame.can_id[0] = can_id & _ID_MASK
    frame.flags[0] = _flags_of(part, can_id, wide)
    frame.length[0] = length
    frame.data[0, : len(payload)] = np.frombuffer(payload, np.uint8)
    return frame


def _length_of(part: dict[str, bytes | None], payload: bytes) -> int | None:
    """Return the frame's length, or None when the parts of the line contradict each other."""
    if part["remote"] or part["plain_remote"]:
        asked = int(part["dlc"] or b"0", 16) if part["remote"] else int(part["count"] or 0)
        return min(asked, 8)
    if part["count"] is not None and int(part["count"]) != len(payload):
        return None
    fd = part["flags"] is not None or len(payload) > 8
    if part["id"] and fd and part["flags"] is None:
        return None
    return len(payload) if not fd or len(payload) in _FD_LENGTHS else None


def _flags_of(part: dict[str, bytes | None], can_id: int, wide: bool) -> int:
    flags = EXTENDED if wide else 0
    if can_id & _ERROR_BIT and wide:
        flags |= ERROR
    if part["remote"] or part["plain_remote"]:
        flags |= REMOTE
    if part["flags"] is not None:
        bits = int(part["flags"], 16)
        flags |= FD | (BRS if bits & 1 else 0) | (ESI if bits & 2 else 0)
    elif part["count"] is not None and int(part["count"]) > 8:
        flags |= FD
    return flags | (TX if part["direction"] in (b"T", b"t") else 0)
