"""Write values into payloads: the decoder's inverse, for simulated vehicles and tests."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dbc.bits import WORD_BITS
from dbc.catalog import Catalog
from dbc.model import MessageDef, SignalDef
from user_lib.contract.errors import DatabaseError, UnknownSignal, nearest

__all__ = ["Encoder", "checksum", "clear_bits"]

_FLOATS: dict[int, tuple[Any, Any, float]] = {
    16: (np.float16, np.uint16, float(np.finfo(np.float16).max)),
    32: (np.float32, np.uint32, float(np.finfo(np.float32).max)),
    64: (np.float64, np.uint64, float(np.finfo(np.float64).max)),
}
_EXACT_BITS = 53


class Encoder:
    """Encodes the messages of a catalog, many payloads of one message at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._messages: dict[str, MessageDef] = {}
        ambiguous = set()
        for message in catalog.messages:
            self._messages[f"{message.channel}:{message.name}"] = message
            if message.name in self._messages:
                ambiguous.add(message.name)
            self._messages[message.name] = message
        for name in ambiguous:
            del self._messages[name]

    def message(self, name: str) -> MessageDef:
        """Return the definition of ``Message``, or ``channel:Message`` where two channels have it.

        Raises: DatabaseError, if there is none or more than one; with the nearest names.
        """
        if name in self._messages:
            return self._messages[name]
        several = [known for known in self._messages if known.endswith(f":{name}")]
        near = several or nearest(name, self._messages)
        hint = f"did you mean {' or '.join(near)}?" if near else "no name is close"
        raise DatabaseError(f"no one message {name!r} in the databases; {hint}")

    def encode(self, message: str, values: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Return payloads that hold the values, rounded to the nearest raw value.

        Shapes: each of ``values`` (n,) or a single number; result (n, length of the message).
        Units:  each signal's own; integer arrays keep 64 bits where scale is 1 and offset 0.
        Gaps:   a signal without a value, and NaN, become raw 0; so does a multiplexed signal where
                the switch, as given, chooses others. What does not fit is held at the nearest value
                that does.
        Raises: DatabaseError, for an unknown message; UnknownSignal, for an unknown signal.
        """
        definition = self.message(message)
        signals = {s.name: s for s in definition.signals}
        for name in values:
            if name not in signals:
                raise UnknownSignal(f"{message}.{name}", near=nearest(name, signals))
        given = {name: np.atleast_1d(np.asarray(v)) for name, v in values.items()}
        n = max((len(v) for v in given.values()), default=1)
        raw = {name: np.broadcast_to(_raw(v, signals[name]), (n,)) for name, v in given.items()}
        payload = np.zeros((n, definition.length), np.uint8)
        for name, bits in raw.items():
            self._write(payload, signals, name, raw, bits)
        return payload

    def _write(
        self,
        payload: NDArray[np.uint8],
        signals: Mapping[str, SignalDef],
        name: str,
        raw: Mapping[str, NDArray[np.uint64]],
        bits: NDArray[np.uint64],
    ) -> None:
        """Write one signal wherever the switches choose it."""
        for layout in (signals[name], *signals[name].variants):
            chosen = _chosen(layout, signals, raw, len(payload))
            if layout.needed_bytes <= payload.shape[1]:
                _put(payload, layout, np.where(chosen, bits, np.uint64(0)))

    def protect(
        self, message: str, payload: NDArray[np.uint8], *, first_count: int = 0
    ) -> NDArray[np.uint8]:
        """Return the payloads with the message's counters counting on and its checksums right.

        The first payload gets ``first_count``, modulo the counter's range. A checksum covers all
        other bytes of the payload. A message without such signals is returned as it is.
        """
        definition = self.message(message)
        result = payload.copy()
        for signal in definition.signals:
            if signal.role == "counter":
                count = np.arange(first_count, first_count + len(result), dtype=np.uint64)
                clear_bits(result, signal)
                _put(result, signal, count & np.uint64((1 << signal.length) - 1))
        for signal in definition.signals:
            if signal.role in ("xor8", "sum8"):
                clear_bits(result, signal)
                _put(result, signal, checksum(result, signal.role))
        return result


def checksum(payload: NDArray[np.uint8], role: str) -> NDArray[np.uint64]:
    """Return the checksum of payloads in which the checksum itself is zero; (n,) uint64."""
    total: NDArray[np.uint64]
    if role == "xor8":
        total = np.bitwise_xor.reduce(payload, axis=1).astype(np.uint64)
    else:
        total = payload.sum(axis=1, dtype=np.uint64) & np.uint64(0xFF)
    return total


def _raw(values: NDArray[Any], signal: SignalDef) -> NDArray[np.uint64]:
    """Return the bits that stand for the values, right-aligned."""
    if signal.length > WORD_BITS:
        raise DatabaseError(f"signal {signal.name} of {signal.length} bits cannot be encoded")
    whole = values.dtype.kind in "iu" and not signal.is_float
    if whole and signal.scale == 1.0 and signal.offset == 0.0:
        return _held(values, signal)
    scaled = (
        np.nan_to_num(values.astype(np.float64), posinf=np.inf, neginf=-np.inf) - signal.offset
    ) / (signal.scale or 1.0)
    if signal.is_float:
        kind, bits, largest = _FLOATS[signal.length]
        held = np.clip(scaled, -largest, largest)
        return cast("NDArray[np.uint64]", held.astype(kind).view(bits).astype(np.uint64))
    low = -(2.0 ** (signal.length - 1)) if signal.signed else 0.0
    high = 2.0 ** (signal.length - signal.signed)
    # the largest float64 below 2**64 is 2048 less
    top = np.nextafter(high, 0) if signal.length > _EXACT_BITS else high - 1
    numbers = np.clip(np.rint(scaled), low, top)
    if signal.signed:
        return _masked(numbers.astype(np.int64).view(np.uint64), signal)
    return numbers.astype(np.uint64)


def _held(values: NDArray[Any], signal: SignalDef) -> NDArray[np.uint64]:
    """Return integers held in the signal's range, as its bits."""
    low = -(1 << (signal.length - 1)) if signal.signed else 0
    high = (1 << (signal.length - signal.signed)) - 1
    info = np.iinfo(values.dtype)
    held = np.clip(values, max(low, info.min), min(high, info.max))
    return _masked(held.astype(np.uint64), signal)


def _masked(bits: NDArray[np.uint64], signal: SignalDef) -> NDArray[np.uint64]:
    masked: NDArray[np.uint64] = bits & np.uint64((1 << signal.length) - 1)
    return masked


def _chosen(
    signal: SignalDef,
    signals: Mapping[str, SignalDef],
    raw: Mapping[str, NDArray[np.uint64]],
    n: int,
) -> NDArray[np.bool_]:
    """Return where the values given to the switches choose this signal."""
    if not signal.multiplexed_by:
        return np.ones(n, np.bool_)
    switch = signals[signal.multiplexed_by]
    bits = raw.get(switch.name, np.zeros(n, np.uint64)).astype(np.int64)
    sign = np.int64(1 << (switch.length - 1)) if switch.signed else np.int64(0)
    values = ((bits ^ sign) - sign) * switch.scale + switch.offset
    here = np.zeros(n, np.bool_)
    for low, high in signal.multiplex_ids:
        here |= (values >= low) & (values <= high)
    return here & _chosen(switch, signals, raw, n)


def _byte_parts(signal: SignalDef) -> list[tuple[int, int, int, int]]:
    """Return where bits go: the byte, the lowest bit in it, how many, and from which bit on."""
    parts = []
    done = 0
    while done < signal.length:
        if signal.big_endian:
            bit = signal.first_bit + done
            room = 8 - bit % 8
            count = min(room, signal.length - done)
            parts.append((bit // 8, room - count, count, signal.length - done - count))
        else:
            bit = signal.start + done
            count = min(8 - bit % 8, signal.length - done)
            parts.append((bit // 8, bit % 8, count, done))
        done += count
    return parts


def _put(payload: NDArray[np.uint8], signal: SignalDef, bits: NDArray[np.uint64]) -> None:
    for byte, low, count, at in _byte_parts(signal):
        part = (bits >> np.uint64(at)) & np.uint64((1 << count) - 1)
        payload[:, byte] |= (part << np.uint64(low)).astype(np.uint8)


def clear_bits(payload: NDArray[np.uint8], signal: SignalDef) -> None:
    """Set the bits of a signal to zero, in place."""
    for byte, low, count, _ in _byte_parts(signal):
        payload[:, byte] &= np.uint8(0xFF ^ (((1 << count) - 1) << low))
