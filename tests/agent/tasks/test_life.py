from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agent.tasks.code import Answered, Exhausted, RolledBack
from agent.tasks.life import step
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
    Granted,
    Now,
    Open,
    Request,
    RoundBegan,
    RoundsPassed,
    Task,
    Tick,
    WindowArrived,
    Withdrawn,
)
from user_lib.contract.messages import Feedback, RollBack
from user_lib.contract.states import TASK_ENDS, TaskState

OK = Computed(Answered(), ok=True, memory={"n": 1})
FAILED = Computed(Answered(), ok=False)
ROLLED_BACK = Computed(
    RolledBack(to=3, failed=RollBack(failed_version="a" * 64, detail="boom")), ok=False
)
DISK = DiskFailed("disk full")

At = Callable[[float], Now]
MakeTask = Callable[..., Task]


def run(task: Task, *events: Event, now: Now) -> tuple[Task, tuple[Command, ...]]:
    commands: tuple[Command, ...] = ()
    for event in events:
        task, commands = step(task, event, now)
    return task, commands


def began(iteration: int, value: Any = None, generation: int = 0) -> RoundBegan:
    return RoundBegan(
        Feedback(assignment_id="job-1", iteration=iteration, value=value, generation=generation)
    )


def test_a_task_starts_at_once_and_asks_for_its_first_window(task: MakeTask, at: At) -> None:
    started, commands = run(task(), Tick(), now=at(0))

    assert started.state is TaskState.GATHERING
    assert commands == (Open(), Request())


def test_a_task_waits_for_its_start_time(task: MakeTask, at: At) -> None:
    later = task(start="2030-01-01T00:00:00Z")

    assert run(later, Tick(), now=at(0))[0].state is TaskState.PENDING
    started, _ = step(later, Tick(), Now(0, 1_893_456_000_000_000_000))
    assert started.state is TaskState.GATHERING


def test_an_iteration_goes_from_window_to_slot_to_commit(task: MakeTask, at: At) -> None:
    ready, _ = run(task(iterations=2), Tick(), WindowArrived(), now=at(1))
    running, compute = step(ready, Granted(), at(2))
    following, commands = step(running, OK, at(3))

    assert ready.state is TaskState.READY
    assert (running.state, compute) == (TaskState.RUNNING, (Compute(),))
    assert (following.state, following.iteration) == (TaskState.GATHERING, 2)
    assert following.position.memory == {"n": 1}
    assert commands == (Commit(answered=1), Request())


def test_the_last_iteration_ends_the_task_in_the_same_commit(task: MakeTask, at: At) -> None:
    done, commands = run(task(), Tick(), WindowArrived(), Granted(), OK, now=at(1))

    assert (done.state, done.reason) == (TaskState.FINISHED, "iterations")
    assert commands == (Commit(answered=1, ended=True), Close())


def test_a_task_without_end_goes_on_and_on(task: MakeTask, at: At) -> None:
    endless, _ = run(task(iterations="forever"), Tick(), now=at(0))
    for _ in range(50):
        endless, _ = run(endless, WindowArrived(), Granted(), OK, now=at(1))

    assert (endless.state, endless.iteration) == (TaskState.GATHERING, 51)


def test_a_failed_iteration_is_an_answer_and_keeps_the_state_from_before(
    task: MakeTask, at: At
) -> None:
    once, _ = run(task(iterations=9), Tick(), WindowArrived(), Granted(), OK, now=at(1))
    twice, commands = run(once, WindowArrived(), Granted(), FAILED, now=at(2))

    assert commands == (Commit(answered=2), Request())
    assert twice.position.memory == {"n": 1}


def test_after_a_roll_back_the_same_window_and_iteration_run_on_the_good_version(
    task: MakeTask, at: At
) -> None:
    custom = task(onboard="custom", iterations=5)
    again, commands = run(custom, Tick(), WindowArrived(), Granted(), ROLLED_BACK, now=at(1))

    assert commands == ()
    assert (again.state, again.iteration, again.holds_window) == (TaskState.READY, 1, True)
    assert again.pinned == 3
    assert again.rolled_back is not None
    assert again.rolled_back.detail == "boom"

    following, commands = run(again, Granted(), OK, now=at(2))
    assert commands == (Commit(answered=1), Request())
    assert (following.pinned, following.rolled_back) == (0, None)


def test_with_nothing_good_left_the_task_fails_with_the_traceback(task: MakeTask, at: At) -> None:
    custom = task(onboard="custom", iterations=5)
    exhausted = Computed(Exhausted("Traceback: boom"), ok=False)

    ended, commands = run(custom, Tick(), WindowArrived(), Granted(), exhausted, now=at(1))

    assert (ended.state, ended.reason) == (TaskState.FAILED, "code_failed")
    assert "Traceback: boom" in ended.detail
    assert commands == (Commit(answered=1, ended=True), Close())


def test_custom_without_code_is_rejected_before_it_began(task: MakeTask, at: At) -> None:
    ended, commands = run(task(onboard="custom"), CodeMissing("none came"), now=at(1))

    assert (ended.state, ended.reason, ended.detail) == (
        TaskState.REJECTED,
        "no_code",
        "none came",
    )
    assert commands == (Commit(ended=True), Close())


def test_a_feedback_task_waits_for_its_round(task: MakeTask, at: At) -> None:
    waiting, commands = run(task(feedback=True, iterations=3), Tick(), now=at(0))
    assert (waiting.state, commands) == (TaskState.AWAITING, (Open(),))

    gathering, commands = step(waiting, began(1, value=[0.5], generation=4), at(1))
    assert (gathering.state, commands) == (TaskState.GATHERING, (Request(),))
    assert gathering.opened is not None
    assert gathering.opened.value == [0.5]
    assert gathering.pinned == 4

    after, commands = run(gathering, WindowArrived(), Granted(), OK, now=at(2))
    assert (after.state, after.iteration, commands) == (
        TaskState.AWAITING,
        2,
        (Commit(answered=1),),
    )


def test_a_round_that_came_before_the_start_time_is_remembered(task: MakeTask, at: At) -> None:
    started, commands = run(task(feedback=True), began(1), Tick(), now=at(0))

    assert started.state is TaskState.GATHERING
    assert commands == (Open(), Request())


def test_a_straggler_jumps_to_the_current_round(task: MakeTask, at: At) -> None:
    feedback = task(feedback=True, iterations=9)
    gathering, commands = run(feedback, Tick(), began(1), began(4), now=at(1))

    assert (gathering.state, gathering.iteration) == (TaskState.GATHERING, 4)
    assert commands == ()


def test_a_round_that_begins_while_an_iteration_runs_comes_after_it(task: MakeTask, at: At) -> None:
    feedback = task(feedback=True, iterations=9)
    running, _ = run(feedback, Tick(), began(1), WindowArrived(), Granted(), began(5), now=at(1))
    assert (running.state, running.iteration) == (TaskState.RUNNING, 1)

    jumped, commands = step(running, OK, at(2))
    assert commands == (Commit(answered=1), Request())
    assert (jumped.state, jumped.iteration) == (TaskState.GATHERING, 5)


@pytest.mark.parametrize("iteration", [1, 2])
def test_an_old_or_repeated_round_is_ignored(task: MakeTask, at: At, iteration: int) -> None:
    feedback = task(feedback=True, iterations=9)
    gathering, _ = run(feedback, Tick(), began(2), now=at(1))

    assert step(gathering, began(iteration), at(2)) == (gathering, ())


def test_a_round_whose_code_cannot_be_had_is_answered_so(task: MakeTask, at: At) -> None:
    feedback = task(onboard="custom", feedback=True, iterations=9)
    ready, _ = run(feedback, Tick(), began(1, generation=3), WindowArrived(), now=at(1))

    after, commands = step(ready, CodeMissing("generation 3 did not come"), at(2))

    assert commands == (Commit(answered=1, reason="no_code", detail="generation 3 did not come"),)
    assert (after.state, after.iteration) == (TaskState.AWAITING, 2)


def test_a_withdrawal_ends_the_task_and_what_was_running_is_thrown_away(
    task: MakeTask, at: At
) -> None:
    running, _ = run(task(), Tick(), WindowArrived(), Granted(), now=at(1))
    ended, commands = step(running, Withdrawn("cancelled"), at(2))

    assert (ended.state, ended.reason) == (TaskState.CANCELLED, "cancelled")
    assert commands == (Commit(ended=True), Close())
    assert step(ended, OK, at(3)) == (ended, ())


def test_the_duration_ends_a_task(task: MakeTask, at: At) -> None:
    started, _ = run(task(duration_s=10, iterations="forever"), Tick(), now=at(0))

    assert step(started, Tick(), at(9.9))[0].state is TaskState.GATHERING
    ended, commands = step(started, Tick(), at(10))
    assert (ended.state, ended.reason) == (TaskState.FINISHED, "duration")
    assert commands == (Commit(ended=True), Close())


def test_the_duration_lets_a_running_iteration_finish(task: MakeTask, at: At) -> None:
    task_ = task(duration_s=10, iterations="forever")
    running, _ = run(task_, Tick(), WindowArrived(), Granted(), now=at(0))
    leaving, commands = step(running, Tick(), at(11))
    assert (leaving.state, commands) == (TaskState.RUNNING, ())

    ended, commands = step(leaving, OK, at(12))
    assert (ended.state, ended.reason) == (TaskState.FINISHED, "duration")
    assert commands == (Commit(answered=1, ended=True), Close())


def test_a_jump_of_the_wall_clock_does_not_use_up_the_duration(task: MakeTask) -> None:
    started, _ = step(task(duration_s=10), Tick(), Now(0, 0))

    assert step(started, Tick(), Now(1, 10**18))[0].state is TaskState.GATHERING


def test_the_time_before_a_restart_counts_towards_the_duration(task: MakeTask, at: At) -> None:
    task_ = task(duration_s=10, iterations="forever")
    before, _ = run(task_, Tick(), WindowArrived(), Granted(), now=at(0))
    before, _ = step(before, OK, at(6))
    restarted = Task(
        assignment_id="job-1", analyst="ana", spec=task_.spec, position=before.position
    )
    restarted, _ = step(restarted, Tick(), at(1000))

    assert step(restarted, Tick(), at(1003))[0].state is TaskState.GATHERING
    assert step(restarted, Tick(), at(1005))[0].state is TaskState.FINISHED


@pytest.mark.parametrize(
    ("iterations", "by_itself", "state"),
    [("forever", True, "finished"), (10, True, "failed"), ("forever", False, "failed")],
)
def test_a_source_that_is_over_ends_the_task(
    task: MakeTask, at: At, iterations: Any, by_itself: bool, state: str
) -> None:
    started, _ = run(task(iterations=iterations), Tick(), now=at(0))
    ended, _ = step(started, DataOver("source_over", "the log is over", by_itself), at(1))

    assert (ended.state, ended.reason) == (state, "source_over")


def test_a_source_that_is_over_lets_the_last_window_be_computed(task: MakeTask, at: At) -> None:
    ready, _ = run(task(iterations="forever"), Tick(), WindowArrived(), now=at(0))
    ready, _ = step(ready, DataOver("source_over", "the log is over", by_itself=True), at(1))
    ended, commands = run(ready, Granted(), OK, now=at(2))

    assert ended.state is TaskState.FINISHED
    assert commands == (Commit(answered=1, ended=True), Close())


@pytest.mark.parametrize(
    ("events", "resumed"),
    [
        ((), "pending"),
        ((Tick(),), "gathering"),
        ((Tick(), WindowArrived()), "ready"),
    ],
)
def test_a_paused_task_says_so_and_goes_on_where_it_was(
    task: MakeTask, at: At, events: tuple[Event, ...], resumed: str
) -> None:
    before, _ = run(task(), *events, now=at(0))
    paused, _ = step(before, DISK, at(1))
    after, commands = step(paused, DiskBack(), at(2))

    assert (paused.state, paused.detail) == (TaskState.PAUSED, "disk full")
    assert (after.state, commands) == (resumed, ())


def test_a_window_that_arrives_in_a_pause_is_not_lost(task: MakeTask, at: At) -> None:
    after, _ = run(task(), Tick(), DISK, WindowArrived(), DiskBack(), now=at(0))

    assert after.state is TaskState.READY


def test_an_outcome_that_could_not_be_committed_is_committed_after_the_pause(
    task: MakeTask, at: At
) -> None:
    running, _ = run(task(iterations=3), Tick(), WindowArrived(), Granted(), now=at(0))
    paused, _ = step(running, DISK, at(1))
    back, commands = step(paused, DiskBack(), at(2))
    assert (back.state, commands) == (TaskState.PAUSED, ())

    after, commands = step(back, OK, at(2))
    assert commands == (Commit(answered=1), Request())
    assert (after.state, after.iteration) == (TaskState.GATHERING, 2)


def test_a_round_that_began_in_a_pause_is_joined_after_it(task: MakeTask, at: At) -> None:
    feedback = task(feedback=True, iterations=9)
    after, commands = run(feedback, Tick(), DISK, began(3), DiskBack(), now=at(0))

    assert (after.state, after.iteration) == (TaskState.GATHERING, 3)
    assert commands == (Request(),)


@pytest.mark.parametrize("event", [Tick(), WindowArrived(), OK, Withdrawn("x"), DISK, DiskBack()])
def test_an_ended_task_ignores_everything(task: MakeTask, at: At, event: Event) -> None:
    ended, _ = run(task(), Withdrawn("cancelled"), now=at(0))

    assert ended.state in TASK_ENDS
    assert step(ended, event, at(1)) == (ended, ())


def test_a_window_nobody_asked_for_does_not_start_a_second_iteration(
    task: MakeTask, at: At
) -> None:
    running, _ = run(task(), Tick(), WindowArrived(), Granted(), now=at(0))

    assert step(running, WindowArrived(), at(1))[0].state is TaskState.RUNNING
    assert step(running, Granted(), at(1)) == (running, ())


@pytest.mark.parametrize("so_far", [(Tick(),), (Tick(), WindowArrived())])
def test_a_task_that_was_away_goes_on_with_the_iteration_that_is_due(
    task: MakeTask, at: At, so_far: tuple[Event, ...]
) -> None:
    caught_up, commands = run(task(iterations=9), *so_far, RoundsPassed(7), now=at(1))

    assert (caught_up.iteration, commands) == (7, ())


@pytest.mark.parametrize("iteration", [1, 2, 10])
def test_a_task_never_goes_back_nor_past_its_last_iteration(
    task: MakeTask, at: At, iteration: int
) -> None:
    second, _ = run(task(iterations=9), Tick(), WindowArrived(), Granted(), OK, now=at(1))

    assert run(second, RoundsPassed(iteration), now=at(2))[0].iteration == 2


def test_a_running_iteration_keeps_its_number(task: MakeTask, at: At) -> None:
    running, _ = run(task(iterations=9), Tick(), WindowArrived(), Granted(), now=at(1))

    assert run(running, RoundsPassed(7), now=at(2))[0].iteration == 1


def test_what_has_not_begun_by_its_end_is_refused_by_a_trusted_clock_only(
    task: MakeTask, at: At
) -> None:
    waiting = task(start="2027-01-16T08:00:00Z", not_after="2027-01-17T08:00:00Z")
    late = at(3 * 86_400)

    doubtful, _ = step(waiting, Tick(), late)
    refused, _ = step(waiting, Tick(), replace(late, trusted=True))

    assert doubtful.state is TaskState.GATHERING
    assert (refused.state, refused.reason) == (TaskState.REJECTED, "expired")


def test_what_began_in_time_goes_on_after_its_end(task: MakeTask, at: At) -> None:
    began = task(not_after="2027-01-17T08:00:00Z")
    began = replace(began, position=replace(began.position, ran_ns=1))

    resumed, _ = step(began, Tick(), replace(at(3 * 86_400), trusted=True))

    assert resumed.state is TaskState.GATHERING
