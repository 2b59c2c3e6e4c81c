"""What the table works with, and a task with what belongs to it in this process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.policy import Allowance, Refusal, Right, cap
from agent.sandbox import Job, Outcome
from agent.store import Write
from agent.tasks.code import CodeSlot, Version
from agent.tasks.ports import Durable, Finished, Inputs, News, Signals, Slots, Subscription
from agent.tasks.receipt import Identity, Run
from agent.tasks.task import Command, DataOver, Event, Task
from user_lib.contract.window import Window

__all__ = ["Cause", "Live", "Surroundings", "Uncommitted", "job_of", "over_by", "refused"]

Cause: TypeAlias = Event | Finished
"""What happened to a task: an event, or an outcome that has yet to be judged."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the table works with."""

    identity: Identity
    store: Durable
    signals: Signals
    slots: Slots
    allowance: Allowance
    """The owner's rules at work."""
    post: Callable[[News], None]
    inputs: Inputs


@dataclass(eq=False, slots=True)
class Live:
    """A task that this vehicle holds."""

    task: Task
    token: int
    """Names its subscription, so that news of an earlier one are ignored."""
    subscription: Subscription | None = None
    window: Window | None = None
    version: Version | None = None
    """The code that its next run gets."""
    rights: dict[str, Right] | None = None
    """How its signals may leave; None until looked up by the rules in force."""
    held_back: set[str] = field(default_factory=set)
    """The rules that the audit log was told of, which held an iteration of it back."""
    dbc_hash: str = ""
    """Of the databases by which its window was decoded."""
    run: Run | None = None
    waits_for: str = ""
    """The code that is missing, in words."""
    waits_since_ns: int | None = None
    parked: dict[type, Cause] = field(default_factory=dict)
    """What happened while the disk could not be written; the newest of each kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Uncommitted:
    """A step that counts once its writes are on disk."""

    live: Live
    cause: Cause
    task: Task
    commands: tuple[Command, ...]
    writes: tuple[Write, ...]
    slot: CodeSlot | None


def job_of(run: Run, around: Surroundings) -> Job:
    """Return the sandbox's job for one iteration, within the owner's limits."""
    task, spec, allowance = run.task, run.task.spec, around.allowance
    params, opened = spec.onboard_params, task.opened
    if spec.onboard_content is not None:
        params = around.inputs.load(spec.onboard_content)
    feedback = None if opened is None else opened.value
    if opened is not None and opened.payload is not None:
        feedback = around.inputs.load(opened.payload)
    return Job(
        half="onboard",
        method=spec.onboard,
        source=run.version.source if run.version else None,
        window=run.window,
        params=params,
        state=task.position.memory,
        feedback=feedback,
        iteration=task.iteration,
        vehicle=around.identity.vehicle_id,
        limits=cap(allowance.policy, allowance.analyst(task.analyst), spec.limits),
    )


def over_by(refusal: Refusal) -> DataOver:
    """Return the end of a task that may no longer run."""
    return DataOver(refusal.reason, refusal.detail, by_itself=False, rule=refusal.rule)


def refused(reason: str, detail: str) -> Outcome:
    """Return the answer of an iteration that was not run, or whose result may not leave."""
    return Outcome(status="refused", reason=reason, detail=detail)
