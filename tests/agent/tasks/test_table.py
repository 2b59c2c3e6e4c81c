"""The table with a real store; the signals and the worker slots are the test's to move."""

from collections.abc import Callable
from typing import Any

from agent.sandbox import Outcome
from agent.store import Acknowledge
from agent.tasks.dispatch import CODE_WAIT_S
from agent.tasks.ports import Finished, RanDry
from agent.tasks.task import DataOver
from user_lib.contract.messages import Assign, Feedback, SetCode, Withdraw
from user_lib.contract.validation import parse

V1 = "def custom(xs):\n    return 1\n"
V2 = "def custom(xs):\n    return 2\n"

MakeVehicle = Callable[..., Any]


def failed(detail: str = "ZeroDivisionError") -> Outcome:
    return Outcome(status="error", reason="traceback", detail=detail)


def code(generation: int, set_code: Any, source: str) -> SetCode:
    message: SetCode = set_code(generation, source)
    return message


def test_a_task_goes_through_its_iterations(vehicle: Any) -> None:
    vehicle.assign()
    jobs = [vehicle.iterate() for _ in range(3)]

    assert [j.iteration for j in jobs] == [1, 2, 3]
    assert [r.iteration for r in vehicle.results()] == [1, 2, 3]
    end = vehicle.end()
    assert end is not None
    assert (end.state, end.iterations) == ("finished", 3)
    assert vehicle.signals.open["job-1"].cancelled
    assert len(vehicle.table) == 0


def test_a_receipt_says_what_its_window_lacks(vehicle: Any) -> None:
    vehicle.assign()
    vehicle.window(lost_frames=4, away_ms=1500)
    vehicle.finish()

    (result,) = vehicle.results()
    assert (result.lost_frames, result.away_ms) == (4, 1500)


def test_the_state_comes_back_to_the_next_iteration(vehicle: Any) -> None:
    vehicle.assign()
    vehicle.iterate(outcome=Outcome(status="ok", value=1, state={"n": 5}))

    assert vehicle.iterate().state == {"n": 5}


def test_tasks_share_the_slots_by_priority(make: MakeVehicle) -> None:
    vehicle = make(slots=1)
    for name, priority in (("first", 0), ("low", 1), ("high", 9)):
        vehicle.assign(name, priority=priority)
    for name in ("first", "low", "high"):
        vehicle.window(name)

    held = vehicle.held("low")
    assert held is not None
    assert (held.state, "held by first" in held.detail) == ("ready", True)
    vehicle.finish()
    states = {t.assignment_id: t.state for t in vehicle.table.held(vehicle.now)}
    assert states == {"first": "gathering", "low": "ready", "high": "running"}


def test_a_fault_at_one_task_ends_that_task_alone(vehicle: Any) -> None:
    vehicle.assign("bad")
    vehicle.assign("good")

    def break_down() -> None:
        raise RuntimeError("a fault of ours")

    vehicle.signals.open["bad"].cancel = break_down
    vehicle.signals.open["bad"].request = break_down
    vehicle.signals.open["bad"].requested = 1
    vehicle.window("bad")
    vehicle.window("good")
    for ticket in vehicle.slots.jobs:  # both are committed in one transaction
        done = Finished(ticket, Outcome(status="ok", value=7))
        vehicle.table.take(done, vehicle.now)
    vehicle.tick()
    vehicle.slots.jobs.clear()
    vehicle.iterate("good")

    assert [r.iteration for r in vehicle.results("good")] == [1, 2]
    assert [r.iteration for r in vehicle.results("bad")] == [1]
    end = vehicle.end("bad")
    assert end is not None
    assert (end.state, end.reason) == ("failed", "internal")
    assert list(vehicle.table.held(vehicle.now)) == [vehicle.held("good")]


def test_a_restart_takes_tasks_up_where_they_were(vehicle: Any) -> None:
    vehicle.assign()
    vehicle.iterate(outcome=Outcome(status="ok", value=1, state="kept"))
    vehicle.window()
    vehicle.store.close()
    vehicle.start()

    assert vehicle.iterate().state == "kept"
    assert [r.iteration for r in vehicle.results()] == [1, 2]


def test_a_task_that_can_no_longer_run_after_a_restart_ends_with_the_reason(
    vehicle: Any,
) -> None:
    vehicle.assign()
    vehicle.store.close()
    vehicle.signals.broken = True

    vehicle.start()

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason) == ("failed", "unknown_signal")


def test_an_assignment_that_is_refused_is_not_taken_up_again(vehicle: Any) -> None:
    for _ in range(2):
        vehicle.assign(signals=["Engine.Speed"])

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason, end.path) == ("rejected", "unknown_signal", "signals")
    assert vehicle.store.tasks == ()


def test_where_foreign_code_cannot_be_confined_it_is_refused_and_the_rest_goes_on(
    make: MakeVehicle, set_code: Any
) -> None:
    vehicle = make(barred="no seccomp here")
    vehicle.assign("custom", onboard="custom")
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign("mean")

    end = vehicle.end("custom")
    assert end is not None
    assert (end.reason, "no seccomp here" in end.detail) == ("sandbox", True)
    (report,) = vehicle.orders.modules.owed()
    assert (report.state, "no seccomp here" in report.detail) == ("refused", True)
    assert vehicle.held("mean") is not None


def test_a_window_of_a_subscription_that_is_gone_is_ignored(vehicle: Any) -> None:
    vehicle.assign()
    token = vehicle.signals.open["job-1"].token
    vehicle.orders.withdraw(Withdraw(assignment_id="job-1", reason="cancelled"), vehicle.now)
    vehicle.tick()

    vehicle.table.take(RanDry(token, DataOver("x", "y", by_itself=False)), vehicle.now)

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason) == ("cancelled", "cancelled")


def test_the_outcome_of_a_withdrawn_task_frees_its_slot_and_is_thrown_away(
    make: MakeVehicle,
) -> None:
    vehicle = make(slots=1)
    vehicle.assign()
    vehicle.window()
    vehicle.orders.withdraw(Withdraw(assignment_id="job-1", reason="cancelled"), vehicle.now)
    vehicle.tick()
    assert vehicle.slots.idle == 0

    vehicle.finish()

    assert vehicle.slots.idle == 1
    assert vehicle.results() == []


# --- code ----------------------------------------------------------------------------------------


def test_a_new_version_runs_from_the_next_iteration_on(vehicle: Any, set_code: Any) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", iterations="forever")
    vehicle.window()
    vehicle.orders.set_code(code(2, set_code, V2), vehicle.now)

    assert vehicle.finish().source == V1
    assert vehicle.iterate().source == V2
    assert [r.generation for r in vehicle.results()] == [1, 2]


def test_a_roll_back_runs_the_same_window_with_the_state_from_before(
    vehicle: Any, set_code: Any
) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", iterations="forever")
    vehicle.iterate(outcome=Outcome(status="ok", value=1, state="before"))
    vehicle.orders.set_code(code(2, set_code, V2), vehicle.now)
    vehicle.window()
    first = vehicle.finish(failed())
    second = vehicle.finish()

    assert (first.source, second.source) == (V2, V1)
    assert first.window is second.window
    assert (first.iteration, second.iteration) == (2, 2)
    assert (first.state, second.state) == ("before", "before")
    result = vehicle.results()[-1]
    assert (result.iteration, result.generation, result.status) == (2, 1, "ok")
    assert result.rolled_back is not None
    assert "ZeroDivisionError" in result.rolled_back.detail
    assert vehicle.orders.modules.owed()[0].state == "rolled_back"


def test_two_tasks_that_fail_on_the_same_new_version_both_get_the_good_one(
    vehicle: Any, set_code: Any
) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    for name in ("a", "b"):
        vehicle.assign(name, onboard="custom", iterations="forever")
        vehicle.iterate(name)
    vehicle.orders.set_code(code(2, set_code, V2), vehicle.now)
    vehicle.window("a")
    vehicle.window("b")
    vehicle.finish(failed())
    vehicle.finish(failed())
    vehicle.finish()
    vehicle.finish()

    for name in ("a", "b"):
        assert [(r.iteration, r.generation) for r in vehicle.results(name)] == [(1, 1), (2, 1)]
        assert vehicle.results(name)[-1].rolled_back is not None


def test_a_version_that_worked_for_one_task_is_not_rolled_back_by_another(
    vehicle: Any, set_code: Any
) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    for name in ("a", "b"):
        vehicle.assign(name, onboard="custom", iterations="forever")
        vehicle.iterate(name)
    vehicle.orders.set_code(code(2, set_code, V2), vehicle.now)
    vehicle.window("a")
    vehicle.window("b")
    now = vehicle.now
    tickets = list(vehicle.slots.jobs)
    vehicle.table.take(Finished(tickets[0], Outcome(status="ok", value=1)), now)
    vehicle.table.take(Finished(tickets[1], failed()), now)
    vehicle.tick()

    assert [(r.generation, r.status) for r in vehicle.results("b")] == [(1, "ok"), (2, "error")]
    assert vehicle.held("b") is not None


def test_custom_waits_a_while_for_its_code_and_then_says_that_none_came(
    vehicle: Any, set_code: Any
) -> None:
    vehicle.assign("late", onboard="custom")
    held = vehicle.held("late")
    assert held is not None
    assert (held.state, "code" in held.detail) == ("pending", True)
    vehicle.tick(CODE_WAIT_S - 1)
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.tick()
    assert vehicle.iterate("late").source == V1

    other = vehicle
    message = Assign(
        assignment_id="never",
        analyst="bob",
        spec=parse({"signals": ["Vehicle.Speed"], "onboard": "custom", "window": {"samples": 1}}),
    )
    other.orders.assign(message, other.now)
    other.tick()
    other.tick(CODE_WAIT_S + 1)
    end = other.end("never")
    assert end is not None
    assert (end.state, end.reason) == ("rejected", "no_code")


def test_a_round_whose_generation_never_comes_is_answered_so(vehicle: Any, set_code: Any) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", feedback=True, iterations=5)
    vehicle.orders.begin_round(
        Feedback(assignment_id="job-1", iteration=1, generation=7), vehicle.now
    )
    vehicle.window()
    held = vehicle.held()
    assert held is not None
    assert "generation 7" in held.detail
    vehicle.tick(CODE_WAIT_S + 1)

    (result,) = vehicle.results()
    assert (result.status, result.reason, result.iteration) == ("refused", "no_code", 1)
    assert "generation 7" in result.detail
    held = vehicle.held()
    assert held is not None
    assert (held.state, held.iteration) == ("awaiting", 2)


def test_code_is_kept_over_a_restart(vehicle: Any, set_code: Any) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", iterations="forever")
    vehicle.iterate()
    vehicle.store.close()
    vehicle.start()

    assert vehicle.iterate().source == V1
    assert vehicle.orders.modules.held()[0].generation == 1


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_pauses_every_task_and_no_outcome_is_lost(vehicle: Any) -> None:
    for name in ("runs", "waits"):
        vehicle.assign(name, iterations="forever")
        vehicle.iterate(name)
    vehicle.window("runs")
    with vehicle.full_disk():
        vehicle.finish(Outcome(status="ok", value="kept"))
        states = {t.assignment_id: (t.state, t.detail) for t in vehicle.table.held(vehicle.now)}
        assert all(state == "paused" for state, _ in states.values())
        assert all("cannot be written" in detail for _, detail in states.values())
        vehicle.tick(5)
        assert len(vehicle.results("runs")) == 1
    vehicle.tick(5)

    assert [r.value for r in vehicle.results("runs")] == [7, "kept"]
    states = {t.assignment_id: t.state for t in vehicle.table.held(vehicle.now)}
    assert states == {"runs": "gathering", "waits": "gathering"}
    vehicle.iterate("waits")
    vehicle.iterate("runs")


def test_an_order_that_cannot_be_kept_is_not_taken(vehicle: Any, set_code: Any) -> None:
    with vehicle.full_disk():
        vehicle.assign("new")
        vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
        assert vehicle.held("new") is None
        assert vehicle.orders.modules.held() == ()
    vehicle.tick(5)

    vehicle.assign("new")
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    assert vehicle.held("new") is not None
    assert vehicle.orders.modules.held()[0].generation == 1


def test_a_task_withdrawn_while_the_disk_is_full_ends_when_it_is_free(vehicle: Any) -> None:
    vehicle.assign()
    vehicle.window()
    with vehicle.full_disk():
        vehicle.finish()
        vehicle.orders.withdraw(Withdraw(assignment_id="job-1", reason="cancelled"), vehicle.now)
        vehicle.tick()
    vehicle.tick(5)

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.iterations) == ("cancelled", 1)


def test_acknowledged_results_leave_the_outbox(vehicle: Any) -> None:
    vehicle.assign()
    vehicle.iterate()
    (entry,) = vehicle.store.deliverable()

    vehicle.store.apply([Acknowledge((entry.seq,))])

    assert vehicle.results() == []
