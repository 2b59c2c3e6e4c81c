"""What guards a message, verified: counters that count on, and checksums that are right.

Which signals these are, the database says (`SignalDef.role`). A guard that changes its place with a
multiplexer's value, or has more than 64 bits, is not verified.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbc.bits import WORD_BITS, raw_bits
from dbc.encode import checksum, clear_bits
from dbc.j1939 import absent_from
from dbc.model import MessageDef, SignalDef

__all__ = ["checksum_columns", "counter_columns", "is_miscounted", "is_wrong_checksum"]

_CHECKSUMS = ("xor8", "sum8")


def counter_columns(message: MessageDef) -> tuple[int, ...]:
    """Return the columns of a message's counters."""
    return tuple(c for c, s in enumerate(message.signals) if s.role == "counter" and _usable(s))


def checksum_columns(message: MessageDef) -> tuple[int, ...]:
    """Return the columns of a message's checksums."""
    return tuple(c for c, s in enumerate(message.signals) if s.role in _CHECKSUMS and _usable(s))


def _usable(signal: SignalDef) -> bool:
    return not signal.variants and not signal.is_float and signal.length <= WORD_BITS


def is_miscounted(
    message: MessageDef, column: int, before: NDArray[Any], after: NDArray[Any]
) -> NDArray[np.bool_]:
    """Tell where a counter is not one more than in the frame before.

    Shapes: raw values, (n,) each; result (n,). A counter begins again at 0 after the highest value
    that its bits hold (in J1939: the highest that means a value), or after the maximum that its
    database gives, if that is lower.
    """
    counter = message.signals[column]
    mask = np.uint64((1 << counter.length) - 1)
    old, new = _unsigned(before) & mask, _unsigned(after) & mask
    right = new == ((old + np.uint64(1)) & mask)
    for top in _tops(message, counter):
        right |= (old == np.uint64(top)) & (new == 0)
    wrong: NDArray[np.bool_] = ~right
    return wrong


def _tops(message: MessageDef, counter: SignalDef) -> list[int]:
    """Return the values, besides the highest of its bits, after which a counter may be 0."""
    tops = []
    limit = absent_from(counter) if message.j1939 else None
    if limit is not None:
        tops.append(limit - 1)
    most = counter.maximum
    plain = counter.scale == 1 and counter.offset == 0
    if most is not None and plain and 0 < most < (1 << counter.length):
        tops.append(int(most))
    return tops


def _unsigned(raw: NDArray[Any]) -> NDArray[np.uint64]:
    return raw.view(np.uint64) if raw.dtype == np.int64 else raw.astype(np.uint64)


def is_wrong_checksum(
    message: MessageDef, column: int, data: NDArray[np.uint8], length: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Tell where a checksum is not that of the payload's other bytes.

    Shapes: data (n, stride), length (n,); result (n,). Bytes that the message has not are ignored;
    what is beyond a short payload does not count. Where the checksum itself is beyond it, the
    result says nothing.
    """
    signal = message.signals[column]
    stride = min(message.length, data.shape[1])
    there = np.arange(stride) < length[:, None]
    payload = np.where(there, data[:, :stride], np.uint8(0))
    if signal.needed_bytes > stride:
        return np.zeros(len(data), np.bool_)
    sent = raw_bits(payload, signal)
    clear_bits(payload, signal)
    right = checksum(payload, signal.role) & np.uint64((1 << signal.length) - 1)
    wrong: NDArray[np.bool_] = sent != right
    return wrong
