"""``when``: find the rising edges of a condition, and the window that belongs to each.

The condition is computed at every frame that brings a sample of one of its signals, in the order of
time, with the latest value of the others, once each of them has had a value. It fires when it
becomes true; one that is true at its first computation fires at once.

A window with a look-back runs from ``before_s`` ahead of the trigger to ``after_s`` behind it, both
ends included; without, it follows the trigger, whose own sample is its first. While a window is
open, a further trigger is merged into it: counted, and no window of its own. Look-backs of two
triggers may overlap; each gets all of its own. Windows wait in a backlog of at most `BACKLOG`;
what fires while that is full is missed, and counted.
"""

from collections import deque
from dataclasses import dataclass

from agent.signals.edges import EdgeDetector
from agent.signals.gathering import Account, Span, build
from agent.signals.outlook import ANYTHING, Want
from agent.signals.plan import Plan
from agent.signals.recording import Recording
from agent.signals.windows import SampleScan, quiet
from user_lib.contract.errors import WindowTooLarge
from user_lib.contract.window import Window

__all__ = ["BACKLOG", "TriggerCounts", "TriggerCursor"]

BACKLOG = 64


@dataclass(frozen=True, slots=True)
class TriggerCounts:
    """How often a condition fired, and what came of it besides windows."""

    fired: int = 0
    merged: int = 0
    missed: int = 0

    def __add__(self, other: "TriggerCounts") -> "TriggerCounts":
        return TriggerCounts(
            self.fired + other.fired, self.merged + other.merged, self.missed + other.missed
        )


@dataclass(slots=True)
class _Event:
    """A trigger and its window; ``scan`` finds the end of one that counts samples."""

    trigger_ns: int
    start_ns: int
    stop_ns: int | None
    account: Account
    scan: SampleScan | None = None
    lead_stop: int | None = None


class TriggerCursor:
    """The windows of an assignment with ``when``, one a trigger, in the order of the triggers."""

    def __init__(
        self, recording: Recording, plan: Plan, start_ns: int, *, backlog: int = BACKLOG
    ) -> None:
        if plan.condition is None:
            raise ValueError("a trigger cursor needs a plan with a condition")
        self._recording, self._plan, self._condition = recording, plan, plan.condition
        self._backlog = backlog
        self._detector = EdgeDetector(recording, plan.condition, start_ns)
        self._events: deque[_Event] = deque()
        self._open_until_ns: int | None = None
        self.fired = self.merged = self.missed = 0

    @property
    def counts(self) -> TriggerCounts:
        """What became of the triggers so far."""
        return TriggerCounts(self.fired, self.merged, self.missed)

    def track(self) -> None:
        """Find new triggers, and the ends of the windows that they opened."""
        known_ns = self._recording.known_ns(self._plan.messages)
        if known_ns is None:
            return
        for trigger_ns in self._detector.advance(known_ns):
            self._close(trigger_ns)
            self._fire(trigger_ns)
        self._close(known_ns)

    def _fire(self, trigger_ns: int) -> None:
        self.fired += 1
        if self._is_open(trigger_ns):
            self.merged += 1
        elif len(self._events) >= self._backlog:
            self.missed += 1
        else:
            self._open(trigger_ns)

    def _is_open(self, at_ns: int) -> bool:
        if self._events and self._events[-1].stop_ns is None:
            return True
        return self._open_until_ns is not None and at_ns < self._open_until_ns

    def _open(self, trigger_ns: int) -> None:
        start_ns = trigger_ns - (self._condition.before_ns or 0)
        account = Account(self._recording, self._plan.messages, start_ns)
        account.track()
        event = _Event(trigger_ns, start_ns, None, account)
        if self._plan.duration_ns is not None:
            event.stop_ns = self._open_until_ns = start_ns + self._plan.duration_ns
        self._events.append(event)

    def _close(self, known_ns: int) -> None:
        """Find the end of a window that counts samples, among the rows before ``known_ns``."""
        event = self._events[-1] if self._events else None
        if event is None or event.stop_ns is not None:
            return
        ring = self._recording.history.ring(self._plan.lead_message)
        if event.scan is None:
            start = event.account.next_row(ring.message) or 0
            event.scan = SampleScan(self._recording, self._plan.lead, self._plan.count or 1, start)
        row = event.scan.step(ring.seq_at(known_ns))
        if row is None and event.scan.overtaken:
            self._events.pop()
            self._too_large(event.scan)
        if row is not None:
            event.lead_stop = row + 1
            event.stop_ns = int(ring.read(row, row + 1).time_ns[0]) + 1
            self._open_until_ns = event.stop_ns

    def _too_large(self, scan: SampleScan) -> None:
        raise WindowTooLarge(
            f"{scan.count} samples of {self._plan.lead.name} after a trigger do not fit the "
            "history; ask for fewer samples, or give the vehicle more history_mb",
            path="window.samples",
        )

    def take(self) -> Window | None:
        """Return the window of the oldest trigger and move past it; None if it is not complete."""
        if not self._events:
            return None
        event = self._events[0]
        known_ns = self._recording.known_ns(self._plan.messages)
        if event.stop_ns is None or known_ns is None or known_ns < event.stop_ns:
            return None
        self._events.popleft()
        span = Span(event.start_ns, event.stop_ns, event.lead_stop, event.trigger_ns)
        event.account.owe(self._detector.unseen)
        self._detector.unseen = 0
        return build(self._recording, self._plan, span, event.account)

    def want(self) -> Want:
        """Return that anything is wanted: whatever frame may fire."""
        return ANYTHING

    def progress(self) -> str:
        """Say what the condition waits for, or how far the window after a trigger is."""
        counts = f"{self.fired} triggers so far" if self.fired != 1 else "1 trigger so far"
        if self.merged or self.missed:
            counts += f" ({self.merged} merged, {self.missed} missed)"
        if self._events:
            waiting = f"gathers the window of a trigger, {len(self._events)} in all"
            return f"{waiting}; {counts}{quiet(self._recording, self._plan.lead)}"
        held = self._detector.held
        now = [f"{name} is {held[name]:g}" for name in held]
        now += [f"no value of {name} yet" for name in self._condition.signals if name not in held]
        silent = next(iter(self._condition.signals.values()))
        return (
            f"waits for {self._condition.expression.text} ({', '.join(now)}); {counts}"
            f"{quiet(self._recording, silent)}"
        )
