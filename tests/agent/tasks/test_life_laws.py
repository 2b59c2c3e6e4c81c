"""The laws of a task's life, under any order of events, failing commits and crashes."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.tasks.code import Answered, Exhausted, RolledBack
from agent.tasks.life import step
from agent.tasks.task import (
    Close,
    CodeMissing,
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
    Position,
    Request,
    RoundBegan,
    RoundsPassed,
    Task,
    Tick,
    WindowArrived,
    Withdrawn,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Feedback, RollBack
from user_lib.contract.states import TASK_ENDS, TaskState
from user_lib.contract.validation import parse

BAD = RollBack(failed_version="b" * 64, detail="boom")


class TaskLife(RuleBasedStateMachine):
    """The surroundings of one task: they keep their promises, in any order."""

    @initialize(
        feedback=st.booleans(),
        iterations=st.one_of(st.just("forever"), st.integers(1, 6)),
        duration_s=st.one_of(st.none(), st.integers(1, 50)),
    )
    def assign(self, feedback: bool, iterations: Any, duration_s: int | None) -> None:
        self.spec = parse(
            {
                "signals": ["Speed"],
                "window": {"samples": 5},
                "onboard": "custom",
                "feedback": feedback,
                "iterations": iterations,
                "duration_s": duration_s,
            }
        )
        self.now_s = 0
        self.durable = Position(iteration=1)
        self.answered: list[int] = []
        self.rounds: set[int] = set()
        self.ends = 0
        self.disk_ok = True
        self.begin(Position(iteration=1))

    def begin(self, position: Position) -> None:
        self.task = Task(assignment_id="job-1", analyst="ana", spec=self.spec, position=position)
        self.subscribed = False
        self.requested = 0
        self.computing = False
        self.parked: Event | None = None

    def happen(self, event: Event) -> None:
        before = self.task
        task, commands = step(before, event, Now(self.now_s * SECOND, self.now_s * SECOND))
        commits = [c for c in commands if isinstance(c, Commit)]
        assert len(commits) <= 1
        if commits and not self.disk_ok:
            self.parked = event
            self.task, nothing = step(before, DiskFailed("full"), Now(0, 0))
            assert nothing == ()
            assert self.task.state is TaskState.PAUSED
            return
        self.task = task
        if task.state is before.state and task == before:
            assert commands == ()
        for command in commands:
            self.carry_out(command, event)

    def carry_out(self, command: object, event: Event) -> None:
        match command:
            case Open():
                assert not self.subscribed
                self.subscribed = True
            case Request():
                assert self.subscribed
                self.requested += 1
                assert self.requested == 1, "a second window was asked for"
            case Compute():
                assert not self.computing, "two iterations at once"
                assert self.task.holds_window
                self.computing = True
            case Close():
                assert self.task.state in TASK_ENDS
            case Commit(answered=answered, ended=ended):
                self.commit(answered, ended, event)

    def commit(self, answered: int, ended: bool, event: Event) -> None:
        if answered:
            last = self.answered[-1] if self.answered else 0
            assert answered > last, "an iteration number was repeated"
            assert answered == last + 1 or answered in self.rounds, "a number was skipped"
            assert isinstance(event, Computed | CodeMissing)
            self.answered.append(answered)
            assert self.task.position.committed == len(self.answered)
        if ended:
            self.ends += 1
            assert self.task.state in TASK_ENDS
        self.durable = self.task.position

    # --- what may happen -------------------------------------------------------------------------

    @rule(seconds=st.integers(0, 20))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds
        self.happen(Tick())

    @precondition(lambda self: self.requested)
    @rule()
    def a_window_arrives(self) -> None:
        self.requested = 0
        self.happen(WindowArrived())

    @precondition(lambda self: self.task.state is TaskState.READY and not self.computing)
    @rule()
    def a_slot_is_free(self) -> None:
        self.happen(Granted())

    @precondition(lambda self: self.computing)
    @rule(
        outcome=st.sampled_from(
            [
                Computed(Answered(), ok=True, memory=1),
                Computed(Answered(), ok=False),
                Computed(RolledBack(1, BAD), ok=False),
                Computed(Exhausted("boom"), ok=False),
            ]
        )
    )
    def the_worker_is_done(self, outcome: Computed) -> None:
        self.computing = False
        self.happen(outcome)

    @rule(iteration=st.integers(1, 8), generation=st.integers(0, 3))
    def a_round_begins(self, iteration: int, generation: int) -> None:
        if self.spec.feedback:
            self.rounds.add(iteration)
        self.happen(
            RoundBegan(Feedback(assignment_id="job-1", iteration=iteration, generation=generation))
        )

    @rule(iteration=st.integers(1, 8))
    def rounds_went_on_without_it(self, iteration: int) -> None:
        if not self.spec.feedback:
            self.rounds.add(iteration)
        self.happen(RoundsPassed(iteration))

    @precondition(lambda self: self.task.state is TaskState.READY)
    @rule()
    def the_code_does_not_come(self) -> None:
        self.happen(CodeMissing("none"))

    @rule(pick=st.integers(0, 60), by_itself=st.booleans())
    def something_ends_it(self, pick: int, by_itself: bool) -> None:
        if pick == 0:
            self.happen(Withdrawn("cancelled"))
        elif pick == 1 and self.subscribed:
            self.happen(DataOver("source_over", "over", by_itself))
        elif pick == 2:
            self.happen(Faulted("fault"))

    @precondition(lambda self: self.disk_ok)
    @rule()
    def the_disk_fails(self) -> None:
        self.disk_ok = False
        if self.task.state is not TaskState.RUNNING:
            self.happen(DiskFailed("full"))

    @precondition(lambda self: not self.disk_ok)
    @rule()
    def the_disk_is_back(self) -> None:
        self.disk_ok = True
        self.happen(DiskBack())
        parked, self.parked = self.parked, None
        if parked is not None:
            self.happen(parked)

    @precondition(lambda self: not self.ends)
    @rule()
    def the_agent_is_killed_and_starts_again(self) -> None:
        self.disk_ok = True
        self.begin(self.durable)

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def it_ends_once(self) -> None:
        assert self.ends == (self.task.state in TASK_ENDS)

    @invariant()
    def it_never_gets_stuck(self) -> None:
        """Whatever state it is in, something that is promised to come moves it on."""
        task = self.task
        match task.state:
            case TaskState.GATHERING:
                assert self.requested
            case TaskState.READY:
                assert task.holds_window
            case TaskState.RUNNING:
                assert self.computing
            case TaskState.AWAITING:
                assert self.spec.feedback
            case TaskState.PAUSED:
                assert not self.disk_ok
            case _:
                pass

    @invariant()
    def what_is_durable_is_never_ahead_of_what_was_answered(self) -> None:
        assert self.durable.committed == len(self.answered)


TestTaskLife = TaskLife.TestCase
TestTaskLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
