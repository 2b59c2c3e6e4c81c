"""Decoded signals on their way out: by message and batch, and as rows of one value each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kinds", "LongRows", "Part"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The decoded frames of one message (and J1939 source) in one batch.

    Shapes: time_ns and order (m,); values (m, k), a column for each of ``signals``.
    Gaps:   NaN where a signal is absent. ``order`` says where the frame stood in the batch.
    """

    channel: str
    message: str
    source: str
    """The J1939 source address in two hexadecimal digits; empty for other messages."""
    signals: tuple[str, ...]
    units: tuple[str, ...]
    value_names: tuple[Mapping[float, str], ...]
    """For each signal what its values are called, as far as they have names."""
    time_ns: NDArray[np.int64]
    order: NDArray[np.intp]
    values: NDArray[np.float64]

    @property
    def series(self) -> str:
        """The name of the series: ``CHANNEL/MESSAGE`` or ``CHANNEL/MESSAGE@SA``."""
        return f"{self.channel}/{self.message}{'@' if self.source else ''}{self.source}"


@dataclass(frozen=True, slots=True, eq=False)
class LongRows:
    """Values a row, in the order of their frames. Shapes: all (n,); ``kind`` indexes ``kinds``."""

    time_ns: NDArray[np.int64]
    kind: NDArray[np.int64]
    value: NDArray[np.float64]


class Kinds:
    """Numbers what a row tells besides time and value: channel, message, source, signal, unit."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        self.value_names: list[Mapping[float, str]] = []
        self._first: dict[str, int] = {}

    def lengthen(self, parts: Sequence[Part]) -> LongRows:
        """Turn parts into rows; absent values have none."""
        times, kinds, values, orders = [], [], [], []
        for part in parts:
            row, column = np.nonzero(~np.isnan(part.values))
            times.append(part.time_ns[row])
            orders.append(part.order[row])
            kinds.append(self._number(part) + column)
            values.append(part.values[row, column])
        if not parts:
            return LongRows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        order = np.argsort(np.concatenate(orders), kind="stable")
        return LongRows(
            np.concatenate(times)[order],
            np.concatenate(kinds)[order],
            np.concatenate(values)[order],
        )

    def _number(self, part: Part) -> int:
        first = self._first.get(part.series)
        if first is None:
            first = self._first[part.series] = len(self.rows)
            self.value_names += part.value_names
            self.rows += [
                (part.channel, part.message, part.source, signal, unit)
                for signal, unit in zip(part.signals, part.units, strict=True)
            ]
        return first

    def names_of(self, rows: LongRows) -> NDArray[np.object_]:
        """Return what each row's value is called; an empty text where it has no name. (n,)."""
        names = np.full(len(rows.value), "", object)
        for kind in np.unique(rows.kind).tolist():
            if known := self.value_names[kind]:
                here = np.flatnonzero(rows.kind == kind)
                values, code = np.unique(rows.value[here], return_inverse=True)
                called = np.array([known.get(v, "") for v in values.tolist()], object)
                names[here] = called[code]
        return names
