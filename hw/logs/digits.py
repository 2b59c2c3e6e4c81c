"""Numbers out of text without a loop: eight characters at a time in one 64-bit word.

A block of text is loaded as overlapping little-endian words, so the first character is the lowest
byte. All functions take words and how many of their characters count, and return the numbers
beside a mask of the rows in which every counted character was a digit.
"""

import numpy as np
from numpy.typing import NDArray

from hw.logs.text import Positions, Text, Words

__all__ = ["decimal", "fraction_ns", "hexadecimal", "pair_bytes"]

_ONES = np.uint64(0x0101010101010101)
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ZEROS = np.uint64(0x3030303030303030)
_NOT_NINE = np.uint64(0x7676767676767676)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def _u64(number: int) -> np.uint64:
    return np.uint64(number)


def _keep_last(words: Words, count: NDArray[np.int64]) -> Words:
    """Zero all but the last ``count`` (0 to 8) characters of each word."""
    shift = (8 * (8 - count)).astype(np.uint64)
    kept = np.where(count > 0, _ALL << np.minimum(shift, _u64(63)), _u64(0))
    return words & kept


def _digit_values(words: Words, counted: Words) -> tuple[Words, NDArray[np.bool_]]:
    values = (words ^ _ZEROS) & counted
    wrong = ((values + _NOT_NINE) | values) & _HIGH_BITS
    return values, wrong == 0


def _join_decimal(values: Words) -> NDArray[np.int64]:
    pairs = (values * _u64(10) + (values >> _u64(8))) & _u64(0x00FF00FF00FF00FF)
    fours = (pairs * _u64(100) + (pairs >> _u64(16))) & _u64(0x0000FFFF0000FFFF)
    eight = (fours * _u64(10_000) + (fours >> _u64(32))) & _u64(0xFFFFFFFF)
    return eight.view(np.int64)


def decimal(
    text: Text, stop: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the unsigned decimal numbers of ``count`` digits that end before ``stop``.

    Shapes: all (n,). A number has 1 to 16 digits; others are not ok.
    """
    low_count = np.minimum(count, 8)
    counted = _keep_last(np.full(len(stop), _ALL), np.maximum(low_count, 0))
    low, ok = _digit_values(text.word(stop - 8), counted)
    number = _join_decimal(low)
    ok &= (count > 0) & (count <= 16)
    if len(count) and count.max() > 8:
        counted = _keep_last(np.full(len(stop), _ALL), np.clip(count - 8, 0, 8))
        high, high_ok = _digit_values(text.word(stop - 16), counted)
        number = number + _join_decimal(high) * 100_000_000
        ok &= high_ok
    return number, ok


def fraction_ns(
    text: Text, start: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return decimal fractions of a second of 1 to 9 digits from ``start`` on, as nanoseconds."""
    eight = np.clip(count, 0, 8)
    shift = np.minimum(8 * (8 - eight), 63).astype(np.uint64)
    counted = np.where(eight > 0, _ALL >> shift, _u64(0))
    values, ok = _digit_values(text.word(start), counted)
    number = _join_decimal(values) * 10
    ok &= (count > 0) & (count <= 9)
    if len(count) and count.max() > 8:
        ninth = text.bytes[start + 8].astype(np.int64) - ord("0")
        nine = count == 9
        number = number + np.where(nine, ninth, 0)
        ok &= ~nine | ((ninth >= 0) & (ninth <= 9))
    return number, ok


def hexadecimal(
    text: Text, stop: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the hexadecimal numbers of 1 to 8 digits that end before ``stop``."""
    counted = _keep_last(np.full(len(stop), _ALL), np.clip(count, 0, 8))
    characters = (text.word(stop - 8) & counted) | (_ZEROS & ~counted)
    letter = (characters >> _u64(6)) & _ONES
    values = (characters & _LOW) + letter * _u64(9)
    upper = characters & ~((characters & (_ONES << _u64(6))) >> _u64(1))
    above_nine = ((values + _ONES * _u64(6)) >> _u64(4)) & _ONES
    spelled = values + _ZEROS + above_nine * _u64(7)
    ok = (upper == spelled) & ((values & ~_LOW) == 0) & (count > 0) & (count <= 8)
    pairs = (values * _u64(16) + (values >> _u64(8))) & _u64(0x00FF00FF00FF00FF)
    fours = (pairs * _u64(256) + (pairs >> _u64(16))) & _u64(0x0000FFFF0000FFFF)
    eight = (fours * _u64(65_536) + (fours >> _u64(32))) & _u64(0xFFFFFFFF)
    return eight.astype(np.uint32), ok


def _pair_table() -> NDArray[np.uint16]:
    table = np.full(1 << 16, 0x100, np.uint16)
    digits = {ord(c): int(c, 16) for c in "0123456789abcdefABCDEF"}
    for first, high in digits.items():
        for second, low in digits.items():
            table[first | second << 8] = high << 4 | low
    return table


_PAIRS = _pair_table()


def pair_bytes(pairs: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the byte that two hexadecimal characters spell; 0x100 where they spell none."""
    return _PAIRS[pairs]
