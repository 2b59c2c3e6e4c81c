"""Which waiting task gets the next worker slot.

Rule: the higher priority goes first, and every `AGEING_S` seconds of waiting count as one step of
priority. So a task of priority 0 stands before a fresh one of priority 9 after 9 x `AGEING_S`
seconds, and whoever waits longer than that is served in the order of arrival: no task starves.
A running iteration is never preempted.
"""

from collections.abc import Iterable

from agent.tasks.task import Task
from user_lib.contract.clock import SECOND
from user_lib.contract.states import TaskState

__all__ = ["AGEING_S", "MAX_HEADSTART_S", "in_order"]

AGEING_S = 10
MAX_HEADSTART_S = 9 * AGEING_S
"""The longest that a later task can go first by its priority alone."""


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that wait for a slot, the next one first.

    Ageing at the same pace for all means that the order does not depend on the present: a step of
    priority is a head start of `AGEING_S` seconds.
    """
    ready = (t for t in tasks if t.state is TaskState.READY)
    return sorted(ready, key=lambda t: (_virtual_ns(t), t.assignment_id))


def _virtual_ns(task: Task) -> int:
    return task.ready_ns - task.spec.priority * AGEING_S * SECOND
