"""The cloud is killed mid-assignment and comes back: nobody notices but by a pause."""

from collections.abc import Callable
from typing import Any

from user_lib.contract.code import version_of
from user_lib.contract.messages import (
    Cancel,
    CodeStatus,
    Events,
    PushCode,
    ReadEvents,
    Result,
    RoundClosed,
)
from user_lib.contract.states import JobState, TaskState

Make = Callable[..., Any]
A = "def custom(data, params):\n    return 1\n"


def of(kind: type, items: list[Any]) -> list[Any]:
    return [i for i in items if isinstance(i, kind)]


def test_a_killed_cloud_goes_on_with_every_round_where_it_was(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations=3, deadline_s=60).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
        each.answer(job, 1, 1.0)
        each.settle()
    kona.answer(job, 2, 10.0)
    kona.settle()
    before = ada.read(job, lambda events: any(isinstance(e.item, RoundClosed) for e in events))

    cloud.kill()
    cloud.restart()

    leaf.answer(job, 2, 30.0)
    leaf.until(lambda: not leaf.outbox or _again(leaf))
    kona.until(lambda: kona.heard and _beats(kona))
    kona.answer(job, 3, 5.0)
    leaf.answer(job, 3, 7.0)
    for each in (kona, leaf):
        each.until(lambda each=each: not each.outbox or _again(each))
    items = ada.to_end(job)

    assert [e.item for e in before] == items[: len(before)]
    rounds = of(RoundClosed, items)
    assert [(r.round, r.groups[0].value) for r in rounds] == [(1, 1.0), (2, 20.0), (3, 6.0)]
    assert len(of(Result, items)) == 6
    assert items[-1].state is JobState.FINISHED


def _again(vehicle: Any) -> bool:
    """Send the outbox again, as an agent does."""
    for entry in list(vehicle.outbox.values()):
        vehicle.send(entry)
    return False


def _beats(vehicle: Any) -> bool:
    vehicle.beat()
    return True


def test_feedback_and_its_pinned_generation_survive(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    ada.ask(PushCode(side="onboard", source=A, token="t"))
    job = ada.submit(onboard="custom", feedback=True, iterations=3).assignment_id
    kona.until(lambda: kona.feedback)
    kona.answer(job, 1, {"w": 1.5}, code_version=version_of(A), generation=1)
    kona.until(lambda: kona.feedback[-1].iteration == 2)

    cloud.kill()
    kona.feedback.clear()
    kona.hold(job, 2, state=TaskState.AWAITING)
    cloud.restart()

    kona.until(lambda: kona.feedback)
    told = kona.feedback[-1]
    assert (told.iteration, told.value, told.generation) == (2, {"w": 1.5}, 1)
    (state,) = ada.ask(CodeStatus()).onboard.vehicles
    assert (state.state, state.version) == ("armed", version_of(A))
    assert state.first_result_ms is not None


def test_tokens_and_ended_jobs_are_remembered(cloud: Any, vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    first = ada.submit(token="t")
    job = first.assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    items = ada.to_end(job)

    assert cloud.stop() == 0
    cloud.restart()

    assert ada.submit(token="t") == first
    assert ada.to_end(job) == items


def test_a_late_result_after_the_restart_counts_in_its_own_stream(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(deadline_s=0.1).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    kona.answer(job, 1, 1.0)
    ada.to_end(job)
    cloud.kill()
    cloud.restart()

    leaf.answer(job, 1, 2.0)
    leaf.until(lambda: not leaf.outbox or _again(leaf))

    last = ada.to_end(job)[-1]
    assert (last.vehicle_id, last.late) == ("leaf-1", True)


def test_a_task_that_was_cancelled_while_its_vehicle_was_away_is_withdrawn(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)
    cloud.kill()
    cloud.restart()
    page = ada.ask(ReadEvents(assignment_id=job))
    assert isinstance(page, Events)
    assert page.state is JobState.RUNNING

    ada.ask(Cancel(assignment_id=job))
    kona.until(lambda: job not in kona.tasks)
