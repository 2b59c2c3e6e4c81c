"""The life cycles of a task, a round and a job, as tables of their legal transitions.

A task, on its vehicle::

    PENDING ──start time──▶ GATHERING ──window──▶ READY ──slot──▶ RUNNING ─┬─▶ GATHERING (next)
                                                                           ├─▶ AWAITING  (feedback)
    AWAITING ──feedback──▶ GATHERING                                       └─▶ an end

    PAUSED: the disk cannot be written; the task goes on where it was once it can.
    Ends: FINISHED (all iterations, or its time is over), FAILED, REJECTED, CANCELLED.

A round, in the cloud: OPEN ──all answered──▶ COMPLETE; at the deadline COMPLETE when the quorum
answered, else SHORT.

A job, in the cloud: SCHEDULED ──start──▶ RUNNING ──▶ FINISHED, CANCELLED or FAILED.
"""

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["JOB_ENDS", "TASK_ENDS", "TASK_MOVES", "JobState", "RoundState", "TaskState"]


class TaskState(StrEnum):
    """Where a task stands on its vehicle."""

    PENDING = "pending"
    GATHERING = "gathering"
    READY = "ready"
    RUNNING = "running"
    AWAITING = "awaiting"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


TASK_ENDS = frozenset(
    {TaskState.FINISHED, TaskState.FAILED, TaskState.REJECTED, TaskState.CANCELLED}
)

_ANY_TIME = frozenset({TaskState.CANCELLED, TaskState.FAILED, TaskState.FINISHED, TaskState.PAUSED})

TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: _ANY_TIME | {TaskState.GATHERING, TaskState.REJECTED, TaskState.AWAITING},
    TaskState.GATHERING: _ANY_TIME | {TaskState.READY},
    TaskState.READY: _ANY_TIME | {TaskState.RUNNING},
    TaskState.RUNNING: _ANY_TIME | {TaskState.GATHERING, TaskState.AWAITING, TaskState.READY},
    TaskState.AWAITING: _ANY_TIME | {TaskState.GATHERING},
    TaskState.PAUSED: _ANY_TIME | {TaskState.GATHERING, TaskState.AWAITING, TaskState.PENDING},
    **{end: frozenset() for end in TASK_ENDS},
}


class RoundState(StrEnum):
    """Where a round stands."""

    OPEN = "open"
    COMPLETE = "complete"
    SHORT = "short"


class JobState(StrEnum):
    """Where an assignment stands in the cloud."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


JOB_ENDS = frozenset({JobState.FINISHED, JobState.CANCELLED, JobState.FAILED})
