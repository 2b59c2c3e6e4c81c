"""Numbers out of text without a loop: eight characters at a time in one 64-bit word.

A block of text is loaded as overlapping little-endian words, so the first character is the lowest
byte. All functions take positions and how many characters count, and return the numbers beside a
mask of the rows in which every counted character was a digit.
"""

import numpy as np
from numpy.typing import NDArray

from hw.logs.text import Positions, Text, Words

__all__ = ["decimal", "first_characters", "fraction_ns", "hex_bytes", "hexadecimal"]

_ONES = np.uint64(0x0101010101010101)
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ZEROS = np.uint64(0x3030303030303030)
_NOT_NINE = np.uint64(0x7676767676767676)
_SIXES = np.uint64(0x0606060606060606)

_ALL = (1 << 64) - 1
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_LAST = np.array([_ALL ^ ((1 << 8 * (8 - n)) - 1) for n in range(9)], np.uint64)
"""Masks of the first and the last n characters of a word."""

_S4, _S5, _S6, _S8, _S16, _S32 = (np.uint64(n) for n in (4, 5, 6, 8, 16, 32))
_EVERY_2ND = np.uint64(0x00FF00FF00FF00FF)
_EVERY_4TH = np.uint64(0x0000FFFF0000FFFF)
_EVERY_8TH = np.uint64(0x00000000FFFFFFFF)


def first_characters(count: NDArray[np.int64]) -> Words:
    """Return masks that keep the first ``count`` characters of a word; clipped to 0 to 8."""
    return _FIRST.take(count, mode="clip")


def _decimal_digits(words: Words, counted: Words) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the number that the counted characters spell, the others taken as 0."""
    values = (words ^ _ZEROS) & counted
    ok = (((values + _NOT_NINE) | values) & _HIGH_BITS) == 0
    values = (values * np.uint64(10) + (values >> _S8)) & _EVERY_2ND
    values = (values * np.uint64(100) + (values >> _S16)) & _EVERY_4TH
    values = (values * np.uint64(10_000) + (values >> _S32)) & _EVERY_8TH
    return values.view(np.int64), ok


def decimal(
    text: Text, stop: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the unsigned decimal numbers of ``count`` digits that end before ``stop``.

    Shapes: all (n,). A number has 1 to 16 digits; others are not ok.
    """
    number, ok = _decimal_digits(text.word(stop - 8), _LAST.take(count, mode="clip"))
    ok &= (count > 0) & (count <= 16)
    if count.max(initial=0) > 8:
        counted = _LAST.take(count - 8, mode="clip")
        high, good = _decimal_digits(text.word(stop - 16), counted)
        number = number + high * 100_000_000
        ok &= good
    return number, ok


def fraction_ns(
    text: Text, start: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return decimal fractions of a second of 1 to 9 digits from ``start`` on, as nanoseconds."""
    number, ok = _decimal_digits(text.word(start), _FIRST.take(count, mode="clip"))
    number = number * 10
    ok &= (count > 0) & (count <= 9)
    if count.max(initial=0) > 8:
        ninth = text.bytes[start + 8].astype(np.int64) - ord("0")
        nine = count == 9
        number += np.where(nine, ninth, 0)
        ok &= ~nine | ((ninth >= 0) & (ninth <= 9))
    return number, ok


def _hex_digits(words: Words, counted: Words) -> tuple[Words, NDArray[np.bool_]]:
    """Return the value of each character in its byte, 0 where it does not count."""
    characters = (words & counted) | (_ZEROS & ~counted)
    letter = (characters >> _S6) & _ONES
    values = (characters & _LOW) + letter * np.uint64(9)
    # A digit is 3x, a letter 4x or 6x; a digit's value is below 10, a letter's from there to 15.
    wrong = (characters & (_HIGH ^ (letter << _S5))) ^ _ZEROS ^ (letter * np.uint64(0x70))
    wrong |= (((values + _SIXES) >> _S4) & _ONES) ^ letter
    wrong |= values & _HIGH
    return values, wrong == 0


def hexadecimal(
    text: Text, stop: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the hexadecimal numbers of 1 to 8 digits that end before ``stop``."""
    values, ok = _hex_digits(text.word(stop - 8), _LAST.take(count, mode="clip"))
    values = (values * np.uint64(16) + (values >> _S8)) & _EVERY_2ND
    values = (values * np.uint64(256) + (values >> _S16)) & _EVERY_4TH
    values = (values * np.uint64(65_536) + (values >> _S32)) & _EVERY_8TH
    return values.astype(np.uint32), ok & (count > 0) & (count <= 8)


def hex_bytes(
    text: Text, start: Positions, count: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return four bytes from eight hexadecimal digits, or fewer, from ``start`` on.

    ``count`` of digits is clipped to 0 to 8. The first byte is the lowest: as little-endian
    memory, the result is the bytes in order, zero after the last.
    """
    values, ok = _hex_digits(text.word(start), _FIRST.take(count, mode="clip"))
    values = ((values << _S4) | (values >> _S8)) & _EVERY_2ND
    values = (values | (values >> _S8)) & _EVERY_4TH
    values = values | (values >> _S16)
    return values.astype(np.uint32), ok
