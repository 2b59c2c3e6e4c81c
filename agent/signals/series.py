"""Decode on read: the samples of signals over a stretch of the history.

A sample is a value that was there: a row whose signal is absent (multiplexed out, beyond a short
payload, from another source address) gives none. Where values are needed at times of another
signal's choosing, the latest one before is held.

A derived signal has a sample whenever its leading part has one; the other parts take their latest
value at that time, those of the same message the one of the same row. A result that is not a
number is no sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.payloads import History
from agent.signals.history.rows import Rows
from agent.signals.names import Derived, Direct, Leaf, Signal, lead_of
from agent.signals.quality.measuring import LOOK_BACK_ROWS, Measurer
from dbc import Decoder

__all__ = ["Samples", "SeriesReader"]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of one signal, oldest first.

    Shapes: all (n,). Units: ``time_ns``, ns of source time; ``values``, the signal's unit;
    ``seq``, the row of the leading message that brought it; -1 where there was none before.
    """

    seq: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def present(self) -> "Samples":
        """Return those that are numbers."""
        there = ~np.isnan(self.values)
        if there.all():
            return self
        return Samples(self.seq[there], self.time_ns[there], self.values[there])

    def first(self, n: int) -> "Samples":
        """Return the oldest ``n``."""
        return Samples(self.seq[:n], self.time_ns[:n], self.values[:n])


class SeriesReader:
    """Reads signals from the history through the decoder. Of the thread that owns the history."""

    def __init__(self, history: History, decoder: Decoder) -> None:
        self.history = history
        self._decoder = decoder
        self._measurer = Measurer(history, decoder)

    def rows(self, signal: Signal, start: int, stop: int) -> Samples:
        """Return the samples in rows ``start <= number < stop`` of the leading message."""
        return self._every_row(signal, start, stop).present()

    def between(self, signal: Signal, start_ns: int, stop_ns: int) -> Samples:
        """Return the samples with ``start_ns <= t < stop_ns``."""
        ring = self.history.ring(lead_of(signal).message)
        return self.rows(signal, ring.seq_at(start_ns), ring.seq_at(stop_ns))

    def many(
        self, signals: Sequence[Signal], bounds: Mapping[int, tuple[int, int]]
    ) -> dict[str, Samples]:
        """Return the samples of several signals, by name; ``bounds`` gives each message's rows.

        Every message is decoded once, however many of its signals are asked for.
        """
        found: dict[str, Samples] = {}
        by_message: dict[int, list[Leaf]] = {}
        for signal in signals:
            if isinstance(signal, Derived):
                found[signal.name] = self.rows(signal, *bounds[lead_of(signal).message])
            else:
                by_message.setdefault(signal.message, []).append(signal)
        for message, group in by_message.items():
            rows = self.history.read(message, *bounds[message])
            seq = np.arange(rows.start, rows.start + len(rows), dtype=np.int64)
            values = self.decode_many(group, rows)
            for k, leaf in enumerate(group):
                every = Samples(seq, rows.time_ns.copy(), values[:, k].copy())
                found[leaf.name] = every.present()
        return {signal.name: found[signal.name] for signal in signals}

    def hold(self, signal: Signal, time_ns: NDArray[np.int64]) -> Samples:
        """Return, for each of the rising ``time_ns``, the latest sample with ``t <= time_ns``.

        Gaps: NaN and seq -1 where there was none before.
        """
        if isinstance(signal, Derived):
            lead = self.hold(signal.parts[0], time_ns)
            return self._compute(signal, lead)
        if not len(time_ns):
            return _nothing()
        ring = self.history.ring(signal.message)
        start, stop = ring.seq_at(int(time_ns[0])), ring.seq_at(int(time_ns[-1]) + 1)
        known = self._known(signal, start, stop)
        return _pick(known, np.searchsorted(known.time_ns, time_ns, side="right") - 1)

    def _every_row(self, signal: Signal, start: int, stop: int) -> Samples:
        if isinstance(signal, Derived):
            return self._compute(signal, self.rows(signal.parts[0], start, stop))
        rows = self.history.read(signal.message, start, stop)
        seq = np.arange(rows.start, rows.start + len(rows), dtype=np.int64)
        return Samples(seq, rows.time_ns.copy(), self.decode_many((signal,), rows)[:, 0])

    def decode_many(self, leaves: Sequence[Leaf], rows: Rows) -> NDArray[np.float64]:
        """Return the values of several signals of one message, a column each.

        Shapes: (rows, signals). Gaps: NaN where a signal is absent.
        """
        sent = [leaf for leaf in leaves if isinstance(leaf, Direct)]
        if len(sent) == len(leaves):
            return self._decode(sent, rows)
        values = np.empty((len(rows), len(leaves)))
        values[:, [isinstance(leaf, Direct) for leaf in leaves]] = self._decode(sent, rows)
        for k, leaf in enumerate(leaves):
            if not isinstance(leaf, Direct):
                values[:, k] = self._measurer.values(leaf, rows)
        return values

    def _decode(self, signals: Sequence[Direct], rows: Rows) -> NDArray[np.float64]:
        if not signals:
            return np.empty((len(rows), 0))
        columns = [signal.column for signal in signals]
        values = self._decoder.decode(signals[0].message, rows.data, rows.length, columns)
        for k, signal in enumerate(signals):
            if signal.transform is not None:
                values[:, k] = signal.transform.apply(values[:, k])
            if signal.source is not None:
                values[rows.source != signal.source, k] = np.nan
        return values

    def _compute(self, signal: Derived, lead: Samples) -> Samples:
        """Evaluate a derived signal at its leading part's samples."""
        held = [lead.values] + [self._beside(part, signal, lead) for part in signal.parts[1:]]
        named = dict(zip(signal.part_names, held, strict=True))
        values = np.asarray(signal.expression.evaluate(named), np.float64)
        return Samples(lead.seq, lead.time_ns, np.where(np.isnan(lead.values), np.nan, values))

    def _beside(self, part: Signal, signal: Derived, lead: Samples) -> NDArray[np.float64]:
        """Return the value of another part at the samples of the leading one."""
        message = lead_of(signal).message
        if lead_of(part).message != message:
            return self.hold(part, lead.time_ns).values
        return self._hold_by_row(part, lead.seq).values

    def _hold_by_row(self, part: Signal, seq: NDArray[np.int64]) -> Samples:
        """Return the latest sample up to each of the rising rows ``seq`` of the part's message."""
        if isinstance(part, Derived):
            return self._compute(part, self._hold_by_row(part.parts[0], seq))
        there = seq[seq >= 0]
        if not len(there):
            return _pick(_nothing(), np.full(len(seq), -1, np.intp))
        known = self._known(part, int(there[0]), int(there[-1]) + 1)
        return _pick(known, np.searchsorted(known.seq, seq, side="right") - 1)

    def _known(self, signal: Leaf, start: int, stop: int) -> Samples:
        """Return the samples of rows ``start <= number < stop``, and the one before them."""
        inside = self.rows(signal, start, stop)
        before = self._before(signal, start)
        if before is None:
            return inside
        return Samples(
            np.concatenate([before.seq, inside.seq]),
            np.concatenate([before.time_ns, inside.time_ns]),
            np.concatenate([before.values, inside.values]),
        )

    def _before(self, signal: Leaf, seq: int) -> Samples | None:
        """Return the latest sample of a row before ``seq``, as far as the history reaches."""
        tail = self.history.ring(signal.message).tail
        stop = seq
        for step in (*LOOK_BACK_ROWS, seq):
            if stop <= tail:
                return None
            start = max(stop - step, tail)
            found = self.rows(signal, start, stop)
            if len(found):
                return Samples(found.seq[-1:], found.time_ns[-1:], found.values[-1:])
            stop = start
        return None


def _nothing() -> Samples:
    return Samples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _pick(known: Samples, which: NDArray[np.intp]) -> Samples:
    """Return ``known[which]``, with NaN and -1 where ``which`` is negative."""
    if not len(known):
        n = len(which)
        return Samples(np.full(n, -1, np.int64), np.zeros(n, np.int64), np.full(n, np.nan))
    missing = which < 0
    seq, time_ns, values = known.seq[which], known.time_ns[which], known.values[which]
    seq[missing], time_ns[missing], values[missing] = -1, known.time_ns[0], np.nan
    return Samples(seq, time_ns, values)
