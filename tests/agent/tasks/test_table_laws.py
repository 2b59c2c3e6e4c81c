"""Under any order of windows, outcomes, code, full disks and crashes every result is true."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sandbox import Outcome
from user_lib.contract.code import version_of
from user_lib.contract.messages import Result, SetCode

NAMES = ("a", "b", "c")
OUTCOMES = (
    Outcome(status="ok", value=1, state="s"),
    Outcome(status="error", reason="traceback", detail="boom"),
    Outcome(status="killed", reason="wall", detail="too long"),
    Outcome(status="refused", reason="sandbox", detail="no zygote"),
)


class Story:
    """What was told to a vehicle, and what its results must agree with."""

    def __init__(self, vehicle: Any, *, has_faults: bool) -> None:
        self.vehicle, self.has_faults = vehicle, has_faults
        self.sources: dict[int, str] = {}
        self.ran: dict[tuple[str, int], str] = {}
        """The source of the last run of an iteration, by task."""
        self.disk_full: Any = None
        self.failed: set[str] = set()
        """Sources that were rolled back."""
        self.worked = False
        """Whether any version has given a value."""
        for name in NAMES:
            custom = {"onboard": "custom", "onboard_params": {"name": name}}
            vehicle.assign(name, iterations=4, **({} if name == "c" else custom))

    def code(self, generation: int) -> None:
        source = f"def custom(xs):\n    return {generation}\n"
        self.sources[generation] = source
        order = SetCode(
            analyst="ana", generation=generation, version=version_of(source), source=source
        )
        self.vehicle.orders.set_code(order, self.vehicle.now)

    def step(self, draw: st.DataObject) -> None:
        moves: list[Callable[[], None]] = [
            lambda: self.code(len(self.sources) + 1),
            lambda: self.vehicle.tick(2),
        ]
        if self.has_faults:
            moves += [self.crash, self.free_disk if self.disk_full else self.fill_disk]
        moves += 3 * [
            lambda n=name: self.vehicle.window(n)
            for name, sub in self.vehicle.signals.open.items()
            if sub.requested and not sub.cancelled
        ]
        moves += 3 * [lambda i=i: self.finish(i, draw) for i in range(len(self.vehicle.slots.jobs))]
        draw.draw(st.sampled_from(moves))()

    def finish(self, which: int, draw: st.DataObject) -> None:
        self.run(draw.draw(st.sampled_from(OUTCOMES)), which)

    def run(self, outcome: Outcome, which: int = 0) -> None:
        """End a job, and look at those that begin because of it."""
        before, worked = set(self.vehicle.slots.jobs), self.worked
        job = self.vehicle.finish(outcome, which=which)
        if job.source is not None:
            self.ran[job.params["name"], job.iteration] = job.source
        for ticket in self.vehicle.slots.jobs.keys() - before:
            begun = self.vehicle.slots.jobs[ticket]
            assert begun.source not in self.failed, "a version that was rolled back runs again"
        end = self.vehicle.end(job.params.get("name", "c"))
        if worked and not self.has_faults and end is not None:
            assert end.reason != "code_failed", "something good was left"
        self.worked = worked or (outcome.ok and job.source is not None)

    def fill_disk(self) -> None:
        self.disk_full = self.vehicle.full_disk()
        self.disk_full.__enter__()

    def free_disk(self) -> None:
        full, self.disk_full = self.disk_full, None
        if full is not None:
            full.__exit__(None, None, None)

    def crash(self) -> None:
        self.free_disk()
        self.vehicle.store.close()
        self.vehicle.signals.open.clear()
        self.vehicle.start()

    def check(self) -> None:
        vehicle = self.vehicle
        assert vehicle.table.faults == 0
        assert len(vehicle.slots.jobs) <= vehicle.slot_count
        for name in NAMES:
            results, end = vehicle.results(name), vehicle.end(name)
            assert [r.iteration for r in results] == list(range(1, len(results) + 1))
            assert (end is None) == (vehicle.held(name) is not None)
            if end is not None:
                assert end.iterations == len(results)
            for result in results:
                self.check_origin(result)

    def check_origin(self, result: Result) -> None:
        if result.method == "mean":
            assert (result.code_version, result.generation) == ("", 0)
            return
        source = self.sources[result.generation]
        assert result.code_version == version_of(source)
        assert self.ran[result.assignment_id, result.iteration] == source
        if result.rolled_back is not None:
            failed = result.rolled_back.failed_version
            assert failed != result.code_version
            self.failed |= {s for s in self.sources.values() if version_of(s) == failed}

    def end(self) -> None:
        """Let everything come that is due: no task may be stuck."""
        self.free_disk()
        self.vehicle.tick(2)
        self.code(len(self.sources) + 1)
        self.vehicle.tick()
        for _ in range(60):
            for name, sub in list(self.vehicle.signals.open.items()):
                if sub.requested and not sub.cancelled:
                    self.vehicle.window(name)
            while self.vehicle.slots.jobs:
                self.run(OUTCOMES[0])
        assert len(self.vehicle.table) == 0
        self.check()


@settings(max_examples=50, deadline=None)
@given(draw=st.data(), has_faults=st.booleans(), steps=st.integers(10, 50))
def test_results_are_true_whatever_happens(
    fresh_vehicle: Callable[[], Any], draw: st.DataObject, has_faults: bool, steps: int
) -> None:
    with fresh_vehicle() as vehicle:
        story = Story(vehicle, has_faults=has_faults)
        try:
            for _ in range(steps):
                story.step(draw)
                if not story.disk_full:
                    story.check()
            story.end()
        finally:
            story.free_disk()
