"""Rising edges of a condition over the rows of its messages, each row looked at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.rows import Rows
from agent.signals.names import Derived, Leaf, Signal, leaves_of
from agent.signals.plan import Condition
from agent.signals.recording import Recording

__all__ = ["EdgeDetector"]


@dataclass(frozen=True, slots=True, eq=False)
class _Events:
    """New rows of all messages of a condition, in the order of time.

    Shapes: time_ns and message (n,); ``ordinal`` (n,) numbers the rows of each message from 0.
    """

    time_ns: NDArray[np.int64]
    message: NDArray[np.int64]
    ordinal: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """A signal's value after each event, and whether that event brought it. Shapes: (n,)."""

    values: NDArray[np.float64]
    fresh: NDArray[np.bool_]


class EdgeDetector:
    """Computes a condition at every new row and tells when it became true."""

    def __init__(self, recording: Recording, condition: Condition, start_ns: int) -> None:
        self._recording, self._condition = recording, condition
        self._parts: dict[int, list[Leaf]] = {}
        for signal in condition.signals.values():
            for part in leaves_of(signal):
                group = self._parts.setdefault(part.message, [])
                if part not in group:
                    group.append(part)
        self._next: dict[int, int] = {}
        self._start_ns = start_ns
        self._held: dict[str, float] = {}
        self._true = False
        self.unseen = 0
        """Rows that were overwritten before the condition was computed on them."""

    @property
    def messages(self) -> tuple[int, ...]:
        """The messages that bring the condition's signals."""
        return tuple(self._parts)

    @property
    def held(self) -> dict[str, float]:
        """The latest value of each signal that has had one."""
        return {name: self._held[name] for name in self._condition.signals if name in self._held}

    def advance(self, known_ns: int) -> list[int]:
        """Return the times of the edges in rows before ``known_ns`` not looked at before."""
        if not self._next and not self._begin(known_ns):
            return []
        if not self._has_news(known_ns):
            return []
        events, columns = self._new_rows(known_ns)
        if not len(events.time_ns):
            return []
        values = {
            name: self._track(signal, events, columns).values
            for name, signal in self._condition.signals.items()
        }
        true = np.broadcast_to(self._condition.expression.evaluate(values), events.time_ns.shape)
        true = (true != 0) & ~np.isnan(true.astype(np.float64))
        for track in values.values():
            true = true & ~np.isnan(track)
        before = np.concatenate([[self._true], true[:-1]])
        self._true = bool(true[-1])
        return [int(t) for t in events.time_ns[true & ~before]]

    def _begin(self, known_ns: int) -> bool:
        """Note the first rows, and the values that the signals had before them."""
        if known_ns < self._start_ns:
            return False
        for message in self._parts:
            self._next[message] = self._recording.history.ring(message).seq_at(self._start_ns)
        before = np.array([self._start_ns - 1], np.int64)
        for signal in self._condition.signals.values():
            self._remember(signal, before)
        return True

    def _remember(self, signal: Signal, at_ns: NDArray[np.int64]) -> None:
        if isinstance(signal, Derived):
            for part in signal.parts:
                self._remember(part, at_ns)
        value = float(self._recording.reader.hold(signal, at_ns).values[0])
        if not np.isnan(value):
            self._held[signal.name] = value

    def _has_news(self, known_ns: int) -> bool:
        rings = ((m, self._recording.history.ring(m)) for m in self._parts)
        return any(
            ring.head > self._next[m] and ring.seq_at(known_ns) > self._next[m] for m, ring in rings
        )

    def _new_rows_of(self, message: int, known_ns: int) -> Rows:
        ring, start = self._recording.history.ring(message), self._next[message]
        stop = self._next[message] = max(ring.seq_at(known_ns), start)
        self.unseen += max(min(ring.tail, stop) - start, 0)
        return ring.read(start, stop)

    def _new_rows(self, known_ns: int) -> tuple[_Events, dict[str, NDArray[np.float64]]]:
        """Return the rows not seen before, and the values of each of their signals in them."""
        times, messages, ordinals = [], [], []
        columns: dict[str, NDArray[np.float64]] = {}
        for message, parts in self._parts.items():
            rows = self._new_rows_of(message, known_ns)
            values = self._recording.reader.decode_many(parts, rows)
            columns.update({part.name: values[:, k] for k, part in enumerate(parts)})
            times.append(rows.time_ns)
            messages.append(np.full(len(rows), message, np.int64))
            ordinals.append(np.arange(len(rows)))
        time_ns = np.concatenate(times)
        order = np.argsort(time_ns, kind="stable")
        return _Events(
            time_ns[order], np.concatenate(messages)[order], np.concatenate(ordinals)[order]
        ), columns

    def _track(
        self, signal: Signal, events: _Events, columns: dict[str, NDArray[np.float64]]
    ) -> _Track:
        if isinstance(signal, Derived):
            tracks = [self._track(part, events, columns) for part in signal.parts]
            raw = self._derive(signal, tracks)
        else:
            brought = events.message == signal.message
            raw = np.full(len(brought), np.nan)
            raw[brought] = columns[signal.name][events.ordinal[brought]]
        fresh = ~np.isnan(raw)
        return _Track(self._hold(signal.name, raw, fresh), fresh)

    def _derive(self, signal: Derived, tracks: Sequence[_Track]) -> NDArray[np.float64]:
        """Compute a derived signal at the events that brought its leading part."""
        names = signal.part_names
        named = {name: track.values for name, track in zip(names, tracks, strict=True)}
        values = np.asarray(signal.expression.evaluate(named), np.float64)
        return np.where(tracks[0].fresh, values, np.nan)

    def _hold(
        self, name: str, raw: NDArray[np.float64], fresh: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the latest value at each event, and remember the last one."""
        latest = np.maximum.accumulate(np.where(fresh, np.arange(len(raw)), -1))
        values = np.where(latest >= 0, raw[latest], self._held.get(name, np.nan))
        if not np.isnan(values[-1]):
            self._held[name] = float(values[-1])
        return values
