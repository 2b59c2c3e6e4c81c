"""Warnings about what peers do, counted by kind and logged at a bounded rate.

A peer that misbehaves a thousand times a second must cost neither the disk nor the operator's eyes.
"""

import logging
from collections import Counter

from user_lib.contract.clock import SECOND, Clock

__all__ = ["Complaints"]

LOG = logging.getLogger(__name__)
QUIET_NS = 10 * SECOND


class Complaints:
    """Counts everything; logs the first of a kind, then at most one each ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self._logged_ns: dict[str, int] = {}
        self._unsaid: Counter[str] = Counter()

    def add(
        self, kind: str, message: str, *details: object, error: BaseException | None = None
    ) -> None:
        """Count one, and log it, with an ``error``'s traceback, unless its kind just was."""
        self.counts[kind] += 1
        now_ns = self._clock.monotonic_ns()
        last_ns = self._logged_ns.get(kind)
        if last_ns is not None and now_ns - last_ns < QUIET_NS:
            self._unsaid[kind] += 1
            return
        unsaid = self._unsaid.pop(kind, 0)
        self._logged_ns[kind] = now_ns
        more = f" (and {unsaid} more of this kind)" if unsaid else ""
        LOG.warning(f"%s: {message}{more}", kind, *details, exc_info=error)  # noqa: G004 - text of our own
