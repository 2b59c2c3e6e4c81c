"""All tasks of a vehicle: gives each what happened to it, and carries out what its step asks for.

Owned by the main loop's thread. What must be durable is collected over a tick and committed at once
by `flush`; only then do the steps count. When that fails the tasks pause, and what happened to them
is kept to be given again once the disk can be written. A fault at one task ends that task alone.
"""

import itertools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.policy import Policy, Refusal
from agent.store import EndTask, Enqueue, Kept, SavePosition, SaveSlot, StateUnwritable, Write
from agent.tasks.code import Answered, Awaited, CodeSlot, Gone, Resolution, judge, resolve
from agent.tasks.life import is_due, new_task, step
from agent.tasks.live import Cause, Live, Uncommitted, job_of, no_code
from agent.tasks.modules import Modules
from agent.tasks.order import in_order
from agent.tasks.ports import Arrived, Durable, Finished, News, Signals, Slots
from agent.tasks.receipt import Identity, Run, end_of, result_of, words_for
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
    Event,
    Faulted,
    Granted,
    Now,
    Open,
    Request,
    Task,
    Tick,
    WindowArrived,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import AssignmentError
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import TaskHeld
from user_lib.contract.states import TaskState

__all__ = ["CODE_WAIT_S", "Surroundings", "Table"]

log = logging.getLogger(__name__)

CODE_WAIT_S = 30
"""How long a task waits for code that was announced but has not arrived."""
PROBE_S = 1
NOT_THE_CODES_FAULT = frozenset({"sandbox", "params"})


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the table works with."""

    identity: Identity
    store: Durable
    signals: Signals
    slots: Slots
    policy: Policy
    post: Callable[[News], None]


class Table:
    """The tasks that this vehicle holds, by assignment."""

    def __init__(self, around: Surroundings, modules: Modules) -> None:
        self._around = around
        self._modules = modules
        self._tasks: dict[AssignmentId, Live] = {}
        self._by_token: dict[int, Live] = {}
        self._runs: dict[int, Live] = {}
        self._numbers = itertools.count(1)
        self._uncommitted: dict[AssignmentId, Uncommitted] = {}
        self._probe_ns = 0
        self.unwritable = ""
        """Why nothing can be made durable at present, in words; empty when all is well."""
        self.faults = 0
        self.committed = 0
        self.failed_iterations = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, assignment_id: AssignmentId) -> bool:
        return assignment_id in self._tasks

    @property
    def moving(self) -> bool:
        """Whether a window is being computed or could be."""
        return any(
            live.task.state in (TaskState.READY, TaskState.RUNNING) for live in self._tasks.values()
        )

    # --- what comes in ---------------------------------------------------------------------------

    def add(self, kept: Kept, refusal: Refusal | None, now: Now) -> None:
        """Hold a task that the store keeps; one that may no longer run ends with the reason."""
        task = new_task(kept.assignment_id, kept.analyst, kept.spec, kept.position)
        live = Live(task, next(self._numbers))
        self._tasks[kept.assignment_id] = live
        self._by_token[live.token] = live
        if refusal is None:
            self.give(live.task.assignment_id, Tick(), now)
            return
        log.warning("task %s can no longer run: %s", kept.assignment_id, refusal.detail)
        over = DataOver(refusal.reason, refusal.detail, by_itself=False)
        self.give(live.task.assignment_id, over, now)

    def give(self, assignment_id: AssignmentId, event: Event, now: Now) -> None:
        """Give a task an event; a task that is not held ignores it."""
        live = self._tasks.get(assignment_id)
        if live is not None:
            self._feed(live, event, now)

    def take(self, news: News, now: Now) -> None:
        """Take what another thread left."""
        if isinstance(news, Finished):
            self._around.slots.finished()
            live = self._runs.pop(news.ticket, None)
            if live is not None:
                self._feed(live, news, now)
            return
        live = self._by_token.get(news.token)
        if live is None:
            return
        if isinstance(news, Arrived):
            live.window = news.window
            self._feed(live, WindowArrived(), now)
        else:
            self._feed(live, news.over, now)

    def tick(self, now: Now) -> None:
        """Let time pass, commit what is due, and fill the worker slots."""
        self._probe(now)
        for live in tuple(self._tasks.values()):
            if self._has_code(live, now):
                self._feed(live, Tick(), now)
        self.flush(now)
        if not self.unwritable:
            self._grant(now)
            self.flush(now)

    # --- one task --------------------------------------------------------------------------------

    def _feed(self, live: Live, cause: Cause, now: Now) -> None:
        try:
            self._step(live, cause, now)
        except Exception as error:
            self.faults += 1
            log.exception("task %s: fault of the agent", live.task.assignment_id)
            self._step(live, Faulted(f"the agent failed at this task: {error!r}"), now)

    def _step(self, live: Live, cause: Cause, now: Now) -> None:
        if live.task.assignment_id in self._uncommitted:
            self.flush(now)
        event, slot = self._judged(live, cause) if isinstance(cause, Finished) else (cause, None)
        task, commands = step(live.task, event, now)
        writes = self._writes(live, cause, task, commands, now)
        if slot is not None:
            writes = (*writes, SaveSlot(slot))
        if not writes:
            self._enter(live, task, commands, now)
        elif self.unwritable:
            self._park(live, cause, now)
        else:
            new = Uncommitted(live, cause, task, commands, writes, slot)
            self._uncommitted[task.assignment_id] = new
            if slot is not None:
                self.flush(now)

    def _judged(self, live: Live, finished: Finished) -> tuple[Event, CodeSlot | None]:
        """Let the outcome say what it says about the code that ran."""
        outcome = finished.outcome
        slot = self._modules.get(live.task.analyst)
        if live.run is None or live.run.version is None or slot is None:
            return Computed(Answered(), outcome.ok, outcome.state), None
        fault = "" if outcome.reason in NOT_THE_CODES_FAULT else f"{outcome.reason}: "
        fault = fault and fault + outcome.detail
        generation = live.run.version.generation
        judged, verdict = judge(slot, generation, ok=outcome.ok, fault=fault)
        return Computed(verdict, outcome.ok, outcome.state), None if judged is slot else judged

    def _writes(
        self, live: Live, cause: Cause, task: Task, commands: Iterable[Command], now: Now
    ) -> tuple[Write, ...]:
        commit = next((c for c in commands if isinstance(c, Commit)), None)
        if commit is None:
            return ()
        identity, priority = self._around.identity, task.spec.priority
        writes: list[Write] = []
        if commit.answered:
            run, outcome = live.run, no_code(commit.synthetic)
            if isinstance(cause, Finished):
                outcome = cause.outcome
            elif live.window is not None:
                run = Run(0, live.task, live.window, None, now.monotonic_ns)
            if run is None:
                raise AssertionError(f"iteration {commit.answered} was answered without a run")
            self.failed_iterations += not outcome.ok
            writes.append(Enqueue(result_of(identity, run, outcome, now), priority))
        if commit.ended:
            writes.append(EndTask(end_of(identity, task), priority))
        else:
            writes.append(SavePosition(task.assignment_id, task.position))
        return tuple(writes)

    def _enter(self, live: Live, task: Task, commands: Iterable[Command], now: Now) -> None:
        if task.state is not live.task.state:
            log.debug("task %s: %s -> %s", task.assignment_id, live.task.state, task.state)
        live.task = task
        if not task.holds_window:
            live.window = None
        failed: AssignmentError | None = None
        for command in commands:
            match command:
                case Open():
                    failed = self._open(live)
                case Request() if live.subscription is not None:
                    live.subscription.request()
                case Compute():
                    self._submit(live, now)
                case Close() if live.subscription is not None:
                    live.subscription.cancel()
                case Commit(answered=answered):
                    self.committed += answered > 0
                case _:
                    pass
        if task.ended:
            self._forget(live)
        elif failed is not None:
            over = DataOver("signals", str(failed), by_itself=False)
            self._step(live, over, now)

    def _open(self, live: Live) -> AssignmentError | None:
        around = self._around
        try:
            live.subscription = around.signals.subscribe(live.task.spec, live.token, around.post)
        except AssignmentError as error:
            return error
        return None

    def _submit(self, live: Live, now: Now) -> None:
        if live.window is None:
            raise AssertionError(f"task {live.task.assignment_id} runs without a window")
        ticket = next(self._numbers)
        live.run = Run(ticket, live.task, live.window, live.version, now.monotonic_ns)
        self._runs[ticket] = live
        job = job_of(live.run, self._around.policy, self._around.identity.vehicle_id)
        self._around.slots.submit(ticket, job)

    def _forget(self, live: Live) -> None:
        task = live.task
        log.info("task %s: %s (%s) %s", task.assignment_id, task.state, task.reason, task.detail)
        del self._tasks[task.assignment_id]
        del self._by_token[live.token]
        if live.run is not None:
            self._runs.pop(live.run.ticket, None)

    # --- code and slots --------------------------------------------------------------------------

    def _resolve(self, live: Live) -> Resolution:
        return resolve(self._modules.get(live.task.analyst), live.task.pinned)

    def _has_code(self, live: Live, now: Now) -> bool:
        """Whether a task may go on; one whose code is gone ends, one whose code is due waits."""
        task = live.task
        waiting = task.state in (TaskState.PENDING, TaskState.GATHERING, TaskState.AWAITING)
        if not task.wants_code or not waiting or not is_due(task, now):
            return True
        if task.spec.feedback and task.state is TaskState.GATHERING:
            return True  # the round's own generation is looked for when the window is there
        found = self._resolve(live)
        if isinstance(found, Gone):
            self._feed(live, CodeMissing(found.detail), now)
            return False
        if isinstance(found, Awaited) and task.state is TaskState.PENDING:
            self._await_code(live, found, now)
            return False
        return True

    def _await_code(self, live: Live, awaited: Awaited, now: Now) -> None:
        live.waits_for = awaited.detail
        if live.waits_since_ns is None:
            live.waits_since_ns = now.monotonic_ns
        if now.monotonic_ns - live.waits_since_ns > CODE_WAIT_S * SECOND:
            detail = f"{awaited.detail}; gave up after {CODE_WAIT_S} s"
            self._feed(live, CodeMissing(detail), now)

    def _grant(self, now: Now) -> None:
        for task in in_order(live.task for live in self._tasks.values()):
            if not self._around.slots.idle:
                return
            live = self._tasks[task.assignment_id]
            if not task.wants_code:
                self._feed(live, Granted(), now)
                continue
            match self._resolve(live):
                case Awaited() as awaited:
                    self._await_code(live, awaited, now)
                case Gone(detail):
                    self._feed(live, CodeMissing(detail), now)
                case found:
                    live.version, live.waits_for, live.waits_since_ns = found.version, "", None
                    self._feed(live, Granted(found.instead_of), now)

    # --- the disk --------------------------------------------------------------------------------

    def flush(self, now: Now) -> None:
        """Commit the collected steps; they count once they are on disk, or the tasks pause."""
        if not self._uncommitted:
            return
        steps, self._uncommitted = tuple(self._uncommitted.values()), {}
        try:
            self._around.store.apply([write for s in steps for write in s.writes])
        except StateUnwritable as error:
            self.suspend(str(error), now)
            for s in steps:
                self._park(s.live, s.cause, now)
            return
        for s in steps:
            if s.slot is not None:
                self._modules.put(s.slot)
            self._enter(s.live, s.task, s.commands, now)

    def suspend(self, cause: str, now: Now) -> None:
        """Pause all tasks but the running ones, which pause when they are done."""
        log.error("tasks pause: %s", cause)
        self.unwritable = cause
        self._probe_ns = now.monotonic_ns + PROBE_S * SECOND
        for live in self._tasks.values():
            if live.task.state is not TaskState.RUNNING:
                live.task, _ = step(live.task, DiskFailed(cause), now)

    def _park(self, live: Live, cause: Cause, now: Now) -> None:
        live.parked[type(cause)] = cause
        live.task, _ = step(live.task, DiskFailed(self.unwritable), now)

    def _probe(self, now: Now) -> None:
        if not self.unwritable or now.monotonic_ns < self._probe_ns:
            return
        try:
            self._around.store.probe()
        except StateUnwritable:
            self._probe_ns = now.monotonic_ns + PROBE_S * SECOND
            return
        log.warning("the disk can be written again; tasks go on")
        self.unwritable = ""
        for live in tuple(self._tasks.values()):
            task, commands = step(live.task, DiskBack(), now)
            self._enter(live, task, commands, now)
            parked, live.parked = tuple(live.parked.values()), {}
            for cause in parked:
                self._feed(live, cause, now)

    # --- what is told ----------------------------------------------------------------------------

    def held(self, now: Now) -> tuple[TaskHeld, ...]:
        """Return every task as a heartbeat tells it."""
        runs = [live.run for live in self._runs.values() if live.run is not None]
        return tuple(
            TaskHeld(
                assignment_id=live.task.assignment_id,
                state=live.task.state,
                iteration=live.task.iteration,
                detail=words_for(
                    live.task,
                    progress=live.subscription.progress() if live.subscription else "",
                    waits_for=live.waits_for,
                    runs=runs,
                    now=now,
                ),
            )
            for live in self._tasks.values()
        )
