"""All tasks of a vehicle: gives each what happened to it, and carries out what its step asks for.

Owned by the main loop's thread. What must be durable is collected over a tick and committed at once
by `flush`; only then do the steps count. When that fails the tasks pause, and what happened to them
is kept to be given again once the disk can be written. A fault at one task ends that task alone.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import msgspec

from agent import notes
from agent.policy import Policy, Refusal, kept_by
from agent.store import Kept, Note, StateDamaged, Write
from agent.tasks.clearance import barred, held_up
from agent.tasks.code import CodeSlot
from agent.tasks.dispatch import to_grant, to_start, verdict_on
from agent.tasks.errands import carry_out, subscribe_anew
from agent.tasks.journal import Journal
from agent.tasks.life import step
from agent.tasks.live import Cause, Live, Surroundings, Uncommitted, over_by
from agent.tasks.modules import Modules
from agent.tasks.order import in_order
from agent.tasks.ports import Arrived, Finished, News
from agent.tasks.roll import Roll
from agent.tasks.task import (
    Command,
    Commit,
    DataOver,
    DiskBack,
    DiskFailed,
    Event,
    Faulted,
    Now,
    Task,
    WindowArrived,
)
from agent.tasks.words import told
from agent.tasks.writes import writes_of
from user_lib.contract.assignment import Assignment
from user_lib.contract.content import Content
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
        self._journal = Journal(around.store, around.allowance)
        self._roll = Roll()
        self._uncommitted: dict[AssignmentId, Uncommitted] = {}
        self._on_hold: Mapping[UserId, str] = {}
        self.changes = 0
        """Rises when there is news for the cloud's heartbeat."""
        self.faults = 0
        self.committed = 0
        self.roll_backs = 0

    def __len__(self) -> int:
        return len(self._roll)

    def __contains__(self, assignment_id: AssignmentId) -> bool:
        return assignment_id in self._roll

    def analysts(self) -> tuple[tuple[AssignmentId, UserId], ...]:
        """Return whose tasks are held."""
        return tuple((live.task.assignment_id, live.task.analyst) for live in self._roll)

    def analyst_of(self, assignment_id: AssignmentId) -> UserId | None:
        """Return whose task it is; None when it is not held."""
        live = self._roll.of(assignment_id)
        return None if live is None else live.task.analyst

    @property
    def unwritable(self) -> str:
        """Why nothing can be made durable at present; empty when all is well."""
        return self._journal.unwritable

    @property
    def specs(self) -> dict[AssignmentId, Assignment]:
        """What each task was asked to do."""
        return {live.task.assignment_id: live.task.spec for live in self._roll}

    # --- what comes in ---------------------------------------------------------------------------

    def add(self, kept: Kept, refusal: Refusal | None, now: Now) -> None:
        """Hold a task that the store keeps; one that may no longer run ends with the reason."""
        task = Task(
            assignment_id=kept.assignment_id,
            analyst=kept.analyst,
            spec=kept.spec,
            position=kept.position,
        )
        live = self._roll.add(task)
        self.changes += 1
        if refusal is not None:
            log.warning("task %s can no longer run: %s", task.assignment_id, refusal.detail)
            self._feed(live, over_by(refusal), now)

    def give(self, assignment_id: AssignmentId, event: Event, now: Now) -> None:
        """Give a task an event; a task that is not held ignores it."""
        live = self._roll.of(assignment_id)
        if live is not None:
            self._feed(live, event, now)

    def take(self, news: News, now: Now) -> None:
        """Take what another thread left; what belongs to an ended task is thrown away."""
        if isinstance(news, Finished):
            self._around.slots.finished()
            live = self._roll.finish(news.ticket)
            if live is not None:
                self._feed(live, news, now)
            return
        live = self._roll.subscriber(news.token)
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
        for live in self._roll:
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
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and counted
            self._fault(live, error, now)

    def _fault(self, live: Live, error: Exception, now: Now) -> None:
        """End a task at which the agent itself failed; asked for where that is handled."""
        log.exception("task %s: fault of the agent", live.task.assignment_id)
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
                failure = carry_out(command, live, self._around, self._roll, now) or failure
                self.committed += isinstance(command, Commit) and command.answered > 0
        finally:
            if task.ended:
                self._forget(live)
        if failure is not None:
            self._step(live, _no_signals(failure), now)
        elif TaskState.PENDING in (before.state, task.state) and before.state is not task.state:
            self.changes += 1

    def _forget(self, live: Live) -> None:
        task = live.task
        log.info("task %s: %s (%s) %s", task.assignment_id, task.state, task.reason, task.detail)
        self._roll.remove(live)
        self._around.allowance.forget(task.assignment_id)
        self.changes += 1

    def renew(self, policy: Policy, dbc_hash: str, now: Now) -> None:
        """Go on by another policy and other databases: every task gathers its window anew.

        A window that is gathered already, or being computed on, keeps the databases it came by.
        """
        identity = replace(self._around.identity, dbc_hash=dbc_hash)
        others = dbc_hash != self._around.identity.dbc_hash
        self._around.allowance.policy = policy
        self._around = replace(self._around, identity=identity)
        for live in self._roll:
            live.rights = None
        for live in self._roll if others else ():
            failure = subscribe_anew(live, self._around, self._roll)
            if failure is not None:
                self._feed(live, _no_signals(failure), now)

    # --- worker slots ----------------------------------------------------------------------------

    def _grant(self, now: Now) -> None:
        with_window = {live.task.assignment_id: live for live in self._roll}
        for task in in_order(live.task for live in with_window.values()):
            if not self._around.slots.idle:
                return
            live = with_window[task.assignment_id]
            if self._held(live):
                continue
            event: Event | None = barred(live, self._around)
            if event is None and not self._waits(live, now):
                event = to_grant(live, self._modules.get(task.analyst), now)
            if event is not None:
                self._feed(live, event, now)

    def hold(self, analysts: Mapping[UserId, str]) -> None:
        """Compute nothing for these, for the reason given, and for all others again."""
        self._on_hold = analysts

    def _held(self, live: Live) -> bool:
        words = self._on_hold.get(live.task.analyst, "")
        if words:
            self.changes += words != live.waits_for
            live.waits_for = words
        return bool(words)

    def _waits(self, live: Live, now: Now) -> bool:
        """Whether contents are under way or a budget of the owner's is used up; the task says."""
        refusal = held_up(live, self._around, self._roll.runs)
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

    # --- the disk --------------------------------------------------------------------------------

    def write(self, writes: Iterable[Write], now: Now) -> bool:
        """Make something else durable; when that fails the tasks pause."""
        self.flush(now)
        if self.unwritable:
            return False
        done = self._journal.write(writes, now)
        if not done:
            self._pause(now)
        return done

    def flush(self, now: Now) -> None:
        """Commit the collected steps; they count once they are on disk, or the tasks pause."""
        if not self._uncommitted:
            return
        steps, self._uncommitted = tuple(self._uncommitted.values()), {}
        if not self._journal.write([write for s in steps for write in s.writes], now):
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
            except Exception as error:  # noqa: BLE001 - the others' steps are on disk, and count
                self._fault(s.live, error, now)

    def _pause(self, now: Now) -> None:
        """Pause all tasks but the running ones, which pause when they are done."""
        self.changes += 1
        for live in self._roll:
            if live.task.state is not TaskState.RUNNING:
                live.task, _ = step(live.task, DiskFailed(self.unwritable), now)

    def _park(self, live: Live, cause: Cause, now: Now) -> None:
        live.parked[type(cause)] = cause
        live.task, _ = step(live.task, DiskFailed(self.unwritable), now)

    def _go_on(self, now: Now) -> None:
        self.changes += 1
        for live in self._roll:
            self._feed(live, DiskBack(), now)
            parked, live.parked = tuple(live.parked.values()), {}
            for cause in parked:
                self._feed(live, cause, now)

    def pardon(self) -> None:
        """Forget the ends by the owner's will that are not on disk yet: they are judged anew."""
        for live in self._roll:
            live.parked = {k: c for k, c in live.parked.items() if not _by_owner(c)}
            leaving = live.task.leaving
            if leaving is not None and kept_by(leaving.reason, leaving.rule):
                live.task = msgspec.structs.replace(live.task, leaving=None)

    # --- what is told ----------------------------------------------------------------------------

    def states(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state."""
        return self._roll.states()

    def wanted(self) -> Iterator[tuple[AssignmentId, Content]]:
        """Yield the contents that tasks need, each with one of them."""
        for live in self._roll:
            for content in live.task.wanted:
                yield live.task.assignment_id, content

    def held(self, now: Now) -> tuple[TaskHeld, ...]:
        """Return every task as a heartbeat tells it."""
        runs = self._roll.runs
        return tuple(told(live, runs, self._around.inputs, now) for live in self._roll)


def _by_owner(cause: Cause) -> bool:
    return isinstance(cause, DataOver) and bool(kept_by(cause.reason, cause.rule))


def _no_signals(failure: AssignmentError) -> DataOver:
    return DataOver("signals", str(failure), by_itself=False)
