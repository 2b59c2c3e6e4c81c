"""The signals of simulated vehicles: checked as real ones are, but the same window each time."""

from collections.abc import Callable

import numpy as np

from agent.gathering import Gathering
from agent.tasks.ports import Arrived, News
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.window import Window

__all__ = ["CannedSignals", "SharedGathering"]

SAMPLES = 100
DEFAULT_PERIOD_S = 1.0
_VALUES = np.round(60 + 30 * np.sin(np.arange(SAMPLES) / 7), 6)


class SharedGathering(Gathering):
    """What signals there are, for all vehicles: what one of them was asked is checked once."""

    _good: Assignment | None = None

    def check(self, assignment: Assignment) -> None:
        """Refuse what a vehicle cannot do, as `Gathering.check`."""
        if assignment is not self._good:
            super().check(assignment)
            self._good = assignment


class CannedWindows:
    """A task's subscription: the same window again and again, each after its time."""

    def __init__(self, spec: Assignment, token: int, speed: float, clock: Clock) -> None:
        seconds = spec.window.every or spec.window.seconds or DEFAULT_PERIOD_S
        self._period_ns = int(seconds * SECOND / speed)
        self._clock, self._token = clock, token
        self._times = np.linspace(0, self._period_ns, SAMPLES, endpoint=False).astype(np.int64)
        self._signals = spec.signals
        self._start_ns = clock.monotonic_ns()
        self.due_ns: int | None = None

    def request(self) -> None:
        """Let the next window be due after its time."""
        self.due_ns = self._start_ns + self._period_ns

    def progress(self) -> str:
        """Say what the next window waits for."""
        return "waits for its canned window"

    def cancel(self) -> None:
        """Let no window be due any more."""
        self.due_ns = None

    def take(self) -> Arrived:
        """Return the window that is due; the next one begins where it ends."""
        start_ns, self.due_ns = self._start_ns, None
        self._start_ns = max(start_ns + self._period_ns, self._clock.monotonic_ns())
        window = Window(
            dict.fromkeys(self._signals, _VALUES),
            dict.fromkeys(self._signals, self._times + start_ns),
            start_ns,
            start_ns + self._period_ns,
        )
        return Arrived(self._token, window)


class CannedSignals:
    """The vehicle's signals: checked as real ones are, never gathered."""

    def __init__(self, gathering: SharedGathering, speed: float, clock: Clock) -> None:
        self._gathering, self._speed, self._clock = gathering, speed, clock
        self._open: list[CannedWindows] = []

    def check(self, assignment: Assignment) -> None:
        """Refuse what a vehicle cannot do, as `Gathering.check`."""
        self._gathering.check(assignment)

    def aliases(self, name: str) -> tuple[frozenset[str], ...]:
        """Return the names of each signal that is meant, as `Gathering.aliases`."""
        return self._gathering.aliases(name)

    def subscribe(
        self, assignment: Assignment, token: int, post: Callable[[News], None]
    ) -> CannedWindows:
        """Open a subscription of canned windows."""
        windows = CannedWindows(assignment, token, self._speed, self._clock)
        self._open.append(windows)
        return windows

    @property
    def due_ns(self) -> int | None:
        """When the next window is due."""
        self._open = [w for w in self._open if w.due_ns is not None]
        return min((w.due_ns for w in self._open if w.due_ns is not None), default=None)

    def due(self, now_ns: int) -> list[Arrived]:
        """Return the windows that are due."""
        return [w.take() for w in self._open if w.due_ns is not None and w.due_ns <= now_ns]
