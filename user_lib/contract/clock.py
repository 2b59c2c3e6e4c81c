"""Time comes in through a Clock, so that decisions are tested without waiting.

Units: int64 nanoseconds everywhere. Deadlines and leases use ``monotonic_ns``; stamps that a person
reads use ``unix_ns``. A jump of the wall clock moves only what a person reads.
"""

import time
from typing import Protocol

__all__ = ["MS", "SECOND", "Clock", "SystemClock"]

MS = 1_000_000
SECOND = 1_000_000_000


class Clock(Protocol):
    """What everything that needs the time is given."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; the zero is arbitrary."""
        ...

    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as the machine believes it."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        """Read CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """Read CLOCK_REALTIME."""
        return time.time_ns()
