"""PEAK ``.trc`` logs, line by line, versions 1.0 to 2.1.

::

    ;$FILEVERSION=1.1
    ;$STARTTIME=44548.6028595139
         1)     17535.4  Tx     00000100  8  00 00 00 00 00 00 00 00        1.1: no bus
    ;$FILEVERSION=2.1
    ;$COLUMNS=N,O,T,B,I,d,R,L,D
          1     17535.400 DT 1  00000100 Tx -  8    00 00 00 00 00 00 00 00

Times are the file's start time plus the offset of the line in milliseconds. The start time is
taken as UTC and to the microsecond: its text resolves 9 us. A version without a bus column names
no channel. Status and event lines hold no frame and are passed by.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from hw.logs.reading import MAX_TIME_NS, Reading
from hw.records import FrameRecords
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch

__all__ = ["EXPECTED", "read_trc"]

EXPECTED = "a TRC line such as '1) 17535.4 Rx 00000100 8 00 00 00 00 00 00 00 00'"

_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
_COLUMNS = {
    "1.0": "NOILD",
    "1.1": "NOTILD",
    "1.2": "NOBTILD",
    "1.3": "NOBTIRLD",
    "2.0": "NOTIdLD",
    "2.1": "NOTBIdRLD",
}
_DAYS_TO_1970 = 25_569
_DAY_US = 86_400_000_000
_FLAGS_BY_TYPE = {
    "DT": 0,
    "RR": REMOTE,
    "FD": FD,
    "FB": FD | BRS,
    "FE": FD | BRS | ESI,
    "BI": FD | ESI,
    "ER": ERROR,
    "RX": 0,
    "TX": TX,
    "ERROR": ERROR,
}
_NO_FRAME = {"ST", "EC", "EV", "WARNG", "EVENT"}


@dataclass(slots=True)
class _Layout:
    """What the header says about the lines; a file without one is of version 1.0."""

    columns: str = _COLUMNS["1.0"]
    start_ns: int = 0
    at: dict[str, int] = field(default_factory=dict)

    def read(self, line: str) -> None:
        key, _, value = line.removeprefix(";$").partition("=")
        if key == "FILEVERSION":
            self.columns = _COLUMNS.get(value.strip(), self.columns)
        elif key == "STARTTIME":
            self.start_ns = _start_ns(value.strip())
        elif key == "COLUMNS":
            self.columns = value.replace(",", "").replace(" ", "")
        self.at = {}

    def split(self, line: str) -> list[str]:
        if not self.at:
            self.at = {name: i for i, name in enumerate(self.columns)}
        return line.split(maxsplit=len(self.columns) - 1)


def read_trc(reading: Reading) -> Iterator[FrameBatch]:
    """Read a TRC log. Resolution: as written, 0.1 ms or 1 us."""
    return reading.batches(lambda records: _fill(reading, records))


def _fill(reading: Reading, records: FrameRecords) -> Iterator[None]:
    layout = _Layout()
    for number, line in reading.lines():
        text = line.strip()
        if not text:
            continue
        try:
            if text.startswith(";"):
                layout.read(text)
                continue
            if not _append(layout, layout.split(text), reading, records):
                continue
        except (ValueError, IndexError, KeyError):
            reading.damage.report(f"line {number}", line)
            continue
        yield


def _append(layout: _Layout, words: list[str], reading: Reading, records: FrameRecords) -> bool:
    """Store the frame of a line; False for a line that is no frame.

    Raises: ValueError, IndexError or KeyError, when it ought to be a frame and is not.
    """
    at = layout.at
    kind = words[at["T"]].upper() if "T" in at else "RX"
    time_ns = layout.start_ns + _offset_ns(words[at["O"]])
    if time_ns > MAX_TIME_NS:
        raise ValueError(f"no log lasts {words[at['O']]} ms")
    if kind in _NO_FRAME or ("T" not in at and words[at["I"]].upper() == "FFFFFFFF"):
        return False
    flags = _FLAGS_BY_TYPE[kind]
    if "d" in at and words[at["d"]].lower() == "tx":
        flags |= TX
    channel = str(int(words[at["B"]])) if "B" in at else ""
    if flags & ERROR:
        records.append(time_ns, reading.bus(channel), 0, flags, 0, b"")
        return True
    can_id, extended = _identifier(words[at["I"]])
    length = _length(words, at, bool(flags & FD))
    data = words[at["D"]].split() if length and at["D"] < len(words) else []
    if data[:1] == ["RTR"]:
        flags |= REMOTE
    payload = b"" if flags & REMOTE else bytes(int(word, 16) for word in data[:length])
    if not flags & REMOTE and len(payload) != length:
        raise ValueError(f"{length} bytes announced, {len(payload)} there")
    records.append(time_ns, reading.bus(channel), can_id, flags | extended, length, payload)
    return True


def _length(words: list[str], at: dict[str, int], fd: bool) -> int:
    """Return the length in bytes, from the length column or the code. Raises: ValueError."""
    if "l" in at:
        length = int(words[at["l"]])
    else:
        code = int(words[at["L"]])
        length = _LENGTHS[code] if fd and 0 <= code < 16 else min(code, 8)
    if length not in _LENGTHS or (length > 8 and not fd):
        raise ValueError(f"no frame is {length} bytes long")
    return length


def _identifier(text: str) -> tuple[int, int]:
    """Return identifier and flag: eight digits are 29 bits, four are 11. Raises: ValueError."""
    can_id, extended = int(text, 16), len(text) > 4
    if not 0 <= can_id <= (0x1FFF_FFFF if extended else 0x7FF):
        raise ValueError(f"identifier {text} out of range")
    return can_id, EXTENDED if extended else 0


def _offset_ns(text: str) -> int:
    """Return an offset in milliseconds as ns, without passing a float. Raises: ValueError."""
    whole, _, decimals = text.partition(".")
    if not whole.isdigit() or not whole.isascii() or (decimals and not decimals.isdigit()):
        raise ValueError(f"not an offset in ms: {text!r}")
    return int(whole) * 1_000_000 + int(decimals[:6].ljust(6, "0"))


def _start_ns(text: str) -> int:
    """Return a start time, in days since 1899-12-30, as ns since 1970. Raises: ValueError."""
    try:
        days = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a start time: {text!r}") from None
    if not days.is_finite() or not 0 <= days < 1_000_000:
        raise ValueError(f"not a start time: {text!r}")
    return int(((days - _DAYS_TO_1970) * _DAY_US).to_integral_value()) * 1_000
