"""Cursors: where a task stands in the recording, and its next window once that is complete.

Consecutive windows never overlap and never skip in silence. While nobody asks, a cursor stays where
it is and the history holds what comes. What was overwritten meanwhile is in the `lost_frames` of
the next window; a cursor that was overtaken goes on with the oldest window that is kept whole.
Only source time counts: windows end when the stamps of frames have passed their end.
"""

from typing import Protocol

from agent.signals.gathering import Account, Span, build
from agent.signals.names import Signal, lead_of
from agent.signals.outlook import Want
from agent.signals.plan import Plan
from agent.signals.recording import Recording
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import WindowTooLarge
from user_lib.contract.window import Window

__all__ = ["CountCursor", "Cursor", "SampleScan", "TimeCursor", "quiet"]

_QUIET_NS = 2 * SECOND
SKIPPED_EXACTLY = 1000
"""Overtaken windows with gaps between them whose losses are told apart, at most."""


class Cursor(Protocol):
    """What gathers the windows of one task."""

    def track(self) -> None:
        """Look at what has come in; called after every slice of frames."""
        ...

    def take(self) -> Window | None:
        """Return the next window and move past it; None if it is not complete.

        Raises: WindowTooLarge, if it has turned out that the history cannot hold it.
        """
        ...

    def want(self) -> Want:
        """Return what must come, at the least, before the next window can be complete."""
        ...

    def progress(self) -> str:
        """Say what the next window waits for."""
        ...


def quiet(recording: Recording, signal: Signal) -> str:
    """Say that the message behind a signal has been silent, if it has been."""
    lead = lead_of(signal)
    ring, name = recording.history.ring(lead.message), recording.catalog.messages[lead.message].name
    latest_ns = recording.timeline.latest_ns
    if latest_ns is None:
        return "; no frame on any bus yet"
    if ring.head == 0:
        return f"; no frame of {name} yet"
    if (silent_ns := latest_ns - ring.latest_ns) < _QUIET_NS:
        return ""
    return f"; no frame of {name} for {silent_ns / SECOND:.0f} s"


class SampleScan:
    """Finds the row that brings the ``count``-th sample of a signal, decoding each row once."""

    def __init__(self, recording: Recording, signal: Signal, count: int, start: int) -> None:
        self._recording, self._signal, self.count = recording, signal, count
        self._ring = recording.history.ring(lead_of(signal).message)
        self.start = self._scanned = start
        self.found = 0

    @property
    def overtaken(self) -> bool:
        """Whether rows that belong to the count were overwritten."""
        return self._ring.tail > self.start

    def step(self, stop: int) -> int | None:
        """Look at the rows before ``stop``; return the number of the row sought, once it is in."""
        if self.found + stop - self._scanned < self.count:
            return None
        missing = self.count - self.found
        samples = self._recording.reader.rows(self._signal, self._scanned, stop)
        if len(samples) < missing:
            self.found += len(samples)
            self._scanned = max(stop, self._scanned)
            return None
        return int(samples.seq[missing - 1])

    def missing(self) -> int:
        """Return how many rows must follow those in the ring, at least."""
        return self.count - self.found - (self._ring.head - self._scanned)

    def so_far(self, stop: int) -> int:
        """Return how many samples the rows before ``stop`` bring."""
        ahead = self._recording.reader.rows(self._signal, self._scanned, stop)
        return min(self.found + len(ahead), self.count)


class TimeCursor:
    """Windows of equal duration on a fixed grid: one after another, or one every so often.

    Windows during which all buses slept do not exist. A window in which only this task's signals
    were silent does, and is empty.
    """

    def __init__(self, recording: Recording, plan: Plan, start_ns: int) -> None:
        self._recording, self._plan = recording, plan
        self._start_ns = start_ns
        self._duration_ns = plan.duration_ns or 1
        self._period_ns = plan.every_ns or self._duration_ns
        self._account = Account(recording, plan.messages, start_ns)

    def track(self) -> None:
        """Look at what has come in."""
        self._account.track()

    def take(self) -> Window | None:
        """Return the next window and move past it; None if it is not complete."""
        while self._complete():
            woke_ns = self._recording.timeline.slept_through(self._start_ns, self._stop_ns)
            if woke_ns is not None:
                self._move_on(max((woke_ns - self._start_ns) // self._period_ns, 1))
            elif self._overtaken():
                self._skip_overtaken()
            else:
                span = Span(self._start_ns, self._stop_ns)
                window = build(self._recording, self._plan, span, self._account)
                self._move_on(1)
                return window
        return None

    def want(self) -> Want:
        """Return the window's end: some frame must be as late."""
        return Want(at_ns=self._stop_ns)

    @property
    def _stop_ns(self) -> int:
        return self._start_ns + self._duration_ns

    def _complete(self) -> bool:
        known_ns = self._recording.known_ns(self._plan.messages)
        return known_ns is not None and known_ns >= self._stop_ns

    def _move_on(self, periods: int) -> None:
        self._start_ns += periods * self._period_ns
        if self._period_ns > self._duration_ns:
            self._account.open(self._start_ns)

    def _overtaken(self) -> bool:
        """Whether all leading rows of the window were overwritten, and there were some."""
        ring = self._recording.history.ring(self._plan.lead_message)
        begin, kept_ns = self._account.next_row(ring.message), ring.oldest_ns
        if begin is None or kept_ns is None:
            return False
        return begin < ring.tail and self._stop_ns <= kept_ns

    def _skip_overtaken(self) -> None:
        """Move past every window of which nothing is kept, however many: they may last 1 ns."""
        kept_ns = self._recording.history.ring(self._plan.lead_message).oldest_ns or self._stop_ns
        periods = (kept_ns - self._stop_ns) // self._period_ns + 1
        if self._period_ns == self._duration_ns:
            self._account.skip(self._start_ns + periods * self._period_ns)
        elif periods <= SKIPPED_EXACTLY:
            self._account.skip(self._stop_ns)
            periods = 1
        else:
            until_ns = self._start_ns + periods * self._period_ns
            self._account.skip(until_ns, part=self._duration_ns / self._period_ns)
        self._move_on(periods)

    def progress(self) -> str:
        """Say how much of the window's time has passed."""
        latest_ns = self._recording.timeline.latest_ns
        passed_ns = 0 if latest_ns is None else latest_ns - self._start_ns
        passed_s = min(max(passed_ns, 0), self._duration_ns) / SECOND
        state = f"{passed_s:.1f} of {self._duration_ns / SECOND:g} s"
        if passed_ns < 0:
            state = f"the next window begins in {-passed_ns / SECOND:.1f} s"
        return state + quiet(self._recording, self._plan.lead)


class CountCursor:
    """Windows of a number of samples of the first-named signal; other signals by time.

    Signals of the same message as the first are cut at the same row, however stamps repeat.
    """

    def __init__(self, recording: Recording, plan: Plan, start_ns: int) -> None:
        self._recording, self._plan = recording, plan
        self._count = plan.count or 1
        self._start_ns = start_ns
        self._account = Account(recording, plan.messages, start_ns)
        self._scan: SampleScan | None = None
        self._cramped = False

    def track(self) -> None:
        """Look at what has come in."""
        self._account.track()

    def take(self) -> Window | None:
        """Return the next window and move past it; None if it is not complete.

        Raises: WindowTooLarge, if what is kept turns out twice not to hold the window.
        """
        scan = self._scanning()
        if scan is None:
            return None
        row = scan.step(self._known_rows())
        if row is None:
            return None
        self._cramped = False
        ring = self._recording.history.ring(self._plan.lead_message)
        stop_ns = int(ring.read(row, row + 1).time_ns[0]) + 1
        span = Span(self._start_ns, stop_ns, lead_stop=row + 1)
        window = build(self._recording, self._plan, span, self._account)
        self._go_on(stop_ns)
        return window

    def want(self) -> Want:
        """Return as many rows of the leading message as samples are missing."""
        message = self._plan.lead_message
        if self._scan is not None:
            return Want(message=message, rows=self._scan.missing())
        row = self._account.next_row(message)
        if row is None:
            return Want(at_ns=self._start_ns)
        there = self._recording.history.ring(message).head - row
        return Want(message=message, rows=self._count - there)

    def _known_rows(self) -> int:
        """Return the leading row before which nothing of the other messages can be missing."""
        lead = self._recording.history.ring(self._plan.lead_message)
        others = [m for m in self._plan.messages if m != lead.message]
        known_ns = self._recording.known_ns(others) if others else None
        return lead.head if known_ns is None else lead.seq_at(known_ns)

    def _scanning(self) -> SampleScan | None:
        """Return the scan for the end of the window, once the window has begun."""
        message = self._plan.lead_message
        if self._scan is None:
            row = self._account.next_row(message)
            if row is None:
                return None
            self._scan = SampleScan(self._recording, self._plan.lead, self._count, row)
        if self._scan.overtaken:
            if self._cramped:
                self._too_large()
            self._cramped = True
            ring = self._recording.history.ring(message)
            self._start_ns = ring.oldest_ns or self._start_ns
            self._account.skip(self._start_ns)
            self._scan = SampleScan(self._recording, self._plan.lead, self._count, ring.tail)
        return self._scan

    def _go_on(self, stop_ns: int) -> None:
        self._scan = None
        if self._plan.every_ns is None:
            self._start_ns = stop_ns
            return
        periods = max(-(-(stop_ns - self._start_ns) // self._plan.every_ns), 1)
        self._start_ns += periods * self._plan.every_ns
        self._account.open(self._start_ns)

    def _too_large(self) -> None:
        lead = self._plan.lead
        ring = self._recording.history.ring(self._plan.lead_message)
        name = self._recording.catalog.messages[ring.message].name
        raise WindowTooLarge(
            f"{self._count} samples of {lead.name} do not fit: the history holds "
            f"{ring.head - ring.tail} frames of {name}, too few of which carry the signal; "
            "ask for fewer samples, or give the vehicle more history_mb",
            path="window.samples",
        )

    def progress(self) -> str:
        """Say how many samples there are."""
        found = 0
        if self._scan is not None:
            found = self._scan.so_far(self._known_rows())
        state = f"{found} of {self._count} samples of {self._plan.lead.name}"
        return state + quiet(self._recording, self._plan.lead)
