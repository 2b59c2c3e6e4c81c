"""Build a window from the recording, and account for every frame of it that is missing."""

from dataclasses import dataclass

import numpy as np

from agent.signals.names import lead_of, leaves_of
from agent.signals.plan import Plan
from agent.signals.recording import Recording
from agent.signals.room import check_size
from agent.signals.series import Samples
from user_lib.contract.clock import SECOND
from user_lib.contract.window import Window

__all__ = ["Account", "Span", "build"]


@dataclass(frozen=True, slots=True)
class Span:
    """Which samples a window takes: ``start_ns <= t < stop_ns``.

    ``lead_stop`` is the row of the leading message before which the window ends, where samples are
    counted: stamps may repeat, so their time alone does not tell.
    """

    start_ns: int
    stop_ns: int
    lead_stop: int | None = None
    trigger_ns: int | None = None


class Account:
    """What is still to be taken of each message, so that no row goes missing without being counted.

    A window takes the rows from where the one before it stopped; of those, the ones that were
    overwritten are its losses. `open` begins anew, after a gap that was not asked for.
    """

    def __init__(self, recording: Recording, messages: tuple[int, ...], start_ns: int) -> None:
        self._recording, self._messages = recording, messages
        self._owed = 0
        self.open(start_ns)

    def open(self, start_ns: int) -> None:
        """Begin with the first rows at or after ``start_ns``, which may be yet to come."""
        self._next: dict[int, int] = {}
        self._pending = list(self._messages)
        self._start_ns = self._since_ns = start_ns

    def track(self) -> None:
        """Note the numbers of the first rows as soon as these are in."""
        if self._pending:
            self._pending = [m for m in self._pending if self.next_row(m) is None]

    def next_row(self, message: int) -> int | None:
        """Return the number of the next row to take of a message; None if it is yet to come."""
        row = self._next.get(message)
        if row is None:
            known_ns = self._recording.known_ns((message,))
            if known_ns is None or known_ns < self._start_ns:
                return None
            row = self._next[message] = self._recording.history.ring(message).seq_at(self._start_ns)
        return row

    def skip(self, start_ns: int, *, part: float = 1.0) -> None:
        """Give up the rows before ``start_ns``; the next window counts ``part`` of them as lost."""
        for message in self._messages:
            to = self._recording.history.ring(message).seq_at(start_ns)
            row = self.next_row(message)
            if row is not None and row < to:
                self._owed += round((to - row) * part)
                self._next[message] = to

    def owe(self, frames: int) -> None:
        """Add to what the next window counts as lost."""
        self._owed += frames

    def take(self, span: Span, lead_message: int) -> tuple[dict[int, tuple[int, int]], int]:
        """Return the rows of each message in the span, and how many frames it lacks."""
        bounds: dict[int, tuple[int, int]] = {}
        lost = self._owed + self._recording.dropped_between(self._since_ns, span.stop_ns)
        for message in self._messages:
            ring = self._recording.history.ring(message)
            begin = self.next_row(message)
            if begin is None:
                begin = ring.seq_at(span.start_ns)
            end = ring.seq_at(span.stop_ns)
            if span.lead_stop is not None and message == lead_message:
                end = span.lead_stop
            end = max(begin, end)
            lost += max(min(ring.tail, end) - begin, 0)
            bounds[message] = begin, end
            self._next[message] = end
        self._since_ns, self._owed, self._pending = span.stop_ns, 0, []
        return bounds, lost


def build(recording: Recording, plan: Plan, span: Span, account: Account) -> Window:
    """Read a span's samples, decode them, and seal them.

    Raises: WindowTooLarge, if there are more than memory is meant to hold.
    """
    bounds, lost = account.take(span, plan.lead_message)
    if plan.rate_hz is None:
        check_size(recording, _kept_samples(recording, plan, bounds))
        samples = recording.reader.many(plan.signals, bounds)
    else:
        samples = _on_grid(recording, plan, span)
    for series in samples.values():
        series.values.flags.writeable = False
        series.time_ns.flags.writeable = False
    return Window(
        {name: series.values for name, series in samples.items()},
        {name: series.time_ns for name, series in samples.items()},
        span.start_ns,
        span.stop_ns,
        {signal.name: signal.unit for signal in plan.signals},
        lost,
        span.trigger_ns,
        _behind(recording, plan, bounds, samples),
        recording.away_ms(plan.messages, span.start_ns, span.stop_ns),
    )


def _behind(
    recording: Recording,
    plan: Plan,
    bounds: dict[int, tuple[int, int]],
    samples: dict[str, Samples],
) -> dict[str, int]:
    """Return how many frames are behind each signal, where that can be fewer than its samples.

    On a grid one frame may stand at many points, and of a derived signal's parts those that are
    sent less often are held. A part that is not in every frame of its message counts as if it were.
    """
    found: dict[str, int] = {}
    for signal in plan.signals:
        series = samples[signal.name]
        if plan.rate_hz is not None:
            frames = np.unique(series.seq[np.isfinite(series.values)])
            found[signal.name] = len(frames[frames >= 0])
        for message in {leaf.message for leaf in leaves_of(signal)} - {lead_of(signal).message}:
            start, stop = bounds[message]
            kept = max(stop - max(start, recording.history.ring(message).tail), 0)
            found[signal.name] = min(found.get(signal.name, kept), kept)
    return found


def _kept_samples(recording: Recording, plan: Plan, bounds: dict[int, tuple[int, int]]) -> int:
    """Return how many samples the rows bring at most; those overwritten bring none."""
    rows = {
        m: stop - max(start, recording.history.ring(m).tail) for m, (start, stop) in bounds.items()
    }
    return sum(max(rows[lead_of(signal).message], 0) for signal in plan.signals)


def _on_grid(recording: Recording, plan: Plan, span: Span) -> dict[str, Samples]:
    """Hold every signal's latest value on a grid that begins at the window's start."""
    step_ns = SECOND / (plan.rate_hz or 1.0)
    n = max(int(np.ceil((span.stop_ns - span.start_ns) / step_ns - 1e-6)), 1)
    points = span.start_ns + np.rint(np.arange(n) * step_ns).astype(np.int64)
    samples: dict[str, Samples] = {}
    for signal in plan.signals:
        held = recording.reader.hold(signal, points)
        samples[signal.name] = Samples(held.seq, points.copy(), held.values)
    return samples
