"""Measure the frames of a message: gaps, counters, checksums; see `measures`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.payloads import History
from agent.signals.history.rows import Rows
from agent.signals.quality.measures import Measure
from dbc import Decoder
from dbc.guards import checksum_columns, counter_columns, is_miscounted, is_wrong_checksum
from user_lib.contract.clock import MS

__all__ = ["LOOK_BACK_ROWS", "Measurer"]

LOOK_BACK_ROWS = (1, 16, 256, 4096, 65_536)
"""How far back a frame's predecessor is sought, in growing steps; then everything."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Rows, those before them that they follow, and who follows whom.

    Shapes: rows (b + n,), of which the last n were asked for; previous (n,), the place of each
            one's predecessor among them all, -1 where there is none. Rows without what is compared
            neither have a predecessor nor are one.
    """

    time_ns: NDArray[np.int64]
    raw: NDArray[np.uint64]
    previous: NDArray[np.intp]

    @property
    def n(self) -> int:
        return len(self.previous)


class Measurer:
    """Measures rows of the history. Of the thread that owns the history."""

    def __init__(self, history: History, decoder: Decoder) -> None:
        self._history, self._decoder = history, decoder

    def values(self, measure: Measure, rows: Rows) -> NDArray[np.float64]:
        """Return what is measured at each row; (n,), NaN where there is no telling."""
        if measure.kind == "count":
            values = np.ones(len(rows))
        elif measure.kind == "counter_errors":
            values = self._counter_errors(measure.message, rows)
        elif measure.kind == "checksum_errors":
            values = self._checksum_errors(measure.message, rows)
        else:
            values = self._gaps(measure.message, rows)
            if measure.kind == "jitter_ms":
                values -= self._decoder.messages[measure.message].cycle_time_ms or 0.0
        if measure.source is not None:
            values[rows.source != measure.source] = np.nan
        return values

    def _gaps(self, message: int, rows: Rows) -> NDArray[np.float64]:
        chain = self._chain(message, rows, None)
        gaps = (rows.time_ns - chain.time_ns[chain.previous]) / MS
        gaps[chain.previous < 0] = np.nan
        return gaps

    def _counter_errors(self, message: int, rows: Rows) -> NDArray[np.float64]:
        definition = self._decoder.messages[message]
        total = np.full(len(rows), np.nan)
        for column in counter_columns(definition):
            chain = self._chain(message, rows, column)
            own = chain.raw[len(chain.raw) - chain.n :]
            wrong = is_miscounted(definition, column, chain.raw[chain.previous], own)
            total = _plus(total, wrong, chain.previous >= 0)
        return total

    def _checksum_errors(self, message: int, rows: Rows) -> NDArray[np.float64]:
        definition = self._decoder.messages[message]
        total = np.full(len(rows), np.nan)
        for column in checksum_columns(definition):
            _, present = self._decoder.decode_raw(message, column, rows.data, rows.length)
            wrong = is_wrong_checksum(definition, column, rows.data, rows.length)
            total = _plus(total, wrong, present)
        return total

    def _chain(self, message: int, rows: Rows, column: int | None) -> _Chain:
        """Join rows to the frames before them, as far back as these are to be sought.

        With a ``column``, only the rows that have this signal follow each other.
        """
        group, raw = self._groups(message, rows, column)
        before = self._before(message, rows, column, np.unique(group[group >= 0]))
        group_before, raw_before = self._groups(message, before, column)
        previous = _previous(np.concatenate([group_before, group]))[len(before) :]
        return _Chain(
            np.concatenate([before.time_ns, rows.time_ns]),
            np.concatenate([raw_before, raw]),
            previous,
        )

    def _before(
        self, message: int, rows: Rows, column: int | None, wanted: NDArray[np.int64]
    ) -> Rows:
        """Return enough of the rows before to find a predecessor for every group ``wanted``."""
        tail = self._history.ring(message).tail
        for step in LOOK_BACK_ROWS:
            before = self._history.read(message, rows.start - step, rows.start)
            if rows.start - step <= tail:
                return before
            if np.isin(wanted, self._groups(message, before, column)[0]).all():
                return before
        return self._history.read(message, tail, rows.start)

    def _groups(
        self, message: int, rows: Rows, column: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Return whom each row belongs to, -1 if it is not to be compared, and the raw value."""
        if self._decoder.messages[message].j1939:
            group = rows.source.astype(np.int64)
        else:
            group = np.zeros(len(rows), np.int64)
        if column is None:
            return group, np.zeros(len(rows), np.uint64)
        raw, present = self._decoder.decode_raw(message, column, rows.data, rows.length)
        group[~present] = -1
        return group, raw.astype(np.uint64, copy=False)


def _previous(group: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the place of the latest earlier row of the same group, -1 where there is none."""
    order = np.argsort(group, kind="stable")
    same = (group[order[1:]] == group[order[:-1]]) & (group[order[1:]] >= 0)
    previous = np.full(len(group), -1, np.intp)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _plus(
    total: NDArray[np.float64], wrong: NDArray[np.bool_], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Add errors where there is a telling; what is NaN so far counts as 0 there."""
    return np.where(known, np.nan_to_num(total) + wrong, total)
