"""Vector ``.asc`` logs, line by line.

::

    date Wed, 08 Nov 2023 21:17:01 GMT
    base hex  timestamps absolute
       0.083540 0  594   Rx   d 8 34 21 34 21 A0 62 01 20          classic; channel 0, id 594
       3.098426 1  18EBFF00x       Rx d 8 01 A0 0F A6 60 3B D1 40    Length = ...       29 bits
       4.876870 1  EngineData Tx d 1 00 Length = 240000 BitCount = 145 ID = 100     by its name
   2.584921 4 300 Tx r 8                                       remote
       2.501000 1 ErrorFrame
      30.005071 CANFD   2 Rx   300  Name   1 0 8  8 01 02 03 04 05 06 07 08   102203 ...

Channels keep the number that the file gives them. Times are the file's own, counted from the start
of its measurement; with ``timestamps relative`` each counts from the event before, so they are
summed up. Other events (statistics, bus status, J1939TP, markers) hold no frame and are passed by.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hw.logs.reading import MAX_TIME_NS, Reading
from hw.records import FrameRecords
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch

__all__ = ["EXPECTED", "read_asc"]

EXPECTED = "an ASC event such as '0.083540 1 594 Rx d 8 34 21 34 21 A0 62 01 20'"

_HEADERS = ("date", "base", "internal", "no", "begin", "end", "//", ";", "previous")
_FD_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


@dataclass(slots=True)
class _State:
    """What the header and the lines so far say about the lines to come."""

    base: int = 16
    relative: bool = False
    now_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    can_id: int = 0
    flags: int = 0
    length: int = 0
    payload: bytes = b""


def read_asc(reading: Reading) -> Iterator[FrameBatch]:
    """Read an ASC log. Resolution: as written."""
    return reading.batches(lambda records: _fill(reading, records))


def _fill(reading: Reading, records: FrameRecords) -> Iterator[None]:
    state = _State()
    for number, line in reading.lines():
        words = line.split()
        if not words or _is_header(words, state):
            continue
        try:
            now_ns = _time_ns(words[0]) + (state.now_ns if state.relative else 0)
            if now_ns > MAX_TIME_NS:
                raise ValueError(f"no log lasts until {words[0]}")
            state.now_ns = now_ns
            event = _event(words[1:], state.base)
            if event is None:
                continue
            channel, frame = event
            bus = reading.bus(channel)
        except (ValueError, IndexError):
            reading.damage.report(f"line {number}", line)
            continue
        records.append(state.now_ns, bus, frame.can_id, frame.flags, frame.length, frame.payload)
        yield


def _is_header(words: list[str], state: _State) -> bool:
    """Read a line of the header, a comment or a trigger block's bounds."""
    first = words[0].lower()
    if first == "base" and len(words) > 1:
        state.base = 10 if words[1].lower() == "dec" else 16
        state.relative = words[2:4] != [] and words[-1].lower() == "relative"
    return first.startswith(_HEADERS)


def _time_ns(text: str) -> int:
    """Return a time in seconds as ns, without passing a float. Raises: ValueError."""
    whole, dot, decimals = text.partition(".")
    if not (whole.isdigit() and whole.isascii() and dot and decimals.isdigit()):
        raise ValueError(f"not a time: {text!r}")
    return int(whole) * 1_000_000_000 + int(decimals[:9].ljust(9, "0"))


def _event(words: list[str], base: int) -> tuple[str, _Frame] | None:
    """Return channel and frame of an event; None for an event that is not a frame.

    Raises: ValueError or IndexError, when it ought to be a frame and is not.
    """
    if words[0] == "CANFD":
        return _channel(words[1]), _fd_frame(words[2:], base)
    if not words[0].isdigit():
        return None
    rest = words[1:]
    if rest[0].lower() == "errorframe":
        return _channel(words[0]), _Frame(flags=ERROR)
    if rest[0].endswith(":") or rest[0].lower() in ("j1939tp", "overloadframe", "statistic"):
        return None
    if rest[1].lower() == "txrq":
        return None
    return _channel(words[0]), _classic_frame(rest, base)


def _channel(text: str) -> str:
    """Return the channel's number without leading zeros."""
    return str(int(text))


def _identifier(text: str, base: int) -> tuple[int, int]:
    extended = text[-1] in "xX"
    can_id = int(text[:-1] if extended else text, base)
    if not 0 <= can_id <= (0x1FFF_FFFF if extended else 0x7FF):
        raise ValueError(f"identifier {text} out of range")
    return can_id, EXTENDED if extended else 0


def _named_identifier(words: list[str]) -> tuple[int, int] | None:
    """Return the identifier that stands, in decimal, behind a frame that may have a name instead.

    Raises: ValueError or IndexError, if there is none behind its mark.
    """
    if "ID" not in words:
        return None
    mark = words.index("ID", 1)
    return _identifier(words[mark + 2], 10) if words[mark + 1] == "=" else None


def _direction(text: str) -> int:
    if text.lower() not in ("rx", "tx"):
        raise ValueError(f"neither Rx nor Tx: {text!r}")
    return TX if text.lower() == "tx" else 0


def _payload(words: list[str], length: int, base: int) -> bytes:
    if length < 0 or len(words) < length:
        raise ValueError(f"{length} bytes announced, {len(words)} there")
    return bytes(int(word, base) for word in words[:length])


def _classic_frame(words: list[str], base: int) -> _Frame:
    can_id, flags = _named_identifier(words) or _identifier(words[0], base)
    flags |= _direction(words[1])
    kind = words[2].lower()
    if kind == "r":
        asked = words[3] if len(words) > 3 else ""
        length = int(asked, base) if asked.isalnum() and len(asked) == 1 else 0
        return _Frame(can_id, flags | REMOTE, min(length, 8))
    if kind != "d":
        raise ValueError(f"neither data nor remote: {kind!r}")
    length = min(int(words[3], base), 8)
    return _Frame(can_id, flags, length, _payload(words[4:], length, base))


def _fd_frame(words: list[str], base: int) -> _Frame:
    """Read what follows the channel of a CANFD event, which also carries classic frames."""
    flags = FD | _direction(words[0])
    if words[1].lower() == "errorframe":
        return _Frame(flags=flags | ERROR)
    can_id, extended = _identifier(words[1], base)
    # A symbolic name may stand between the identifier and the bit rate switch.
    at = 2 if words[2] in ("0", "1") and words[3] in ("0", "1") else 3
    flags |= extended | (BRS if words[at] == "1" else 0) | (ESI if words[at + 1] == "1" else 0)
    code, length = int(words[at + 2], 16), int(words[at + 3])
    if length == 0 and code:
        return _Frame(can_id, flags | REMOTE, min(code, 8))
    if length not in _FD_LENGTHS or not 0 <= code <= 15:
        raise ValueError(f"no CAN FD frame is {length} bytes long")
    return _Frame(can_id, flags, length, _payload(words[at + 4 :], length, base))
