"""The bounded worker slots: threads that each wait for one iteration in the sandbox at a time."""

import logging
import queue
import threading
from collections.abc import Callable

from agent.sandbox import Job, Outcome
from agent.tasks.ports import Finished

__all__ = ["Workers"]

log = logging.getLogger(__name__)


class Workers:
    """Runs jobs on at most ``slots`` threads. `submit` and `finished` belong to the owner's thread.

    ``post`` is called on a worker's thread with each outcome.
    """

    def __init__(
        self, run: Callable[[Job], Outcome], slots: int, post: Callable[[Finished], None]
    ) -> None:
        self._run, self._post = run, post
        self._jobs: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self._busy = 0
        self.slots = slots
        self._threads = [
            threading.Thread(target=self._serve, name=f"slot-{i}", daemon=True)
            for i in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self._busy

    @property
    def idle(self) -> int:
        """How many slots are free."""
        return self.slots - self._busy

    def submit(self, ticket: int, job: Job) -> None:
        """Hand a job to a free slot; the caller has made sure that there is one."""
        self._busy += 1
        self._jobs.put((ticket, job))

    def finished(self) -> None:
        """Free the slot of an outcome that was received."""
        self._busy -= 1

    def close(self, timeout_s: float) -> None:
        """Let the threads end once their jobs did; wait for that so long at most."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s / self.slots)

    def _serve(self) -> None:
        while (item := self._jobs.get()) is not None:
            ticket, job = item
            try:
                outcome = self._run(job)
            except Exception as error:
                log.exception("the sandbox failed; the iteration is lost, the slot goes on")
                detail = f"the sandbox failed: {error!r}"
                outcome = Outcome(status="refused", reason="sandbox", detail=detail)
            self._post(Finished(ticket, outcome))
