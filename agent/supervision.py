"""What the service manager is told: ready once the loop turns, alive while loop and pump do."""

import logging
from collections.abc import Callable

from agent.signals.intake import Turn
from user_lib.contract.clock import SECOND
from user_lib.wire.notify import Notifier

__all__ = ["Supervision"]

log = logging.getLogger(__name__)

MOST_OF_LIMIT = 0.5
"""Who takes frames in and is silent for this part of the watchdog's limit takes the food away."""
ALONE_NS = 15 * SECOND
"""After this long its silence is told where no watchdog says otherwise."""


class Supervision:
    """Of the main loop's thread.

    ``slowest`` tells who of those that take frames in, the pump and the threads of drivers, came
    round the longest ago.
    """

    def __init__(self, notifier: Notifier, slowest: Callable[[], Turn], status: str) -> None:
        self._notifier, self._slowest, self._status = notifier, slowest, status
        limit_ns = int(notifier.limit_ns * MOST_OF_LIMIT)
        self._patience_ns = limit_ns if notifier.watched else ALONE_NS
        self._ready = self._silent = False

    @property
    def silent(self) -> bool:
        """Whether a thread stands still that takes frames in: none come, whatever the bus does."""
        return self._silent

    def turned(self, now_ns: int) -> None:
        """The main loop has made a turn. Feed the watchdog, unless no frames can come.

        Units: ``now_ns``, ns of the monotonic clock.
        """
        if not self._ready:
            self._ready = True
            self._notifier.ready(self._status)
        who, turned_ns = self._slowest()
        silent_ns = now_ns - turned_ns
        if silent_ns <= self._patience_ns:
            if self._silent:
                log.warning("frames are taken in again")
            self._silent = False
            self._notifier.alive(now_ns)
        elif not self._silent:
            self._silent = True
            log.critical(
                "no frames are taken in for %.0f s: %s hangs; %s",
                silent_ns / SECOND,
                who,
                "the watchdog restarts this agent" if self._notifier.watched else "restart it",
            )

    def reloading(self, now_ns: int) -> None:
        """The configuration is read again; the next `turned` says when that is done."""
        self._notifier.reloading(now_ns)
        self._ready = False

    def stopping(self) -> None:
        """The agent is about to end."""
        self._notifier.stopping()
