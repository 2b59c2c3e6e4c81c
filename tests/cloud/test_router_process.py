"""The real cloud over real sockets: assignments out, results in, rounds closed, events read."""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from user_lib.contract.messages import (
    Assign,
    Cancel,
    Cancelled,
    Event,
    Events,
    Explain,
    JobChanged,
    Jobs,
    ListJobs,
    ListSignals,
    ListVehicles,
    Ping,
    Pong,
    ReadEvents,
    Rejection,
    Result,
    RoundClosed,
)
from user_lib.contract.states import JobState, RoundState, TaskState

Make = Callable[..., Any]


def of(kind: type, items: list[Any]) -> list[Any]:
    return [i for i in items if isinstance(i, kind)]


def test_an_assignment_travels_to_the_vehicles_and_its_rounds_come_back(
    vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()

    job = ada.submit(iterations=2).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    for i in (1, 2):
        kona.answer(job, i, {"Vehicle.Speed": 10.0 * i})
        leaf.answer(job, i, {"Vehicle.Speed": 30.0 * i})
    items = ada.to_end(job)

    rounds = of(RoundClosed, items)
    assert [(r.round, r.state, r.missing) for r in rounds] == [
        (1, RoundState.COMPLETE, ()),
        (2, RoundState.COMPLETE, ()),
    ]
    assert [r.groups[0].value for r in rounds] == [{"Vehicle.Speed": 20.0}, {"Vehicle.Speed": 40.0}]
    assert [r.groups[0].vehicles for r in rounds] == [("kona-1", "leaf-1")] * 2
    assert {r.vehicle_id for r in of(Result, items)} == {"kona-1", "leaf-1"}
    assert of(JobChanged, items)[-1].state is JobState.FINISHED
    kona.until(lambda: job not in kona.tasks)
    assert kona.withdrawn[-1].reason == "iterations"


def test_vehicles_and_their_signals_are_listed(vehicle: Make, analyst: Make) -> None:
    kona = vehicle("kona-1", model="kona", tags={"depot": "oslo"})
    kona.pump(1)
    ada = analyst()
    kona.until(lambda: not isinstance(ada.ask(ListSignals(vehicle_id="kona-1")), Rejection))

    (info,) = ada.ask(ListVehicles()).vehicles
    assert (info.vehicle_id, info.online, info.model) == ("kona-1", True, "kona")
    (signal,) = ada.ask(ListSignals(vehicle_id="kona-1")).signals
    assert (signal.name, signal.unit) == ("Vehicle.Speed", "km/h")
    pong = ada.ask(Ping())
    assert isinstance(pong, Pong)
    assert pong.vehicles_online == 1


def test_a_repeated_result_is_acknowledged_and_counted_once(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)

    first = kona.answer(job, 1, 1.0)
    kona.settle()
    kona.deliver(first)
    kona.settle()
    kona.answer(job, 2, 2.0)

    items = ada.to_end(job)
    assert [r.iteration for r in of(Result, items)] == [1, 2]
    assert [r.groups[0].value for r in of(RoundClosed, items)] == [1.0, 2.0]


def test_a_late_result_is_kept_marked_and_changes_no_aggregate(
    vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations=1, deadline_s=0.2, quorum=0.5).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)

    kona.answer(job, 1, 10.0)
    items = ada.to_end(job)
    (closed,) = of(RoundClosed, items)
    assert (closed.state, closed.missing, closed.groups[0].value) == (
        RoundState.COMPLETE,
        ("leaf-1",),
        10.0,
    )
    leaf.answer(job, 1, 99.0)
    leaf.answer(job, 2, 99.0)
    leaf.settle()

    late = of(Result, ada.to_end(job))[1:]
    assert [(r.vehicle_id, r.iteration, r.late) for r in late] == [
        ("leaf-1", 1, True),
        ("leaf-1", 2, True),
    ]
    assert of(RoundClosed, ada.to_end(job)) == [closed]


def test_a_vehicle_that_lags_is_told_which_iteration_is_due(vehicle: Make, analyst: Make) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations="forever", deadline_s=0.2, quorum=0.5).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)

    for iteration in range(1, 6):
        kona.answer(job, iteration, 1.0)
        ada.read(job, lambda events, n=iteration: len(closed_in(events)) >= n)
    leaf.answer(job, 1, 9.0)  # it was away: this is late, and so would be the next
    due = leaf.until(
        lambda: next(
            (
                m.first_iteration
                for m in leaf.heard
                if isinstance(m, Assign) and m.first_iteration > 1
            ),
            None,
        )
    )
    kona.answer(job, due, 1.0)
    leaf.answer(job, due, 3.0)

    (*_, last) = closed_in(ada.read(job, lambda events: len(closed_in(events)) >= due))
    assert (last.round, last.groups[0].value) == (due, 2.0)


def closed_in(events: list[Event]) -> list[RoundClosed]:
    return of(RoundClosed, [e.item for e in events])


def test_failed_iterations_are_named_and_not_averaged(vehicle: Make, analyst: Make) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit().assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)

    kona.answer(job, 1, None, status="killed", reason="memory", detail="256 MB reached")
    leaf.answer(job, 1, 5.0)

    (closed,) = of(RoundClosed, ada.to_end(job))
    assert closed.failed == {"kona-1": "memory"}
    assert (closed.groups[0].vehicles, closed.groups[0].value) == (("leaf-1",), 5.0)


def test_a_refusal_reaches_the_analyst_with_its_reason_path_and_near(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(signals=["Vehicle.Sped"]).assignment_id
    kona.until(lambda: job in kona.tasks)

    kona.end(
        job,
        TaskState.REJECTED,
        reason="unknown_signal",
        detail="no signal 'Vehicle.Sped'",
        path="signals[0]",
        near=("Vehicle.Speed",),
    )

    *_, refusal, end = of(JobChanged, ada.to_end(job))
    assert (refusal.vehicle_id, refusal.task_state) == ("kona-1", TaskState.REJECTED)
    assert (refusal.reason, refusal.path, refusal.near) == (
        "unknown_signal",
        "signals[0]",
        ("Vehicle.Speed",),
    )
    assert end.state is JobState.FAILED
    assert "kona-1: unknown_signal" in end.detail


def test_explain_says_where_each_vehicle_stands(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    vehicle("leaf-1")
    job = ada.submit(iterations=5).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.hold(job, 1, detail="3 of 10 samples of Vehicle.Speed")
    kona.beat()
    accepted = ada.read(job, lambda events: any(e.item.reason == "accepted" for e in events))

    told = ada.ask(Explain(assignment_id=job))

    first, second = told.members
    assert (first.vehicle_id, first.online, first.state) == ("kona-1", True, TaskState.GATHERING)
    assert first.detail == "3 of 10 samples of Vehicle.Speed"
    assert second.state is None
    assert told.open_rounds == (1,)
    assert told.waiting_for == ("kona-1", "leaf-1")
    assert accepted[-1].item.vehicle_id == "kona-1"


def test_each_analyst_sees_and_cancels_only_own_jobs(vehicle: Make, analyst: Make) -> None:
    kona, ada, bob = vehicle("kona-1"), analyst("ada"), analyst("bob")
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)

    assert bob.ask(Cancel(assignment_id=job)).reason == "not_yours"
    assert bob.ask(ReadEvents(assignment_id=job)).reason == "not_yours"
    assert bob.ask(Explain(assignment_id=job)).reason == "not_yours"
    assert bob.ask(ListJobs()) == Jobs(jobs=())
    unknown = bob.ask(Cancel(assignment_id="job-none"))
    assert unknown.reason == "unknown_assignment"
    assert "`oodida jobs`" in unknown.message

    assert ada.ask(Cancel(assignment_id=job)) == Cancelled(
        assignment_id=job, state=JobState.CANCELLED
    )
    kona.until(lambda: job not in kona.tasks)
    assert ada.ask(ListJobs()).jobs[0].state is JobState.CANCELLED
    assert ada.ask(Cancel(assignment_id=job)).state is JobState.CANCELLED


def test_the_same_token_submits_once(vehicle: Make, analyst: Make) -> None:
    vehicle("kona-1")
    ada = analyst()

    first, second = ada.submit(token="t1"), ada.submit(token="t1")

    assert first == second
    assert len(ada.ask(ListJobs()).jobs) == 1


def test_a_wrong_assignment_is_refused_with_path_and_near(vehicle: Make, analyst: Make) -> None:
    ada = analyst()
    assert ada.try_submit().reason == "no_vehicle"
    vehicle("kona-1", external_methods=("fft",))

    unknown = ada.try_submit(vehicles=["kona-2"])
    assert (unknown.reason, unknown.path, unknown.near) == (
        "unknown_vehicle",
        "vehicles",
        ("kona-1",),
    )
    assert ada.try_submit(onboard="custom").reason == "no_code"
    assert ada.try_submit(offboard="custom").path == "offboard"
    external = ada.try_submit(onboard="external:ftt")
    assert (external.reason, external.near) == ("no_method", ("external:fft",))
    wrong = ada.try_submit(onboard="meen")
    assert (wrong.reason, wrong.path, wrong.near[0]) == ("invalid", "onboard", "mean")
    params = ada.try_submit(onboard="histogram", onboard_params={"binz": 3})
    assert params.reason == "invalid"


def test_reading_events_waits_for_news_and_then_answers(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.beat()
    read = ada.read(job, lambda events: len(events) >= 2)

    ada.post(ReadEvents(assignment_id=job, after_seq=len(read), wait_s=20))
    kona.answer(job, 1, 7.0)

    _, page = ada.reply()
    assert isinstance(page, Events)
    assert page.events[0].item.value == 7.0


def test_reading_events_answers_with_nothing_when_its_time_is_over(
    vehicle: Make, analyst: Make
) -> None:
    vehicle("kona-1")
    ada = analyst()
    job = ada.submit().assignment_id
    read = ada.read(job, lambda events: len(events) >= 1)

    page = ada.ask(ReadEvents(assignment_id=job, after_seq=len(read), wait_s=0.3))

    assert (page.events, page.ended) == ((), False)


def test_events_can_be_read_by_kind_and_in_small_pages(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=3).assignment_id
    kona.until(lambda: job in kona.tasks)
    for i in (1, 2, 3):
        kona.answer(job, i, float(i))
    everything = ada.to_end(job)

    after, seen = 0, []
    for _ in range(len(everything) + 1):
        page = ada.ask(ReadEvents(assignment_id=job, after_seq=after, limit=1, kinds=("round",)))
        seen += [e.item.round for e in page.events]
        after = page.next_seq
        if page.ended:
            break

    assert seen == [1, 2, 3]


def test_a_request_too_many_is_told_to_wait(make_cloud: Make, analyst: Make, vehicle: Make) -> None:
    cloud = make_cloud(bounds={"waiting_requests_per_peer": 2})
    vehicle("kona-1", endpoint=cloud.endpoint)
    ada = analyst(endpoint=cloud.endpoint)
    job = ada.submit().assignment_id
    read = ada.read(job, lambda events: len(events) >= 1)

    for _ in range(3):
        ada.post(ReadEvents(assignment_id=job, after_seq=len(read), wait_s=20))

    number, answer = ada.reply()
    assert (number, answer.reason) == (ada.number, "busy")


def test_a_task_that_a_vehicle_lost_or_should_not_have_is_put_right(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.settle()

    kona.tasks.clear()
    kona.hold("job-unknown", 4)
    kona.until(lambda: len(kona.assigned) > 1 and "job-unknown" not in kona.tasks)

    assert kona.assigned[-1].assignment_id == job
    assert kona.assigned[-1].first_iteration == 2


def test_a_second_machine_cannot_take_a_vehicles_name_while_it_is_online(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(lease_s=2)
    kona, ada = (
        vehicle("kona-1", endpoint=cloud.endpoint, model="first"),
        analyst(endpoint=cloud.endpoint),
    )
    impostor = type(kona)(cloud.endpoint, "kona-1", model="second")
    kona.until(lambda: "vehicle id taken" in cloud.log.read_text())
    assert ada.ask(ListVehicles()).vehicles[0].model == "first"

    kona.close()

    def is_known_as_the_second() -> bool:
        time.sleep(0.05)  # an analyst who asks without a pause is told that this is too fast
        return ada.ask(ListVehicles()).vehicles[0].model == "second"

    impostor.until(is_known_as_the_second)
    impostor.close()


def test_a_vehicle_that_reconnects_is_itself_again(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1", epoch="life-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)

    again = vehicle("kona-1", epoch="life-1")
    again.until(lambda: job in again.tasks)
    again.answer(job, 1, 3.0)
    again.settle()

    assert [r.value for r in of(Result, [e.item for e in ada.events(job)])] == [3.0]


def test_a_result_that_was_not_asked_for_is_acknowledged_and_dropped(
    vehicle: Make, analyst: Make, cloud: Any
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(vehicles=["kona-1"], iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)

    leaf.answer(job, 1, 666.0)
    leaf.answer("job-never", 1, 666.0)
    leaf.settle()

    assert of(Result, [e.item for e in ada.events(job)]) == []
    assert "unasked result" in cloud.log.read_text()


def test_a_triggered_assignment_is_a_stream_without_rounds(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(when="Vehicle.Speed > 100", iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)

    kona.answer(job, 1, 1.0)
    kona.answer(job, 2, 2.0)
    kona.end(job, TaskState.FINISHED, iterations=2)

    items = ada.to_end(job)
    assert [(r.value, r.late) for r in of(Result, items)] == [(1.0, False), (2.0, False)]
    assert of(RoundClosed, items) == []
    assert items[-1].state is JobState.FINISHED


def test_a_scheduled_assignment_waits_for_its_time(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(start="2999-01-01T00:00:00Z").assignment_id

    kona.until(lambda: job in kona.tasks)
    told = ada.ask(Explain(assignment_id=job))

    assert told.job.state is JobState.SCHEDULED
    assert told.open_rounds == ()


def test_a_scheduled_assignment_starts_at_its_time(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.5)

    job = ada.submit(start=soon.isoformat()).assignment_id
    assert ada.ask(ReadEvents(assignment_id=job)).state is JobState.SCHEDULED
    kona.until(lambda: job in kona.tasks)
    kona.until(lambda: ada.ask(Explain(assignment_id=job)).open_rounds == (1,))

    assert dt.datetime.now(dt.UTC) >= soon
    assert ada.ask(ReadEvents(assignment_id=job)).state is JobState.RUNNING


def test_an_assignment_ends_at_its_duration(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever", duration_s=0.2).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.until(lambda: job not in kona.tasks)

    end = ada.to_end(job)[-1]
    assert (end.state, end.reason) == (JobState.FINISHED, "duration")
