"""All tasks of a vehicle: gives each what happened to it, and carries out what its step asks for.

Owned by the main loop's thread. What must be durable is collected over a tick and committed at once
by `flush`; only then do the steps count. When that fails the tasks pause, and what happened to them
is kept to be given again once the disk can be written. A fault at one task ends that task alone.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from agent import notes
from agent.policy import Policy, Refusal, held_back, rights_of
from agent.store import Kept, Note, SaveAccount, StateDamaged, Write
from agent.tasks.code import CodeSlot
from agent.tasks.dispatch import to_grant, to_start, verdict_on
from agent.tasks.journal import Journal
from agent.tasks.life import step
from agent.tasks.live import Cause, Live, Surroundings, Uncommitted, job_of, over_by
from agent.tasks.modules import Modules
from agent.tasks.order import in_order
from agent.tasks.ports import Arrived, Finished, News
from agent.tasks.receipt import Run
from agent.tasks.task import (
    Close,
    Command,
    Commit,
    Compute,
    DataOver,
    DiskBack,
    DiskFailed,
    Event,
    Faulted,
    Now,
    Open,
    Refused,
    Request,
    Task,
    WindowArrived,
)
from agent.tasks.words import words_for
from agent.tasks.writes import writes_of
from user_lib.contract.assignment import Assignment
from user_lib.contract.content import Content, megabytes
from user_lib.contract.errors import AssignmentError
from user_lib.contract.ids import AssignmentId, UserId
from user_lib.contract.messages import TaskHeld
from user_lib.contract.states import TaskState

__all__ = ["Table"]

log = logging.getLogger(__name__)


class Table:
    """The tasks that this vehicle holds, by assignment."""

    def __init__(self, around: Surroundings, modules: Modules) -> None:
        self._around, self._modules = around, modules
        self._journal = Journal(around.store)
        self._tasks: dict[AssignmentId, Live] = {}
        self._by_token: dict[int, Live] = {}
        self._runs: dict[int, Live] = {}
        self._numbers = itertools.count(1)
        self._uncommitted: dict[AssignmentId, Uncommitted] = {}
        self.changes = 0
        """Rises when there is news for the cloud's heartbeat."""
        self.faults = 0
        self.committed = 0
        self.roll_backs = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, assignment_id: AssignmentId) -> bool:
        return assignment_id in self._tasks

    def analysts(self) -> tuple[tuple[AssignmentId, UserId], ...]:
        """Return whose tasks are held."""
        return tuple((name, live.task.analyst) for name, live in self._tasks.items())

    def analyst_of(self, assignment_id: AssignmentId) -> UserId | None:
        """Return whose task it is; None when it is not held."""
        live = self._tasks.get(assignment_id)
        return None if live is None else live.task.analyst

    @property
    def unwritable(self) -> str:
        """Why nothing can be made durable at present; empty when all is well."""
        return self._journal.unwritable

    @property
    def specs(self) -> dict[AssignmentId, Assignment]:
        """What each task was asked to do."""
        return {name: live.task.spec for name, live in self._tasks.items()}

    # --- what comes in ---------------------------------------------------------------------------

    def add(self, kept: Kept, refusal: Refusal | None, now: Now) -> None:
        """Hold a task that the store keeps; one that may no longer run ends with the reason."""
        task = Task(
            assignment_id=kept.assignment_id,
            analyst=kept.analyst,
            spec=kept.spec,
            position=kept.position,
        )
        live = Live(task, next(self._numbers))
        self._tasks[task.assignment_id] = live
        self._by_token[live.token] = live
        self.changes += 1
        if refusal is not None:
            log.warning("task %s can no longer run: %s", task.assignment_id, refusal.detail)
            over = over_by(refusal)
            self._feed(live, over, now)

    def give(self, assignment_id: AssignmentId, event: Event, now: Now) -> None:
        """Give a task an event; a task that is not held ignores it."""
        live = self._tasks.get(assignment_id)
        if live is not None:
            self._feed(live, event, now)

    def take(self, news: News, now: Now) -> None:
        """Take what another thread left; what belongs to an ended task is thrown away."""
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
            live.window, live.dbc_hash = news.window, self._around.identity.dbc_hash
            self._feed(live, WindowArrived(), now)
        else:
            self._feed(live, news.over, now)

    def tick(self, now: Now) -> None:
        """Let time pass, commit what is due, and fill the worker slots."""
        allowance = self._around.allowance
        allowance.move_on(now.monotonic_ns, now.unix_ns, trusted=now.trusted)
        if self._journal.recovers(now):
            self._go_on(now)
        news = [Note(notes.sent(*sent, now.unix_ns)) for sent in allowance.to_note().items()]
        if (news or allowance.to_save is not None) and not self._uncommitted:
            self.write(news, now)
        for live in tuple(self._tasks.values()):
            event = to_start(live, self._modules.get(live.task.analyst), now)
            if event is not None:
                self._feed(live, event, now)
        self.flush(now)
        if not self.unwritable:
            self._grant(now)
            self.flush(now)

    # --- one task --------------------------------------------------------------------------------

    def _feed(self, live: Live, cause: Cause, now: Now) -> None:
        try:
            self._step(live, cause, now)
        except StateDamaged:
            raise
        except Exception as error:
            log.exception("task %s: fault of the agent", live.task.assignment_id)
            self._fault(live, error, now)

    def _fault(self, live: Live, error: Exception, now: Now) -> None:
        """End a task at which the agent itself failed."""
        self.faults += 1
        self._step(live, Faulted(f"the agent failed at this task: {error!r}"), now)

    def _step(self, live: Live, cause: Cause, now: Now) -> None:
        if live.task.assignment_id in self._uncommitted:
            self.flush(now)
        if live.task.ended:
            return
        event: Event
        slot: CodeSlot | None = None
        if isinstance(cause, Finished):
            event, slot = verdict_on(live, cause.outcome, self._modules.get(live.task.analyst))
        else:
            event = cause
        stepped = step(live.task, event, now)
        writes = writes_of(self._around, live, cause, stepped, slot, now)
        if not writes:
            self._enter(live, *stepped, now)
        elif self.unwritable:
            self._park(live, cause, now)
        else:
            new = Uncommitted(live, cause, *stepped, writes, slot)
            self._uncommitted[live.task.assignment_id] = new
            if slot is not None:
                self.flush(now)

    def _enter(self, live: Live, task: Task, commands: Iterable[Command], now: Now) -> None:
        """Let a step count, and carry out what it asks for."""
        before, live.task = live.task, task
        if not task.holds_window:
            live.window = None
        failure: AssignmentError | None = None
        try:
            for command in commands:
                failure = self._carry_out(live, command, now) or failure
        finally:
            if task.ended:
                self._forget(live)
        if failure is not None:
            self._step(live, DataOver("signals", str(failure), by_itself=False), now)
        elif TaskState.PENDING in (before.state, task.state) and before.state is not task.state:
            self.changes += 1

    def _carry_out(self, live: Live, command: Command, now: Now) -> AssignmentError | None:
        match command:
            case Open():
                return self._open(live)
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
        return None

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
        live.run = Run(
            ticket, live.task, live.window, live.version, now.monotonic_ns, live.dbc_hash
        )
        self._runs[ticket] = live
        self._around.slots.submit(ticket, job_of(live.run, self._around))

    def _forget(self, live: Live) -> None:
        task = live.task
        log.info("task %s: %s (%s) %s", task.assignment_id, task.state, task.reason, task.detail)
        del self._tasks[task.assignment_id]
        del self._by_token[live.token]
        self._around.allowance.forget(task.assignment_id)
        self.changes += 1
        if live.run is not None:
            self._runs.pop(live.run.ticket, None)

    def renew(self, policy: Policy, dbc_hash: str, now: Now) -> None:
        """Go on by another policy and other databases: every task gathers its window anew.

        A window that is gathered already, or being computed on, keeps the databases it came by.
        """
        identity = replace(self._around.identity, dbc_hash=dbc_hash)
        others = dbc_hash != self._around.identity.dbc_hash
        self._around.allowance.policy = policy
        self._around = replace(self._around, identity=identity)
        for live in self._tasks.values():
            live.rights = None
        for live in tuple(self._tasks.values()) if others else ():
            self._subscribe_anew(live, now)

    def _subscribe_anew(self, live: Live, now: Now) -> None:
        if live.subscription is None:
            return
        live.subscription.cancel()
        del self._by_token[live.token]
        live.token = next(self._numbers)
        self._by_token[live.token] = live
        failure = self._open(live)
        if failure is not None:
            self._feed(live, DataOver("signals", str(failure), by_itself=False), now)
        elif TaskState.GATHERING in (live.task.state, live.task.resume) and live.window is None:
            live.subscription.request()

    # --- worker slots ----------------------------------------------------------------------------

    def _grant(self, now: Now) -> None:
        for task in in_order(live.task for live in self._tasks.values()):
            if not self._around.slots.idle:
                return
            live = self._tasks[task.assignment_id]
            event: Event | None = self._forbidden(live) or self._lacking(live)
            if event is None and not self._waits(live, now):
                event = to_grant(live, self._modules.get(task.analyst), now)
            if event is not None:
                self._feed(live, event, now)

    def _forbidden(self, live: Live) -> Refused | None:
        """Return why the owner's rules do not let a task compute on the window that it holds."""
        allowance, task = self._around.allowance, live.task
        if live.window is None:
            return None
        if live.rights is None:
            analyst = allowance.analyst(task.analyst)
            aliases = self._around.signals.aliases
            live.rights = rights_of(allowance.policy, analyst, task.spec, aliases)
        refusal = held_back(live.rights, task.spec.onboard, live.window)
        if refusal is None:
            return None
        allowance.counts["refused"] += 1
        return Refused(refusal.reason, refusal.detail, refusal.rule)

    def _waits(self, live: Live, now: Now) -> bool:
        """Whether contents are under way or a budget of the owner's is used up; the task says."""
        analyst = live.task.analyst
        runs = [other.task.analyst for other in self._runs.values()]
        refusal = self._around.allowance.wait_for(analyst, (len(runs), runs.count(analyst)))
        words = "" if refusal is None else refusal.detail
        if refusal is not None and refusal.rule not in live.held_back:
            live.held_back.add(refusal.rule)
            entry = notes.iteration_refused(
                live.task, refusal.reason, refusal.rule, words, now.unix_ns
            )
            self.write([Note(entry)], now)
        words = words or self._around.inputs.missing(live.task.inputs)
        if words != live.waits_for:
            self.changes += bool(words) and not live.waits_for
            live.waits_for = words
        return bool(words)

    def _lacking(self, live: Live) -> Refused | None:
        """Return why a content that an iteration needs cannot be taken here."""
        cap = self._around.identity.cap
        for content in live.task.inputs:
            if content.size > cap.own_bytes:
                size = megabytes(content.size)
                detail = f"the round's input has {size}; at most {cap} are taken here"
                return Refused("content_too_large", detail)
        return None

    # --- the disk --------------------------------------------------------------------------------

    def write(self, writes: Iterable[Write], now: Now) -> bool:
        """Make something else durable; when that fails the tasks pause."""
        self.flush(now)
        if self.unwritable:
            return False
        done = self._record(writes, now)
        if not done:
            self._pause(now)
        return done

    def _record(self, writes: Iterable[Write], now: Now) -> bool:
        """Write, and with it what the owner's budgets count."""
        allowance = self._around.allowance
        account = allowance.to_save
        if account is None:
            return self._journal.write(writes, now)
        if self._journal.write([*writes, SaveAccount(account)], now):
            allowance.saved(account)
            return True
        allowance.undo()
        return False

    def flush(self, now: Now) -> None:
        """Commit the collected steps; they count once they are on disk, or the tasks pause."""
        if not self._uncommitted:
            return
        steps, self._uncommitted = tuple(self._uncommitted.values()), {}
        if not self._record([write for s in steps for write in s.writes], now):
            self._pause(now)
            for s in steps:
                self._park(s.live, s.cause, now)
            return
        for s in steps:
            if s.slot is not None:
                self.roll_backs += s.slot.report == "rolled_back"
                self._modules.put(s.slot)
            try:
                self._enter(s.live, s.task, s.commands, now)
            except Exception as error:  # the others' steps are on disk too, and must count
                log.exception("task %s: fault of the agent", s.task.assignment_id)
                self._fault(s.live, error, now)

    def _pause(self, now: Now) -> None:
        """Pause all tasks but the running ones, which pause when they are done."""
        self.changes += 1
        for live in self._tasks.values():
            if live.task.state is not TaskState.RUNNING:
                live.task, _ = step(live.task, DiskFailed(self.unwritable), now)

    def _park(self, live: Live, cause: Cause, now: Now) -> None:
        live.parked[type(cause)] = cause
        live.task, _ = step(live.task, DiskFailed(self.unwritable), now)

    def _go_on(self, now: Now) -> None:
        self.changes += 1
        for live in tuple(self._tasks.values()):
            self._feed(live, DiskBack(), now)
            parked, live.parked = tuple(live.parked.values()), {}
            for cause in parked:
                self._feed(live, cause, now)

    # --- what is told ----------------------------------------------------------------------------

    def states(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state."""
        return Counter(live.task.state for live in self._tasks.values())

    def wanted(self) -> Iterator[tuple[AssignmentId, Content]]:
        """Yield the contents that tasks need, each with one of them."""
        for name, live in self._tasks.items():
            for content in live.task.wanted:
                yield name, content

    def held(self, now: Now) -> tuple[TaskHeld, ...]:
        """Return every task as a heartbeat tells it."""
        runs = [live.run for live in self._runs.values() if live.run is not None]
        return tuple(
            TaskHeld(
                assignment_id=live.task.assignment_id,
                state=live.task.state,
                iteration=live.task.iteration,
                detail=self._words_for(live, runs, now),
            )
            for live in self._tasks.values()
        )

    def _words_for(self, live: Live, runs: Sequence[Run], now: Now) -> str:
        words = words_for(live, runs, now)
        lacks = self._around.inputs.missing(live.task.inputs) if live.task.inputs else ""
        return words if not lacks or lacks in words else f"{words}; {lacks}"
