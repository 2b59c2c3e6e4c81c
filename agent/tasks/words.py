"""Where a task stands, in words for its analyst."""

from collections.abc import Sequence

from agent.tasks.live import Live
from agent.tasks.ports import Inputs
from agent.tasks.receipt import Run
from agent.tasks.task import Now
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import TaskHeld
from user_lib.contract.states import TaskState

__all__ = ["told"]

SHOWN_HOLDERS = 3


def told(live: Live, runs: Sequence[Run], inputs: Inputs, now: Now) -> TaskHeld:
    """Return a task as a heartbeat tells it; ``runs`` are what holds the worker slots."""
    task = live.task
    words = _words_for(live, runs, now)
    lacks = inputs.missing(task.inputs) if task.inputs else ""
    if lacks and lacks not in words:
        words = f"{words}; {lacks}"
    return TaskHeld(
        assignment_id=task.assignment_id, state=task.state, iteration=task.iteration, detail=words
    )


def _words_for(live: Live, runs: Sequence[Run], now: Now) -> str:
    task = live.task
    match task.state:
        case TaskState.PENDING:
            return live.waits_for or f"starts at {task.spec.start}"
        case TaskState.GATHERING:
            return live.subscription.progress() if live.subscription else ""
        case TaskState.READY:
            return live.waits_for or _waits_for_slot(live, runs, now)
        case TaskState.RUNNING:
            since_ns = live.run.started_ns if live.run else now.monotonic_ns
            return f"runs for {_seconds(now, since_ns)}"
        case TaskState.AWAITING:
            return f"waits for round {task.iteration} to begin"
        case _:
            return task.detail


def _waits_for_slot(live: Live, runs: Sequence[Run], now: Now) -> str:
    holders = [f"{r.task.assignment_id} ({_seconds(now, r.started_ns)})" for r in runs]
    more = f" and {len(holders) - SHOWN_HOLDERS} more" if len(holders) > SHOWN_HOLDERS else ""
    held_by = f"; held by {', '.join(holders[:SHOWN_HOLDERS])}{more}" if holders else ""
    return f"waits for a worker slot for {_seconds(now, live.task.ready_ns)}{held_by}"


def _seconds(now: Now, since_ns: int) -> str:
    return f"{(now.monotonic_ns - since_ns) / SECOND:.1f} s"
