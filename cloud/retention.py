"""Assignments that ended long ago are removed, by a clock that no jump of the wall clock moves far.

That clock is the ledger's: it follows the wall clock, but never faster than `CATCH_UP` times the
time that a cloud really runs. A wall clock that somebody, a wrong time server or a dead battery set
a year ahead, also while no cloud ran, thus removes nothing for days, in which it can be set right.
"""

import logging
from datetime import UTC, datetime

from cloud.ledger import Ledger
from user_lib.contract.clock import SECOND, Clock

__all__ = ["CATCH_UP", "Retention"]

LOG = logging.getLogger(__name__)
DAY_NS = 24 * 3600 * SECOND
LOOK_NS = 600 * SECOND
CATCH_UP = 8
"""Days that the ledger's clock goes on in a day, until it is with the wall clock: a cloud that runs
three hours a day keeps up with it."""


class Retention:
    """Removes what ended more than ``days`` ago, a little each time; None keeps everything."""

    def __init__(self, ledger: Ledger, clock: Clock, days: float | None) -> None:
        self._ledger, self._clock, self._days = ledger, clock, days
        self._next_ns = 0
        self._looked_ns = clock.monotonic_ns()
        known_ns = None if days is None else ledger.lived_ns()
        self._lived_ns = clock.unix_ns() if known_ns is None else known_ns
        self._behind = False

    def tick(self, now_ns: int) -> None:
        """Do what is due. Units: ``now_ns``, ns of the monotonic clock."""
        if self._days is None or now_ns < self._next_ns:
            return
        self._go_on(now_ns)
        if not self._ledger.prune(before_ns=self._lived_ns - int(self._days * DAY_NS)):
            self._next_ns = now_ns + LOOK_NS
            self._ledger.keep_lived(self._lived_ns)

    def _go_on(self, now_ns: int) -> None:
        """Let the ledger's clock follow the wall clock, and say when it falls behind."""
        wall_ns = self._clock.unix_ns()
        most_ns = self._lived_ns + CATCH_UP * (now_ns - self._looked_ns)
        self._lived_ns, self._looked_ns = min(wall_ns, most_ns), now_ns
        behind = wall_ns - self._lived_ns > DAY_NS
        if behind and not self._behind:
            LOG.warning(
                "the clock is %.1f days ahead of what this cloud has seen pass: it was off, or the "
                "clock was set; keep_ended_days goes by %s, and on by %d days a day until it has "
                "caught up: if the clock is wrong, set it right before",
                (wall_ns - self._lived_ns) / DAY_NS,
                datetime.fromtimestamp(self._lived_ns // SECOND, UTC).date(),
                CATCH_UP,
            )
        elif self._behind and not behind:
            LOG.info("keep_ended_days goes by the clock again")
        self._behind = behind
