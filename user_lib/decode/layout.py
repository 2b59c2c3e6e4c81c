"""How each message of the databases appears in an output."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dbc import Decoded, Decoder, MessageDef, SignalDef, Transform
from user_lib.decode.rows import Part

__all__ = ["Layout", "layouts", "source_label"]


def source_label(source: int | None) -> str:
    """Return a J1939 source address as outputs name it; empty for other messages."""
    return "" if source is None else f"{source:02X}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one message appears in the output: its own signals, then mapped ones, converted."""

    channel: str
    label: str
    signals: tuple[str, ...]
    units: tuple[str, ...]
    value_names: tuple[Mapping[float, str], ...]
    can_id: str
    """As written in hexadecimal, with an ``x`` behind a 29-bit identifier."""
    mapped: tuple[tuple[int, Transform | None], ...]
    """The column behind each mapped signal, and what converts it."""

    def part(self, decoded: Decoded, time_ns: NDArray[np.int64]) -> Part:
        """Return decoded frames of this message as a part of the output."""
        values = decoded.values
        if self.mapped:
            own = values.shape[1]
            wider = np.empty((len(values), own + len(self.mapped)))
            wider[:, :own] = values
            for place, (column, transform) in enumerate(self.mapped, own):
                picked = values[:, column]
                wider[:, place] = picked if transform is None else transform.apply(picked)
            values = wider
        return Part(
            channel=self.channel,
            message=self.label,
            source=source_label(decoded.source),
            signals=self.signals,
            units=self.units,
            value_names=self.value_names,
            time_ns=time_ns,
            order=decoded.rows,
            values=values,
        )


def layouts(decoder: Decoder) -> list[Layout]:
    """Lay out every message; of two with one name on one channel, each gets its identifier too."""
    names = Counter((m.channel, m.name) for m in decoder.messages)
    mapped: dict[int, list[tuple[str, str, int, Transform | None]]] = {}
    for info in decoder.catalog.signals():
        if info.vss:
            ref = decoder.catalog.resolve(info.name)
            mapped.setdefault(ref.message, []).append(
                (info.name, ref.unit, ref.column, ref.transform)
            )
    layouts = []
    for index, message in enumerate(decoder.messages):
        alone = names[message.channel, message.name] == 1
        extra = mapped.get(index, [])
        layouts.append(
            Layout(
                channel=message.channel or "",
                label=message.name if alone else f"{message.name}~{_identifier(message)}",
                signals=(*(s.name for s in message.signals), *(name for name, *_ in extra)),
                units=(*(s.unit for s in message.signals), *(unit for _, unit, *_ in extra)),
                value_names=(
                    *(s.value_names for s in message.signals),
                    *(_names_of(message.signals[c], transform) for *_, c, transform in extra),
                ),
                can_id=_identifier(message),
                mapped=tuple((column, transform) for *_, column, transform in extra),
            )
        )
    return layouts


def _names_of(signal: SignalDef, transform: Transform | None) -> Mapping[float, str]:
    if transform is None:
        return signal.value_names
    return {float(value): name for value, name in transform.choices.items()}


def _identifier(message: MessageDef) -> str:
    return f"{message.can_id:X}{'x' if message.extended else ''}"
