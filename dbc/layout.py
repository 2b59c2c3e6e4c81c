"""Check where the signals of a message lie, whatever the file format; repair what can be."""

from collections.abc import Sequence

import msgspec

from dbc.model import SignalDef

__all__ = ["repaired_signals"]

FLOAT_BITS = (16, 32, 64)
MAX_BITS = 64


def repaired_signals(
    message: str, length: int, signals: Sequence[SignalDef], lines: Sequence[int]
) -> tuple[tuple[SignalDef, ...], list[tuple[int, str]]]:
    """Return the signals that can be decoded, and for each thing repaired its line and the words.

    ``lines`` gives the line of each signal in its file (0 where the format has none).
    """
    kept: dict[str, SignalDef] = {}
    repairs: list[tuple[int, str]] = []
    for signal, line in zip(signals, lines, strict=True):
        if problem := _impossible(signal):
            repairs.append((line, f"signal {message}.{signal.name}: {problem}; dropped"))
            continue
        if signal.is_float and signal.length not in FLOAT_BITS:
            repairs.append(
                (
                    line,
                    f"signal {message}.{signal.name}: no float has {signal.length} bits; "
                    "taken as an integer",
                )
            )
            signal = msgspec.structs.replace(signal, is_float=False)
        if signal.needed_bytes > length:
            repairs.append(
                (
                    line,
                    f"signal {message}.{signal.name} ends in byte {signal.needed_bytes}, its "
                    f"message has {length}; it is absent from payloads that short",
                )
            )
        if signal.name in kept:
            renamed = f"{signal.name}_{sum(k.startswith(signal.name + '_') for k in kept) + 2}"
            repairs.append((line, f"a second signal {message}.{signal.name}; renamed {renamed}"))
            signal = msgspec.structs.replace(signal, name=renamed)
        kept[signal.name] = signal
    by_name = dict(zip((s.name for s in signals), lines, strict=True))
    for one, other in _overlaps(list(kept.values())):
        repairs.append(
            (
                by_name.get(other, 0),
                f"signals {message}.{one} and {other} overlap; both are decoded",
            )
        )
    return tuple(kept.values()), repairs


def _impossible(signal: SignalDef) -> str:
    if signal.length <= 0:
        return "it has no bits"
    if signal.length > MAX_BITS:
        return f"it has {signal.length} bits, more than {MAX_BITS}"
    return ""


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
