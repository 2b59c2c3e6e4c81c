"""A task and its code: what its next iteration runs, and what an outcome says about what ran."""

from agent.policy import kept_by
from agent.sandbox import Outcome
from agent.tasks.code import Answered, Awaited, CodeSlot, Gone, Runnable, judge, resolve
from agent.tasks.life import is_due
from agent.tasks.live import Live
from agent.tasks.task import CodeMissing, Computed, Granted, Now, Task, Tick
from user_lib.contract.clock import SECOND
from user_lib.contract.states import TaskState

__all__ = ["CODE_WAIT_S", "to_grant", "to_start", "verdict_on"]

CODE_WAIT_S = 30
"""How long a task waits for code that was announced but has not arrived."""
TICK = Tick()
NOT_THE_CODES_FAULT = frozenset({"sandbox", "params"})


def to_start(live: Live, slot: CodeSlot | None, now: Now) -> Tick | CodeMissing | None:
    """Return what a tick is to a task: time, the end of its code, or nothing while code is due."""
    task = live.task
    if not _looks_for_code(task) or not is_due(task, now):
        return TICK
    match resolve(slot, task.pinned):
        case Gone(detail):
            return CodeMissing(detail)
        case Awaited(detail) if task.state is TaskState.PENDING:
            return _await(live, detail, now)
        case _:
            live.waits_for, live.waits_since_ns = "", None
            return TICK


def to_grant(live: Live, slot: CodeSlot | None, now: Now) -> Granted | CodeMissing | None:
    """Return what a free worker slot is to a task with a window, noting the version to run."""
    live.version = None
    if not live.task.wants_code:
        return Granted()
    match resolve(slot, live.task.pinned):
        case Gone(detail):
            return CodeMissing(detail)
        case Awaited(detail):
            return _await(live, detail, now)
        case Runnable(version, instead_of):
            live.version, live.waits_for, live.waits_since_ns = version, "", None
            return Granted(instead_of)


def verdict_on(
    live: Live, outcome: Outcome, slot: CodeSlot | None
) -> tuple[Computed, CodeSlot | None]:
    """Let an outcome say what it says about the code that ran; the slot when that changed it."""
    leaving = live.task.leaving
    if leaving is not None and kept_by(leaving.reason, leaving.rule):  # its words may not leave
        return Computed(Answered(), ok=False, memory=None), None
    if live.run is None or live.run.version is None or slot is None:
        return Computed(Answered(), outcome.ok, outcome.state), None
    fault = ""
    if not outcome.ok and outcome.reason not in NOT_THE_CODES_FAULT:
        fault = f"{outcome.reason}: {outcome.detail}"
    judged, verdict = judge(
        slot, live.run.version.generation, ok=outcome.ok, fault=fault, spec=live.task.spec
    )
    return Computed(verdict, outcome.ok, outcome.state), None if judged is slot else judged


def _looks_for_code(task: Task) -> bool:
    """Whether the code matters already; a round's own is looked for when its window is there."""
    if task.state is TaskState.GATHERING:
        return task.wants_code and not task.spec.feedback
    return task.wants_code and task.state in (TaskState.PENDING, TaskState.AWAITING)


def _await(live: Live, detail: str, now: Now) -> CodeMissing | None:
    live.waits_for = detail
    if live.waits_since_ns is None:
        live.waits_since_ns = now.monotonic_ns
    if now.monotonic_ns - live.waits_since_ns <= CODE_WAIT_S * SECOND:
        return None
    return CodeMissing(f"{detail}; gave up after {CODE_WAIT_S} s")
