"""The table with a real store; the signals and the worker slots are the test's to move."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.orders import Orders, Rules
from agent.policy import Policy
from agent.sandbox import Job, Outcome
from agent.store import Acknowledge, Store
from agent.tasks.dispatch import CODE_WAIT_S
from agent.tasks.live import Surroundings
from agent.tasks.modules import Modules
from agent.tasks.ports import Arrived, Finished, News, RanDry
from agent.tasks.receipt import Identity
from agent.tasks.table import Table
from agent.tasks.task import DataOver, Now
from user_lib.contract.assignment import Assignment, parse
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.messages import (
    Assign,
    Feedback,
    Result,
    SetCode,
    TaskEnded,
    TaskHeld,
    Withdraw,
)
from user_lib.contract.window import Window

V1 = "def custom(xs):\n    return 1\n"
V2 = "def custom(xs):\n    return 2\n"

At = Callable[[float], Now]


class ScriptedSubscription:
    def __init__(self, token: int) -> None:
        self.token = token
        self.requested = 0
        self.cancelled = False

    def request(self) -> None:
        self.requested += 1

    def progress(self) -> str:
        return f"{self.requested} windows asked for"

    def cancel(self) -> None:
        self.cancelled = True


class ScriptedSignals:
    """Knows the signals that begin with ``Vehicle``; windows come when the test says so."""

    def __init__(self) -> None:
        self.open: dict[str, ScriptedSubscription] = {}
        self.broken = False

    def check(self, assignment: Assignment) -> None:
        for name in assignment.signals:
            if not name.startswith("Vehicle") or self.broken:
                raise UnknownSignal(name)

    def aliases(self, name: str) -> frozenset[str]:
        return frozenset({name})

    def subscribe(
        self, assignment: Assignment, token: int, post: Callable[[News], None]
    ) -> ScriptedSubscription:
        del post
        self.check(assignment)
        self.open[assignment.name] = ScriptedSubscription(token)
        return self.open[assignment.name]


class ScriptedSlots:
    """Worker slots whose jobs end when the test says so."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.jobs: dict[int, Job] = {}
        self.busy = 0

    @property
    def idle(self) -> int:
        return self.slots - self.busy

    def submit(self, ticket: int, job: Job) -> None:
        assert self.idle > 0, "more jobs than slots"
        self.busy += 1
        self.jobs[ticket] = job

    def finished(self) -> None:
        self.busy -= 1


class Vehicle:
    """Everything of an agent but its link, its bus and its sandbox."""

    def __init__(self, directory: Path, slots: int = 2, barred: str = "") -> None:
        self.directory = directory
        self.policy, self.barred = Policy(), barred
        self.signals = ScriptedSignals()
        self.slots = ScriptedSlots(slots)
        self.time_s = 0.0
        self.start()

    def start(self) -> None:
        self.store = Store(self.directory, outbox_mb=10)
        identity = Identity("car-1", self.store.epoch, "1.0", "hash")
        modules = Modules(self.store.slots)
        around = Surroundings(
            identity, self.store, self.signals, self.slots, self.policy, lambda news: None
        )
        self.table = Table(around, modules)
        rules = Rules(self.policy, frozenset(), self.signals, self.barred)
        self.orders = Orders(identity, rules, self.store, self.table, modules)
        self.orders.resume(self.now)
        self.tick()

    @property
    def now(self) -> Now:
        return Now(int(self.time_s * 1e9), int((1_800_000_000 + self.time_s) * 1e9))

    def tick(self, seconds: float = 0.0) -> None:
        self.time_s += seconds
        self.table.tick(self.now)

    def assign(self, name: str = "job-1", **changes: Any) -> None:
        plain = {
            "signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 3},
            "iterations": 3, "name": name,
        }  # fmt: skip
        spec = parse({**plain, **changes})
        self.orders.assign(Assign(assignment_id=name, analyst="ana", spec=spec), self.now)
        self.tick()

    def window(self, name: str = "job-1") -> None:
        """Deliver the window that a task asked for."""
        subscription = self.signals.open[name]
        assert subscription.requested == 1, "no window was asked for"
        subscription.requested = 0
        speed = np.arange(3.0)
        window = Window({"Vehicle.Speed": speed}, {"Vehicle.Speed": np.arange(3)}, 0, 3)
        self.table.take(Arrived(subscription.token, window), self.now)
        self.tick()

    def finish(self, outcome: Outcome | None = None, *, which: int = 0) -> Job:
        """End a job; return it."""
        ticket = list(self.slots.jobs)[which]
        job = self.slots.jobs.pop(ticket)
        done = Finished(ticket, outcome or Outcome(status="ok", value=7, weight=3.0))
        self.table.take(done, self.now)
        self.tick()
        return job

    def iterate(self, name: str = "job-1", outcome: Outcome | None = None) -> Job:
        self.window(name)
        return self.finish(outcome)

    def held(self, name: str = "job-1") -> TaskHeld | None:
        return next((t for t in self.table.held(self.now) if t.assignment_id == name), None)

    def outbox(self) -> list[Result | TaskEnded]:
        found = [self.store.load(e.seq) for e in self.store.deliverable()]
        return [i for i in found if i is not None]

    def results(self, name: str = "job-1") -> list[Result]:
        items = self.outbox()
        return [i for i in items if isinstance(i, Result) and i.assignment_id == name]

    def end(self, name: str = "job-1") -> TaskEnded | None:
        items = self.outbox()
        ends = [i for i in items if isinstance(i, TaskEnded) and i.assignment_id == name]
        assert len(ends) <= 1
        return ends[0] if ends else None

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


MakeVehicle = Callable[..., Vehicle]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeVehicle]:
    made: list[Vehicle] = []

    def make(**changes: Any) -> Vehicle:
        made.append(Vehicle(tmp_path, **changes))
        return made[-1]

    yield make
    for vehicle in made:
        vehicle.store.close()


@pytest.fixture
def vehicle(make: MakeVehicle) -> Vehicle:
    return make()


def failed(detail: str = "ZeroDivisionError") -> Outcome:
    return Outcome(status="error", reason="traceback", detail=detail)


def code(generation: int, set_code: Any, source: str) -> SetCode:
    message: SetCode = set_code(generation, source)
    return message


def test_a_task_goes_through_its_iterations(vehicle: Vehicle) -> None:
    vehicle.assign()
    jobs = [vehicle.iterate() for _ in range(3)]

    assert [j.iteration for j in jobs] == [1, 2, 3]
    assert [r.iteration for r in vehicle.results()] == [1, 2, 3]
    end = vehicle.end()
    assert end is not None
    assert (end.state, end.iterations) == ("finished", 3)
    assert vehicle.signals.open["job-1"].cancelled
    assert len(vehicle.table) == 0


def test_the_state_comes_back_to_the_next_iteration(vehicle: Vehicle) -> None:
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


def test_a_fault_at_one_task_ends_that_task_alone(vehicle: Vehicle) -> None:
    vehicle.assign("bad")
    vehicle.assign("good")

    def break_down() -> None:
        raise RuntimeError("a fault of ours")

    vehicle.signals.open["bad"].cancel = break_down  # type: ignore[method-assign]
    vehicle.signals.open["bad"].request = break_down  # type: ignore[method-assign]
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


def test_a_restart_takes_tasks_up_where_they_were(vehicle: Vehicle) -> None:
    vehicle.assign()
    vehicle.iterate(outcome=Outcome(status="ok", value=1, state="kept"))
    vehicle.window()
    vehicle.store.close()
    vehicle.slots = ScriptedSlots(2)

    vehicle.start()

    assert vehicle.iterate().state == "kept"
    assert [r.iteration for r in vehicle.results()] == [1, 2]


def test_a_task_that_can_no_longer_run_after_a_restart_ends_with_the_reason(
    vehicle: Vehicle,
) -> None:
    vehicle.assign()
    vehicle.store.close()
    vehicle.signals.broken = True

    vehicle.start()

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason) == ("failed", "unknown_signal")


def test_an_assignment_that_is_refused_is_not_taken_up_again(vehicle: Vehicle) -> None:
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


def test_a_window_of_a_subscription_that_is_gone_is_ignored(vehicle: Vehicle) -> None:
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


def test_a_new_version_runs_from_the_next_iteration_on(vehicle: Vehicle, set_code: Any) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", iterations="forever")
    vehicle.window()
    vehicle.orders.set_code(code(2, set_code, V2), vehicle.now)

    assert vehicle.finish().source == V1
    assert vehicle.iterate().source == V2
    assert [r.generation for r in vehicle.results()] == [1, 2]


def test_a_roll_back_runs_the_same_window_with_the_state_from_before(
    vehicle: Vehicle, set_code: Any
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
    vehicle: Vehicle, set_code: Any
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
    vehicle: Vehicle, set_code: Any
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
    vehicle: Vehicle, set_code: Any
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


def test_a_round_whose_generation_never_comes_is_answered_so(
    vehicle: Vehicle, set_code: Any
) -> None:
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


def test_code_is_kept_over_a_restart(vehicle: Vehicle, set_code: Any) -> None:
    vehicle.orders.set_code(code(1, set_code, V1), vehicle.now)
    vehicle.assign(onboard="custom", iterations="forever")
    vehicle.iterate()
    vehicle.store.close()
    vehicle.start()

    assert vehicle.iterate().source == V1
    assert vehicle.orders.modules.held()[0].generation == 1


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_pauses_every_task_and_no_outcome_is_lost(vehicle: Vehicle) -> None:
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


def test_an_order_that_cannot_be_kept_is_not_taken(vehicle: Vehicle, set_code: Any) -> None:
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


def test_a_task_withdrawn_while_the_disk_is_full_ends_when_it_is_free(vehicle: Vehicle) -> None:
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


def test_acknowledged_results_leave_the_outbox(vehicle: Vehicle) -> None:
    vehicle.assign()
    vehicle.iterate()
    (entry,) = vehicle.store.deliverable()

    vehicle.store.apply([Acknowledge((entry.seq,))])

    assert vehicle.results() == []
