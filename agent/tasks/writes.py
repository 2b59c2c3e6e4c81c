"""What a step makes durable: the result, the position or the end, and the code slot, together."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from agent import notes
from agent.policy import kept_by
from agent.sandbox import Outcome
from agent.store import EndTask, Enqueue, Note, Retract, SavePosition, SaveSlot, Write
from agent.tasks.code import CodeSlot
from agent.tasks.live import Cause, Live, Surroundings, refused
from agent.tasks.ports import Finished
from agent.tasks.receipt import Receipted, Run, end_of, result_of
from agent.tasks.task import Command, Commit, Now, Refused, Task
from user_lib.contract.messages import Result

__all__ = ["answer_of", "writes_of"]


def answer_of(live: Live, cause: Cause, commit: Commit, now: Now) -> tuple[Run, Outcome]:
    """Return the iteration that a commit answers, and how it came out."""
    if isinstance(cause, Finished) and live.run is not None:
        return live.run, cause.outcome
    if live.window is None:
        raise AssertionError(f"iteration {commit.answered} is answered without a window")
    unrun = Run(0, live.task, live.window, None, now.monotonic_ns, live.dbc_hash)
    return unrun, refused(commit.reason, commit.detail)


def writes_of(
    around: Surroundings,
    live: Live,
    cause: Cause,
    stepped: tuple[Task, Iterable[Command]],
    slot: CodeSlot | None,
    now: Now,
) -> tuple[Write, ...]:
    """Return what must be on disk before a step counts; nothing for most steps."""
    task, commands = stepped
    priority = task.spec.priority
    writes: list[Write] = []
    if slot is not None:
        writes += [SaveSlot(slot), Note(notes.code(slot, now.unix_ns))]
    for commit in commands:
        if not isinstance(commit, Commit):
            continue
        keeper = kept_by(task.reason, task.rule)
        if commit.ended and keeper:  # again, since the disk may not have taken it then
            writes.append(Retract(task.assignment_id, keeper))
        if commit.answered:
            run, outcome = answer_of(live, cause, commit, now)
            leaving = live.task.leaving
            if leaving is not None and kept_by(leaving.reason, leaving.rule):  # by now
                outcome = refused(leaving.reason, leaving.detail)
            result, body, _ = _allowed(around, run, outcome, now)
            writes.append(Enqueue(result, priority, body, _measured(run)))
            writes += _held_back(live, cause, result, now)
        if commit.ended:
            sent = around.allowance.sent(task.assignment_id)
            writes.append(Note(notes.ended(task, sent, now.unix_ns)))
            writes.append(EndTask(end_of(around.identity, task), priority))
        else:
            writes.append(SavePosition(task.assignment_id, task.position))
    return tuple(writes)


def _measured(run: Run) -> dict[str, int]:
    """Return how many samples came over the bus, of signals where the receipt says more."""
    told, measured = run.window.samples, run.window.measured
    return {name: n for name, count in told.items() if (n := measured(name)) != count}


def _held_back(live: Live, cause: Cause, result: Result, now: Now) -> list[Write]:
    """Note what a rule held back; of each rule and task once, since the results tell the rest."""
    name = cause.rule if isinstance(cause, Refused) else ""
    key = name or f"withheld: {result.reason}"
    by_rule = bool(name) or result.reason == "budget"
    if not by_rule or key in live.held_back:
        return []
    live.held_back.add(key)
    entry = notes.iteration_refused(live.task, result.reason, name, result.detail, now.unix_ns)
    return [Note(entry)]


def _allowed(around: Surroundings, run: Run, outcome: Outcome, now: Now) -> Receipted:
    """Return an iteration's result, charged; one beyond a budget becomes a refusal that says so."""
    analyst, assignment_id = run.task.analyst, run.task.assignment_id
    made = result_of(around.identity, run, outcome, now)
    by_code = outcome.status != "refused"  # else the words are the agent's own, and short
    refusal = around.allowance.withhold(analyst, made.size) if by_code else None
    if refusal is not None:
        withheld = refused(refusal.reason, refusal.detail)
        if not outcome.ok:
            withheld = msgspec.structs.replace(outcome, detail=refusal.detail, prints="")
            run = replace(run, task=_without_words(run.task))
        made = result_of(around.identity, run, withheld, now)
    around.allowance.charge(analyst, assignment_id, made.size)
    return made


def _without_words(task: Task) -> Task:
    """Return a task whose receipts tell that code was rolled back, but not in its own words."""
    if task.rolled_back is None:
        return task
    return msgspec.structs.replace(
        task, rolled_back=msgspec.structs.replace(task.rolled_back, detail="")
    )
