"""Take bit fields out of many payloads at once, and put them in."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dbc.model import SignalDef

__all__ = ["WORD_BITS", "WORD_BYTES", "decode_exact", "raw_bits", "raw_integers", "window_words"]

WORD_BYTES = 8
WORD_BITS = 64
_FLOATS = {16: (np.uint16, np.float16), 32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}


def window_words(data: NDArray[np.uint8], first: int, *, big: bool) -> NDArray[np.uint64]:
    """Return the eight bytes from ``first`` on of every payload as one integer each.

    Shapes: data (n, stride); result (n,) uint64. Bytes past the stride count as zero.
    """
    n, stride = data.shape
    if stride == WORD_BYTES and first == 0 and data.flags.c_contiguous:
        window = data
    else:
        window = np.zeros((n, WORD_BYTES), np.uint8)
        part = data[:, first : first + WORD_BYTES]
        window[:, : part.shape[1]] = part
    words = window.view(">u8" if big else "<u8")[:, 0]
    return words.astype(np.uint64, copy=False)


def raw_bits(data: NDArray[np.uint8], signal: SignalDef) -> NDArray[np.uint64]:
    """Return a signal's bits, 1 to 64 of them anywhere, right-aligned; (n,) uint64."""
    first, skip = signal.first_byte, signal.first_bit % 8
    words = window_words(data, first, big=signal.big_endian)
    spill = skip + signal.length - WORD_BITS  # bits in the ninth byte
    mask = np.uint64((1 << signal.length) - 1)
    if spill <= 0:
        shift = WORD_BITS - skip - signal.length if signal.big_endian else skip
        return (words >> np.uint64(shift)) & mask
    ninth = np.zeros(len(data), np.uint64)
    if data.shape[1] > first + WORD_BYTES:
        ninth[:] = data[:, first + WORD_BYTES]
    if signal.big_endian:
        return ((words << np.uint64(spill)) | (ninth >> np.uint64(8 - spill))) & mask
    return ((words >> np.uint64(skip)) | (ninth << np.uint64(WORD_BITS - skip))) & mask


def raw_integers(
    data: NDArray[np.uint8], signal: SignalDef
) -> NDArray[np.int64] | NDArray[np.uint64]:
    """Return a signal's raw integers, exact to 64 bits: int64 if signed, else uint64; (n,)."""
    raw = raw_bits(data, signal)
    if not signal.signed:
        return raw
    sign = np.uint64(1 << (signal.length - 1))
    return ((raw ^ sign) - sign).view(np.int64)


def decode_exact(data: NDArray[np.uint8], signal: SignalDef) -> NDArray[np.float64]:
    """Return a signal's values, whatever its width and type; (n,) float64.

    Beyond 53 bits a float64 is the nearest to the exact integer.
    """
    with np.errstate(all="ignore"):  # a payload may hold a signalling NaN, and scaling may overflow
        values = _unscaled(data, signal)
        if signal.scale != 1.0:
            values *= signal.scale
        if signal.offset != 0.0:
            values += signal.offset
    return values


def _unscaled(data: NDArray[np.uint8], signal: SignalDef) -> NDArray[np.float64]:
    if signal.length > WORD_BITS:
        return _long_integers(data, signal)
    if signal.is_float:
        bits, kind = _FLOATS[signal.length]
        return raw_bits(data, signal).astype(bits).view(kind).astype(np.float64)
    return raw_integers(data, signal).astype(np.float64)


def _long_integers(data: NDArray[np.uint8], signal: SignalDef) -> NDArray[np.float64]:
    """Return integers of more than 64 bits, rounded once; one by one, since they are rare."""
    first, last = signal.first_byte, signal.needed_bytes
    skip = signal.first_bit % 8
    shift = 8 * (last - first) - skip - signal.length if signal.big_endian else skip
    order: Literal["big", "little"] = "big" if signal.big_endian else "little"
    values = np.empty(len(data))
    for row, payload in enumerate(data[:, first:last]):
        raw = (int.from_bytes(payload.tobytes(), order) >> shift) & ((1 << signal.length) - 1)
        if signal.signed and raw >> (signal.length - 1):
            raw -= 1 << signal.length
        try:
            values[row] = float(raw)
        except OverflowError:
            values[row] = np.inf if raw > 0 else -np.inf
    return values
