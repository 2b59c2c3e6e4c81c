"""Check where the signals of a message lie, whatever the file format; repair what can be."""

from collections.abc import Sequence

import msgspec

from dbc.model import SignalDef

__all__ = ["repaired_signals"]

FLOAT_BITS = (16, 32, 64)
MAX_BITS = 8 * 1785
"""More than the longest payload that any transport carries."""

Repairs = list[tuple[int, str]]


def repaired_signals(
    message: str, length: int, signals: Sequence[SignalDef], lines: Sequence[int]
) -> tuple[tuple[SignalDef, ...], Repairs]:
    """Return the signals that can be decoded, and for each thing repaired its line and the words.

    ``lines`` gives the line of each signal in its file (0 where the format has none).
    """
    names = {signal.name for signal in signals}
    kept: dict[str, SignalDef] = {}
    repairs: Repairs = []
    for given, line in zip(signals, lines, strict=True):
        if problem := _impossible(given, names):
            repairs.append((line, f"signal {message}.{given.name}: {problem}; dropped"))
            continue
        signal, found = _repaired(given, length)
        repairs += [(line, f"signal {message}.{given.name} {what}") for what in found]
        first = kept.get(signal.name)
        if first is not None and _exclusive(first, signal):
            signal = msgspec.structs.replace(first, variants=(*first.variants, signal))
        elif first is not None:
            bare, other = (signal, first) if _reported(first, signal) else (first, signal)
            kept[bare.name] = bare
            signal = _renamed(other, kept)
            what = f"a second signal {message}.{given.name}; that of bit {other.start} renamed"
            repairs.append((line, f"{what} {signal.name}"))
        kept[signal.name] = signal
    line_of = {s.name: line for s, line in zip(signals, lines, strict=True)}
    for name, rival in _overlaps(list(kept.values())):
        what = f"signals {message}.{name} and {rival} overlap; both are decoded"
        repairs.append((line_of.get(rival, 0), what))
    return tuple(kept.values()), repairs


def _impossible(signal: SignalDef, names: set[str]) -> str:
    if signal.length <= 0:
        return "it has no bits"
    if signal.length > MAX_BITS or signal.start > MAX_BITS:
        return f"it has {signal.length} bits from {signal.start} on, more than any payload"
    if signal.multiplexed_by == signal.name:
        return "it depends on its own value"
    if signal.multiplexed_by and signal.multiplexed_by not in names:
        return f"it depends on {signal.multiplexed_by}, which the message has not"
    return ""


def _repaired(signal: SignalDef, length: int) -> tuple[SignalDef, list[str]]:
    """Return the signal as it can be decoded, and what is to be said of it."""
    found = []
    if signal.is_float and signal.length not in FLOAT_BITS:
        found.append(f"is a float of {signal.length} bits, which none has; taken as an integer")
        signal = msgspec.structs.replace(signal, is_float=False)
    if signal.needed_bytes > length:
        found.append(
            f"ends in byte {signal.needed_bytes} of a message of {length}; "
            "it is absent from payloads that short"
        )
    return signal, found


def _exclusive(one: SignalDef, other: SignalDef) -> bool:
    """Whether two signals of one name are never there together: the same one in two places."""
    return all(
        bool(other.multiplexed_by)
        and layout.multiplexed_by == other.multiplexed_by
        and not any(
            low <= stop and start <= high
            for low, high in layout.multiplex_ids
            for start, stop in other.multiplex_ids
        )
        for layout in (one, *one.variants)
    )


def _reported(first: SignalDef, second: SignalDef) -> bool:
    """Whether it is the second of two signals of one name that keeps it.

    It goes to the one that cantools gives a value for, which hides the other: big-endian the last
    of the payload, little-endian the first, and that rather than a big-endian one.
    """
    if second.big_endian and first.big_endian:
        return second.first_bit >= first.first_bit
    return not second.big_endian and (first.big_endian or second.start < first.start)


def _renamed(signal: SignalDef, taken: dict[str, SignalDef]) -> SignalDef:
    number = 2
    while f"{signal.name}_{number}" in taken:
        number += 1
    return msgspec.structs.replace(signal, name=f"{signal.name}_{number}")


def _overlaps(signals: Sequence[SignalDef]) -> list[tuple[str, str]]:
    """Return pairs of signals that share bits while both are there, at most one a signal."""
    pairs: list[tuple[str, str]] = []
    seen: dict[tuple[str, tuple[tuple[int, int], ...]], list[tuple[int, str]]] = {}
    for signal in sorted(signals, key=lambda s: bool(s.multiplexed_by)):
        bits = _bits(signal)
        page = (signal.multiplexed_by, signal.multiplex_ids)
        same = seen.setdefault(page, [])
        always = seen.get(("", ()), [])
        rivals = same if same is always else [*always, *same]
        clash = next((name for taken, name in rivals if taken & bits), None)
        if clash is not None:
            pairs.append((clash, signal.name))
        same.append((bits, signal.name))
    return pairs


def _bits(signal: SignalDef) -> int:
    """Return the bits of a signal as a mask over the whole payload, by DBC bit number."""
    if not signal.big_endian:
        return ((1 << signal.length) - 1) << signal.start
    mask = 0
    for network in range(signal.first_bit, signal.first_bit + signal.length):
        mask |= 1 << (8 * (network // 8) + 7 - network % 8)
    return mask
