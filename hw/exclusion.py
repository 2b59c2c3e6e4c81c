"""Identifiers that the owner wants kept out, and the filter by which the kernel keeps them out.

A frame that is excluded reaches no history, no statistics and no diagnosis, so tasks never choose
what is: only the configuration does. The filter is a classic BPF program, since SocketCAN's own
filters cannot say "all but these" without losing error frames.
"""

import struct
import sys
from collections.abc import Iterable

from hw.socketcan.can_datagrams import EXTENDED_BIT
from user_lib.contract.errors import SourceError

__all__ = ["excluded_keys", "kernel_filter"]

_LAST_11_BIT, _LAST_29_BIT = 0x7FF, 0x1FFF_FFFF
_MOST = 2000
"""A program has at most 4,096 instructions, of which each identifier takes two."""

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_WITHOUT_REMOTE_BIT = 0xBFFF_FFFF
_ALL_OF_IT = 0xFFFF_FFFF


def excluded_keys(ids: Iterable[int | str]) -> frozenset[int]:
    """Return identifiers as SocketCAN writes them: 29-bit ones with the top bit set.

    A number above 0x7FF has 29 bits; text is hexadecimal, of 29 bits if it has eight digits, as in
    candump's logs.

    Raises: SourceError, for what is no identifier, or too many of them.
    """
    keys = frozenset(map(_key, ids))
    if len(keys) > _MOST:
        raise SourceError(f"exclude_ids: {len(keys)} identifiers; at most {_MOST} fit")
    return keys


def _key(asked: int | str) -> int:
    number, wide = (asked, asked > _LAST_11_BIT) if isinstance(asked, int) else _of_text(asked)
    if not 0 <= number <= (_LAST_29_BIT if wide else _LAST_11_BIT):
        raise SourceError(
            f"exclude_ids: {asked!r} is no identifier; give a number up to 0x1FFFFFFF, or "
            "hexadecimal text, of eight digits if it has 29 bits"
        )
    return number | (EXTENDED_BIT if wide else 0)


def _of_text(asked: str) -> tuple[int, bool]:
    try:
        return int(asked, 16), len(asked) == 8
    except ValueError:
        return -1, False


def kernel_filter(keys: Iterable[int]) -> bytes:
    """Return the program that drops these identifiers, remote requests too, and passes the rest."""
    program = [(_LOAD_WORD, 0, 0, 0), (_AND, 0, 0, _as_loaded(_WITHOUT_REMOTE_BIT))]
    for key in sorted(keys):
        program += [(_JUMP_IF_EQUAL, 0, 1, _as_loaded(key)), (_RETURN, 0, 0, 0)]
    program.append((_RETURN, 0, 0, _ALL_OF_IT))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _as_loaded(word: int) -> int:
    """Return a word of the frame as the filter loads it: most significant byte first."""
    return int.from_bytes(word.to_bytes(4, sys.byteorder), "big")
