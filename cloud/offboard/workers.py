"""The threads that run off-board work; they talk with the loop through two queues and one pipe."""

import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from pathlib import Path

from agent.sandbox import Outcome, Sandbox
from cloud.ledger import LedgerDamaged
from cloud.ledger.database import failure, read_only
from cloud.offboard.aggregate import Done, GroupValue, Work, aggregate

__all__ = ["Workers"]

LOG = logging.getLogger(__name__)
JOIN_TIMEOUT_S = 2.0


class Workers:
    """Runs `Work` in threads of its own and hands `Done` back to the loop.

    Each assignment has at most one round in work, so the queues are bounded by their number; one
    that handlers which were built anew submit again is in work once. A thread that meets an error
    of ours answers with it: the aggregate is lost, nothing else. In a damaged ledger no round gets
    a value that would stand for ever.
    """

    def __init__(self, ledger: Path, threads: int, sandbox: Sandbox | None = None) -> None:
        self._path = ledger
        self._sandbox = sandbox or Sandbox()
        self._todo: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._done: deque[Done] = deque()
        self._in_work: set[tuple[int, int]] = set()
        """Rounds that were submitted and not taken, by assignment and number."""
        self._damage: LedgerDamaged | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._run, name=f"offboard-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def wake_fd(self) -> int:
        """A descriptor that is readable once there is something to `take`."""
        return self._wake_fd

    @property
    def queued(self) -> int:
        """How many rounds wait for a thread."""
        return self._todo.qsize()

    def submit(self, work: Work) -> None:
        """Queue a round whose results are committed, unless it is in work."""
        if _name(work) not in self._in_work:
            self._in_work.add(_name(work))
            self._todo.put(work)

    def take(self) -> list[Done]:
        """Return what was finished since the last call.

        Raises: LedgerDamaged, when a thread could not read the results of a round.
        """
        if self._damage is not None:
            raise self._damage
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return []
        found = [self._done.popleft() for _ in range(len(self._done))]
        self._in_work.difference_update(_name(done.work) for done in found)
        return found

    def close(self) -> None:
        """Stop; a method that is running is killed with the sandbox."""
        for _ in self._threads:
            self._todo.put(None)
        self._sandbox.close()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
        # A thread that is still alive may yet write to the descriptor: then it stays open.
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._wake_fd)

    def _run(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                self._done.append(self._aggregate(work))
            except LedgerDamaged as damage:
                self._damage = damage
            os.eventfd_write(self._wake_fd, 1)

    def _aggregate(self, work: Work) -> Done:
        try:
            connection = read_only(self._path)
            try:
                return aggregate(work, self._sandbox, connection)
            except sqlite3.Error as error:
                raise failure(self._path, error) from error
            finally:
                connection.close()
        except LedgerDamaged:
            raise
        except Exception as error:
            LOG.exception("round %d of %s", work.closing.number, work.assignment_id)
            lost = Outcome(
                status="error",
                reason="cloud",
                detail=f"the cloud could not run the off-board method: {error}",
            )
            values = tuple(GroupValue(part, lost) for part in work.closing.parts)
            return Done(work=work, values=values)


def _name(work: Work) -> tuple[int, int]:
    return work.row, work.closing.number
