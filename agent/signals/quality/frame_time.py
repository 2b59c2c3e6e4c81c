"""How long a frame occupies its bus, by its kind and length.

A frame is sent with a stuff bit after five equal ones: how many these are depends on the data. The
*expected* time counts one stuff bit in twelve, which on the recorded drives of three cars and a
tractor came within 3 % of the exact load; the *worst* time counts as many as there can be. The
three bits between frames are part of a frame. A CAN FD frame with bit rate switch sends what
follows the switch, up to the end of its checksum, at the data bit rate.

Source: ISO 11898-1:2015, 10.4 (frame formats) and 10.5 (bit stuffing).
"""

from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from user_lib.contract.clock import SECOND
from user_lib.contract.frames import BRS, ERROR, EXTENDED, FD, MAX_PAYLOAD, REMOTE

__all__ = ["Bitrate", "FrameTimes"]

_EXPECTED_STUFFING = 1 / 12
_CLASSIC_BYTES = 8
_KIND = EXTENDED | REMOTE | ERROR | FD | BRS
"""The flags that say how long a frame takes: the lowest five bits, so they number its kind."""
_KINDS, _LENGTHS = _KIND + 1, 1 << 8


class Bitrate(msgspec.Struct, frozen=True):
    """The speed of a bus, in bit/s; ``data_bitrate`` is that of CAN FD with bit rate switch."""

    bitrate: int = 500_000
    data_bitrate: int = 2_000_000


@dataclass(frozen=True, slots=True)
class _Bits:
    """The bits of a frame, apart from stuff bits that the data asks for.

    ``stuffed`` ones may be followed by a stuff bit, ``fixed`` ones not; the ``data_`` ones are sent
    at the data bit rate.
    """

    stuffed: int
    fixed: int
    data_stuffed: int = 0
    data_fixed: int = 0


def _bits(flags: int, length: int) -> _Bits:
    extended = bool(flags & EXTENDED)
    if flags & REMOTE or not flags & FD:
        payload = 0 if flags & REMOTE else 8 * min(length, _CLASSIC_BYTES)
        # start, identifier, 3 control bits, length, CRC of 15 bits; 20 more for 29-bit identifiers
        stuffed = (54 if extended else 34) + payload
        return _Bits(stuffed, 13)  # CRC delimiter, 2 of acknowledgement, 7 of end, 3 between frames
    # the CRC and its stuff count, with a fixed stuff bit before every fourth bit, and its delimiter
    check = 28 if length <= 16 else 33
    arbitration, data = (36 if extended else 17), 5 + 8 * length
    if flags & BRS:
        return _Bits(arbitration, 12, data, check)
    return _Bits(arbitration + data, 12 + check)


def _seconds(bits: _Bits, rate: Bitrate, *, worst: bool) -> float:
    stuffed = bits.stuffed + bits.data_stuffed
    share = (stuffed - 1) // 4 / stuffed if worst else _EXPECTED_STUFFING
    slow = bits.fixed + bits.stuffed * (1 + share)
    fast = bits.data_fixed + bits.data_stuffed * (1 + share)
    return slow / rate.bitrate + fast / rate.data_bitrate


class FrameTimes:
    """Tables of the time that a frame of each kind and length takes on a bus.

    Shapes: ``expected_ns`` and ``worst_ns``, a number for each cell (see `cells`), whole numbers as
    float64. An error frame takes no time here: what it destroyed is not in the stream.
    """

    def __init__(self, rate: Bitrate) -> None:
        self.expected_ns = _table(rate, worst=False)
        self.worst_ns = _table(rate, worst=True)

    @staticmethod
    def cells(flags: NDArray[np.uint8], length: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the place in the tables of each frame; (n,)."""
        kind = (flags & np.uint8(_KIND)).astype(np.uint16)
        cells: NDArray[np.uint16] = kind << np.uint16(8) | length
        return cells


@cache
def _table(rate: Bitrate, *, worst: bool) -> NDArray[np.float64]:
    table = np.zeros((_KINDS, _LENGTHS))
    counted = np.minimum(np.arange(_LENGTHS), MAX_PAYLOAD)
    for kind in range(_KINDS):
        if not kind & ERROR:
            seconds = [_seconds(_bits(kind, n), rate, worst=worst) for n in range(MAX_PAYLOAD + 1)]
            table[kind] = np.rint(np.array(seconds) * SECOND)[counted]
    table.flags.writeable = False
    return table.reshape(-1)
