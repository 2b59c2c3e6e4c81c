"""A vehicle without link, bus and sandbox: the test says what comes from there."""

import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.contents import Contents
from agent.orders import Orders, Rules
from agent.policy import Allowance, Policy
from agent.sandbox import Job, Outcome
from agent.store import Store
from agent.tasks.live import Surroundings
from agent.tasks.modules import Modules
from agent.tasks.ports import Arrived, Finished, News
from agent.tasks.receipt import Identity
from agent.tasks.table import Table
from agent.tasks.task import Now
from agent.trust import Trust
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.messages import Assign, Result, TaskEnded, TaskHeld
from user_lib.contract.validation import parse
from user_lib.contract.window import Window


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

    def aliases(self, name: str) -> tuple[frozenset[str], ...]:
        return (frozenset({name}),)

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
        self.trust = Trust("car-1", None)
        self.signals = ScriptedSignals()
        self.slot_count = slots
        self.time_s = 0.0
        self.start()

    def start(self) -> None:
        """Begin as a process does: only what is in the store is known."""
        self.slots = ScriptedSlots(self.slot_count)
        self.store = Store(self.directory, outbox_mb=10)
        identity = Identity("car-1", self.store.epoch, "1.0", "hash")
        modules = Modules(self.store.slots)
        self.contents = Contents(self.store, 10_000_000)
        self.allowance = Allowance(self.policy, self.store.account)
        around = Surroundings(
            identity, self.store, self.signals, self.slots, self.allowance, lambda news: None,
            self.contents,
        )  # fmt: skip
        self.table = Table(around, modules)
        self.rules = Rules(
            self.policy, frozenset(), self.signals, self.trust, identity.cap, self.barred
        )
        self.orders = Orders(identity, self.rules, self.store, self.table, modules)
        self.orders.resume(self.now)
        self.tick()

    def renew(self, policy: Policy) -> None:
        """Go on by other rules, as a reload does."""
        self.policy = policy
        self.orders.renew(replace(self.rules, policy=policy), "hash", self.now)
        self.tick()

    @property
    def now(self) -> Now:
        return Now(int(self.time_s * 1e9), int((1_800_000_000 + self.time_s) * 1e9))

    def tick(self, seconds: float = 0.0) -> None:
        self.time_s += seconds
        self.table.tick(self.now)
        self.orders.tick(self.now)

    def assign(self, name: str = "job-1", **changes: Any) -> None:
        plain = {
            "signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 3},
            "iterations": 3, "name": name,
        }  # fmt: skip
        spec = parse({**plain, **changes})
        self.orders.assign(Assign(assignment_id=name, analyst="ana", spec=spec), self.now)
        self.tick()

    def window(self, name: str = "job-1", **lacks: int) -> None:
        """Deliver the window that a task asked for."""
        subscription = self.signals.open[name]
        assert subscription.requested == 1, "no window was asked for"
        subscription.requested = 0
        speed = np.arange(3.0)
        window = Window({"Vehicle.Speed": speed}, {"Vehicle.Speed": np.arange(3)}, 0, 3, **lacks)
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


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Vehicle]]:
    """Return a maker of vehicles whose stores end with the test."""
    made: list[Vehicle] = []

    def make(**changes: Any) -> Vehicle:
        made.append(Vehicle(tmp_path, **changes))
        return made[-1]

    yield make
    for vehicle in made:
        vehicle.store.close()


@pytest.fixture
def vehicle(make: Callable[..., Vehicle]) -> Vehicle:
    """Return a vehicle with two worker slots."""
    return make()


@pytest.fixture(scope="session")
def fresh_vehicle() -> Callable[[], Any]:
    """Return a context of one vehicle in a directory of its own."""

    @contextmanager
    def fresh() -> Iterator[Vehicle]:
        with tempfile.TemporaryDirectory() as directory:
            vehicle = Vehicle(Path(directory))
            try:
                yield vehicle
            finally:
                vehicle.store.close()

    return fresh
