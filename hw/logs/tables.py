"""Tables of frames other than GVRET's: python-can's ``.csv``, and that of CANedge's converters.

::

    timestamp,arbitration_id,extended,remote,error,dlc,data
    1700000000.25,0x18feca00,1,0,0,8,ESIzRFVmd4g=                 the payload in base64

    TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;DataBytes
    1581670628.161750;1;123;0;1;1;0;0;0;12                        all but numbers in hexadecimal

Which of them it is, the first line says; columns are found by their names, rows read one by one.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation

from hw.logs.reading import Reading
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

__all__ = ["CANEDGE_HEADER", "EXPECTED", "PYTHON_CAN_HEADER", "read_table"]

EXPECTED = "a row such as '1700000000.25,0x123,0,0,0,2,ESI=' below python-can's header"
PYTHON_CAN_HEADER = "timestamp,arbitration_id,"
CANEDGE_HEADER = "timestampepoch;"

_MOST_SECONDS = 9_000_000_000

_Row = Mapping[str, str]
_Frame = tuple[int, str, int, int, int, bytes]
"""time, channel, identifier, flags, length, payload"""
_CANEDGE_FLAGS = {"ide": EXTENDED, "edl": FD, "brs": BRS, "esi": ESI, "rtr": REMOTE, "dir": TX}
_CANEDGE_COLUMNS = ("buschannel", "id", "ide", "datalength", "databytes")
_PYTHON_CAN_FLAGS = {"extended": EXTENDED, "remote": REMOTE, "error": ERROR}
_PYTHON_CAN_COLUMNS = ("timestamp", "arbitration_id", *_PYTHON_CAN_FLAGS, "dlc", "data")


def read_table(reading: Reading) -> Iterator[FrameBatch]:
    """Read a table of frames. Resolution: as written.

    Raises: SourceError, when the first line is no header of such a table of CAN frames.
    """
    return reading.batches(lambda records: _fill(reading, records))


def _fill(reading: Reading, records: FrameRecords) -> Iterator[None]:
    lines = reading.lines()
    separator, columns, read = _header(next(lines, (1, ""))[1], reading)
    for number, line in lines:
        if not line.strip():
            continue
        try:
            cells = [cell.strip() for cell in line.split(separator)]
            frame = read(dict(zip(columns, cells, strict=True)))
            time_ns, channel, can_id, flags, length, payload = _checked(frame)
            bus = reading.bus(channel)
        except (ValueError, KeyError):
            reading.damage.report(f"line {number}", line)
            continue
        records.append(time_ns, bus, can_id, flags, length, payload)
        yield


def _header(line: str, reading: Reading) -> tuple[str, list[str], Callable[[_Row], _Frame]]:
    header = line.strip().lower()
    known = (
        (",", _PYTHON_CAN_COLUMNS, _python_can_frame),
        (";", _CANEDGE_COLUMNS, _canedge_frame),
    )
    for separator, needed, read in known:
        columns = header.split(separator)
        if set(needed) <= set(columns):
            return separator, columns, read
    raise SourceError(
        f"cannot read {reading.path}: a table of CAN frames begins with the columns "
        f"{','.join(_PYTHON_CAN_COLUMNS)}; found {line[:80]!r}"
    )


def _python_can_frame(row: _Row) -> _Frame:
    flags = sum(bit for name, bit in _PYTHON_CAN_FLAGS.items() if int(row[name]))
    payload = base64.b64decode(row["data"], validate=True)
    length = int(row["dlc"]) if flags & REMOTE else len(payload)
    flags |= FD if length > 8 else 0
    return _time_ns(row["timestamp"]), "", int(row["arbitration_id"], 16), flags, length, payload


def _canedge_frame(row: _Row) -> _Frame:
    flags = sum(bit for name, bit in _CANEDGE_FLAGS.items() if int(row.get(name, "0")))
    payload = bytes.fromhex(row["databytes"])
    length = int(row["datalength"])
    if len(payload) != length and not flags & REMOTE:
        raise ValueError(f"{length} bytes announced, {len(payload)} there")
    time_ns = _time_ns(row[CANEDGE_HEADER.rstrip(";")])
    return time_ns, row["buschannel"], int(row["id"], 16), flags, length, payload


def _checked(frame: _Frame) -> _Frame:
    """Return a frame that can be one. Raises: ValueError."""
    time_ns, channel, can_id, flags, length, payload = frame
    if not 0 <= can_id <= (0x1FFF_FFFF if flags & EXTENDED else 0x7FF):
        raise ValueError(f"identifier {can_id:#x} out of range")
    if not 0 <= length <= MAX_PAYLOAD:
        raise ValueError(f"no frame is {length} bytes long")
    if flags & (REMOTE | ERROR):
        payload = b""
    return time_ns, channel, can_id, flags, length, payload


def _time_ns(text: str) -> int:
    """Return seconds as ns, without passing a float. Raises: ValueError."""
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a time: {text!r}") from None
    if not seconds.is_finite() or not 0 <= seconds < _MOST_SECONDS:
        raise ValueError(f"not a time: {text!r}")
    return int((seconds * 1_000_000_000).to_integral_value())
