"""The tasks that a vehicle holds, by assignment, by what they subscribed to, by what they run."""

import itertools
from collections import Counter
from collections.abc import Iterator

from agent.tasks.live import Live
from agent.tasks.receipt import Run
from agent.tasks.task import Task
from user_lib.contract.ids import AssignmentId
from user_lib.contract.states import TaskState

__all__ = ["Roll"]


class Roll:
    """Iterates over what is held as it is now, whatever comes or goes meanwhile."""

    def __init__(self) -> None:
        self._tasks: dict[AssignmentId, Live] = {}
        self._by_token: dict[int, Live] = {}
        self._by_ticket: dict[int, Live] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, assignment_id: AssignmentId) -> bool:
        return assignment_id in self._tasks

    def __iter__(self) -> Iterator[Live]:
        return iter(tuple(self._tasks.values()))

    def of(self, assignment_id: AssignmentId) -> Live | None:
        """Return the task of an assignment; None when it is not held."""
        return self._tasks.get(assignment_id)

    def subscriber(self, token: int) -> Live | None:
        """Return whose subscription has this token; None when that is over."""
        return self._by_token.get(token)

    def add(self, task: Task) -> Live:
        """Hold a task."""
        live = Live(task, next(self._numbers))
        self._tasks[task.assignment_id] = self._by_token[live.token] = live
        return live

    def rename(self, live: Live) -> None:
        """Give a task's subscription another token: news of the one before are nobody's."""
        del self._by_token[live.token]
        live.token = next(self._numbers)
        self._by_token[live.token] = live

    def ticket(self) -> int:
        """Return a ticket for a run."""
        return next(self._numbers)

    def begin(self, live: Live, run: Run) -> None:
        """Note that a task runs."""
        live.run, self._by_ticket[run.ticket] = run, live

    def finish(self, ticket: int) -> Live | None:
        """Return whose run is over; None when the task is gone."""
        return self._by_ticket.pop(ticket, None)

    def remove(self, live: Live) -> None:
        """Hold a task no longer; what it runs is nobody's."""
        del self._tasks[live.task.assignment_id]
        del self._by_token[live.token]
        if live.run is not None:
            self._by_ticket.pop(live.run.ticket, None)

    @property
    def runs(self) -> list[Run]:
        """What holds the worker slots."""
        return [live.run for live in self._by_ticket.values() if live.run is not None]

    def states(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state."""
        return Counter(live.task.state for live in self._tasks.values())
