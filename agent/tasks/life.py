"""The life of a task: ``step(task, event, now) -> task, commands``, without clock or I/O.

Rules, beside the table of moves in `user_lib.contract.states`:

- At most one iteration of a task is under way; numbers rise by one, and jump only to the round
  that the cloud says is current: with feedback always, else when the vehicle was away and would
  be late for ever.
- Whatever `Commit` comes with happens only if the commit succeeds; else the task pauses, and the
  event is given to it again once the disk can be written.
- A running iteration is never interrupted by a new round, a new code version or the end of the
  duration: it is committed first. A withdrawal ends the task at once; what runs is thrown away.
- ``duration_s`` counts the time in which an agent ran the task, on the monotonic clock: neither a
  jump of the wall clock nor a parked car uses it up. The cloud ends what is over for all.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from agent.policy import kept_by
from agent.tasks.code import Exhausted, RolledBack
from agent.tasks.task import (
    Close,
    CodeMissing,
    Command,
    Commit,
    Compute,
    Computed,
    DataOver,
    DiskBack,
    DiskFailed,
    Ending,
    Event,
    Faulted,
    Granted,
    Now,
    Open,
    Refused,
    Request,
    RoundBegan,
    RoundsPassed,
    Task,
    Tick,
    WindowArrived,
    Withdrawn,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Feedback
from user_lib.contract.states import TASK_MOVES, TaskState

__all__ = ["IllegalMove", "Stepped", "is_due", "step"]

Stepped: TypeAlias = tuple[Task, tuple[Command, ...]]


RUN = Commit()
"""The commit of an iteration that was run."""


class IllegalMove(AssertionError):
    """A step left the table of moves: a fault of ours, never of what came in."""


def step(task: Task, event: Event, now: Now) -> Stepped:
    """Return the task after an event, and what it asks for; an ended task ignores everything."""
    if task.ended:
        return task, ()
    handler: Callable[[Task, Any, Now], Stepped] = _HANDLERS[type(event)]
    return handler(task, event, now)


# --- time ----------------------------------------------------------------------------------------


def _on_tick(task: Task, _: Tick, now: Now) -> Stepped:
    if task.state is TaskState.PENDING:
        if _is_expired(task, now):
            words = f"it was not to begin after {task.spec.not_after}"
            return _end(task, Ending(TaskState.REJECTED, "expired", words))
        return _start(task, now) if is_due(task, now) else (task, ())
    duration_s = task.spec.duration_s
    if duration_s is None or task.ran_ns(now) < duration_s * SECOND:
        return task, ()
    over = Ending(TaskState.FINISHED, "duration", f"its {duration_s:g} s are over")
    if task.state is TaskState.RUNNING or task.resume is TaskState.RUNNING:
        return replace(task, leaving=task.leaving or over), ()
    return _end(task, over)


def is_due(task: Task, now: Now) -> bool:
    """Whether the start time has come; a task that once ran does not wait for it again."""
    start_ns = task.spec.start_unix_ns
    return start_ns is None or task.position.ran_ns > 0 or now.unix_ns >= start_ns


def _is_expired(task: Task, now: Now) -> bool:
    """Whether a task that never ran may no longer begin, by a clock that can be trusted."""
    not_after_ns = task.spec.not_after_unix_ns
    fresh = not task.position.ran_ns and not task.position.committed
    return now.trusted and fresh and not_after_ns is not None and now.unix_ns >= not_after_ns


def _start(task: Task, now: Now) -> Stepped:
    task = replace(task, since_ns=now.monotonic_ns)
    if not task.spec.feedback:
        return _move(task, TaskState.GATHERING), (Open(), Request())
    task = _move(task, TaskState.AWAITING)
    if task.next_round is None:
        return task, (Open(),)
    task, commands = _begin_round(task, task.next_round)
    return task, (Open(), *commands)


# --- an iteration --------------------------------------------------------------------------------


def _on_window(task: Task, _: WindowArrived, now: Now) -> Stepped:
    task = replace(task, holds_window=True, ready_ns=now.monotonic_ns)
    if task.state is TaskState.GATHERING:
        return _move(task, TaskState.READY), ()
    return task, ()


def _on_granted(task: Task, event: Granted, now: Now) -> Stepped:
    del now
    if task.state is not TaskState.READY:
        return task, ()
    task = replace(task, rolled_back=task.rolled_back or event.instead_of)
    return _move(task, TaskState.RUNNING), (Compute(),)


def _on_computed(task: Task, event: Computed, now: Now) -> Stepped:
    if TaskState.RUNNING not in (task.state, task.resume):
        return task, ()
    verdict = event.verdict
    if isinstance(verdict, RolledBack):
        task = replace(task, retry=verdict.to, rolled_back=verdict.failed)
        return _again(task, now)
    position = replace(task.position, memory=event.memory) if event.ok else task.position
    task = replace(task, position=position)
    if isinstance(verdict, Exhausted):
        failed = Ending(
            TaskState.FAILED,
            "code_failed",
            f"the code failed its first iteration here and no earlier version worked: "
            f"{verdict.detail}",
        )
        return _commit(replace(task, leaving=failed), now)
    return _commit(task, now)


def _again(task: Task, now: Now) -> Stepped:
    """Put the window back in the queue for a worker slot."""
    task = replace(task, ready_ns=now.monotonic_ns)
    if task.state is TaskState.PAUSED:
        task = _move(replace(task, resume=None), TaskState.GATHERING)
    return _move(task, TaskState.READY), ()


def _on_code_missing(task: Task, event: CodeMissing, now: Now) -> Stepped:
    """Without code a task ends; a feedback iteration whose round pinned it fails."""
    if task.state is TaskState.RUNNING or task.resume is TaskState.RUNNING:
        return task, ()
    if task.state is TaskState.READY and task.spec.feedback:
        return _unrun(task, "no_code", event.detail, now)
    fresh = task.state is TaskState.PENDING and not task.position.committed
    state = TaskState.REJECTED if fresh else TaskState.FAILED
    return _end(task, Ending(state, "no_code", event.detail))


def _on_refused(task: Task, event: Refused, now: Now) -> Stepped:
    """Answer the iteration with the refusal, without computing on the window."""
    if task.state is not TaskState.READY:
        return task, ()
    return _unrun(task, event.reason, event.detail, now)


def _unrun(task: Task, reason: str, detail: str, now: Now) -> Stepped:
    return _commit(_move(task, TaskState.RUNNING), now, Commit(reason=reason, detail=detail))


def _commit(task: Task, now: Now, given: Commit = RUN) -> Stepped:
    """Count the iteration and move on to what comes next."""
    answered = task.iteration
    position = replace(
        task.position,
        iteration=answered + 1,
        committed=task.position.committed + 1,
        ran_ns=task.ran_ns(now),
    )
    task = replace(
        task,
        position=position,
        since_ns=now.monotonic_ns,
        holds_window=False,
        opened=None,
        retry=0,
        rolled_back=None,
        resume=None,
        detail="",
    )
    last = task.spec.last_iteration
    if task.leaving is None and last is not None and answered >= last:
        done = Ending(TaskState.FINISHED, "iterations", f"all {last} iterations are done")
        task = replace(task, leaving=done)
    if task.leaving is not None:
        task = _ended(task, task.leaving)
        return task, (replace(given, answered=answered, ended=True), Close())
    commit = replace(given, answered=answered)
    if not task.spec.feedback:
        return _move(task, TaskState.GATHERING), (commit, Request())
    task = _move(task, TaskState.AWAITING)
    if task.next_round is None:
        return task, (commit,)
    task, commands = _begin_round(task, task.next_round)
    return task, (commit, *commands)


# --- rounds --------------------------------------------------------------------------------------


def _on_round(task: Task, event: RoundBegan, now: Now) -> Stepped:
    del now
    feedback = event.feedback
    if not task.spec.feedback or feedback.iteration < _next_round(task):
        return task, ()
    match task.state:
        case TaskState.AWAITING:
            return _begin_round(task, feedback)
        case TaskState.GATHERING | TaskState.READY:
            return _join(task, feedback), ()
        case _:
            return replace(task, next_round=feedback), ()


def _on_rounds_passed(task: Task, event: RoundsPassed, now: Now) -> Stepped:
    """Give the window that is being gathered the number of the round that is due."""
    del now
    last = task.spec.last_iteration
    waits = task.state in (TaskState.PENDING, TaskState.GATHERING, TaskState.READY)
    within = event.iteration > task.iteration and (last is None or event.iteration <= last)
    if task.spec.feedback or not waits or not within:
        return task, ()
    return replace(task, position=replace(task.position, iteration=event.iteration)), ()


def _next_round(task: Task) -> int:
    """Return the first round that would be news."""
    under_way = task.opened.iteration + 1 if task.opened else task.iteration
    return max(under_way, task.next_round.iteration + 1 if task.next_round else 0)


def _begin_round(task: Task, feedback: Feedback) -> Stepped:
    if feedback.iteration < task.iteration:
        return replace(task, next_round=None), ()
    task = _join(task, feedback)
    if task.state is TaskState.AWAITING:
        task = _move(task, TaskState.GATHERING)
    return task, (Request(),)


def _join(task: Task, feedback: Feedback) -> Task:
    """Make the iteration under way the one of this round."""
    position = replace(task.position, iteration=feedback.iteration)
    return replace(
        task, position=position, opened=feedback, next_round=None, retry=0, rolled_back=None
    )


# --- ends and pauses -----------------------------------------------------------------------------


def _on_data_over(task: Task, event: DataOver, now: Now) -> Stepped:
    del now
    goes_on = TaskState.RUNNING in (task.state, task.resume) or task.holds_window
    done = event.by_itself and task.spec.last_iteration is None
    state = TaskState.FINISHED if done else TaskState.FAILED
    ending = Ending(state, event.reason, event.detail, event.rule)
    if goes_on:
        keeps = bool(kept_by(event.reason, event.rule))  # then the iteration's result stays here
        return replace(task, leaving=ending if keeps else task.leaving or ending), ()
    return _end(task, ending)


def _on_withdrawn(task: Task, event: Withdrawn, now: Now) -> Stepped:
    del now
    return _end(task, Ending(TaskState.CANCELLED, event.reason, event.detail))


def _on_fault(task: Task, event: Faulted, now: Now) -> Stepped:
    del now
    return _end(task, Ending(TaskState.FAILED, "internal", event.detail))


def _end(task: Task, ending: Ending) -> Stepped:
    return _ended(task, ending), (Commit(ended=True), Close())


def _ended(task: Task, ending: Ending) -> Task:
    task = _move(task, ending.state)
    return replace(task, reason=ending.reason, detail=ending.detail, rule=ending.rule, resume=None)


def _on_disk_failed(task: Task, event: DiskFailed, now: Now) -> Stepped:
    del now
    if task.state is TaskState.PAUSED:
        return replace(task, detail=event.detail), ()
    paused = replace(_move(task, TaskState.PAUSED), resume=task.state, detail=event.detail)
    return paused, ()


def _on_disk_back(task: Task, _: DiskBack, now: Now) -> Stepped:
    """Go on where the task was; one whose outcome waits to be committed moves with that."""
    del now
    was = task.resume
    if was is None or was is TaskState.RUNNING:
        return task, ()
    task = replace(task, resume=None, detail="")
    if was in (TaskState.PENDING, TaskState.AWAITING):
        task = _move(task, was)
        if was is TaskState.AWAITING and task.next_round is not None:
            return _begin_round(task, task.next_round)
        return task, ()
    task = _move(task, TaskState.GATHERING)
    if task.next_round is not None:
        task = _join(task, task.next_round)
    return (_move(task, TaskState.READY) if task.holds_window else task), ()


def _move(task: Task, to: TaskState) -> Task:
    if to not in TASK_MOVES[task.state]:
        raise IllegalMove(f"task {task.assignment_id}: from {task.state} to {to}")
    return replace(task, state=to)


_HANDLERS: Mapping[type[Event], Callable[[Task, Any, Now], Stepped]] = {
    Tick: _on_tick,
    WindowArrived: _on_window,
    Granted: _on_granted,
    Computed: _on_computed,
    RoundBegan: _on_round,
    RoundsPassed: _on_rounds_passed,
    CodeMissing: _on_code_missing,
    Refused: _on_refused,
    DataOver: _on_data_over,
    Withdrawn: _on_withdrawn,
    Faulted: _on_fault,
    DiskFailed: _on_disk_failed,
    DiskBack: _on_disk_back,
}
