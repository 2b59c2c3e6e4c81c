"""Writes what must be durable, with what it costs the owner, and knows whether that is possible."""

import logging
from collections.abc import Iterable

from agent.policy import Allowance
from agent.store import Note, SaveAccount, StateUnwritable, Write
from agent.tasks.ports import Durable
from agent.tasks.task import Now
from user_lib.contract.clock import SECOND

__all__ = ["Journal"]

log = logging.getLogger(__name__)

PROBE_S = 1


class Journal:
    """Of the main loop's thread."""

    def __init__(self, store: Durable, allowance: Allowance) -> None:
        self._store, self._allowance = store, allowance
        self._probe_ns = 0
        self.unwritable = ""
        """Why nothing can be written, in words; empty when all is well."""

    def write(self, writes: Iterable[Write], now: Now) -> bool:
        """Write all in one transaction, and with it what the owner's budgets count.

        Returns False, and `unwritable` says why, when nothing was written.
        """
        writes, allowance = tuple(writes), self._allowance
        for write in writes:
            if isinstance(write, Note) and write.entry.event == "retracted":
                allowance.retract(write.entry.job, write.entry.results)
        account = allowance.to_save
        if account is None:
            return self._apply(writes, now)
        if self._apply([*writes, SaveAccount(account)], now):
            allowance.saved(account)
            return True
        allowance.undo()
        return False

    def _apply(self, writes: Iterable[Write], now: Now) -> bool:
        try:
            self._store.apply(writes)
        except StateUnwritable as error:
            if not self.unwritable:
                log.exception("tasks pause")
            self.unwritable = str(error)
            self._probe_ns = now.monotonic_ns + PROBE_S * SECOND
            return False
        return True

    def recovers(self, now: Now) -> bool:
        """Try again, now and then, whether the disk can be written; True once it can."""
        if not self.unwritable or now.monotonic_ns < self._probe_ns:
            return False
        try:
            self._store.probe()
        except StateUnwritable as error:
            self.unwritable = str(error)
            self._probe_ns = now.monotonic_ns + PROBE_S * SECOND
            return False
        log.warning("the disk can be written again; tasks go on")
        self.unwritable = ""
        return True
