"""What the demo does with its fleet: three questions, a swap of code under way, the answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from user_lib.code.slots import CodeUpdate, SwapLatency
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.messages import VehicleInfo
from user_lib.demo.modules import FIRST_VERSION, SECOND_VERSION
from user_lib.demo.scene import JobSeen, Scene
from user_lib.demo.view import View
from user_lib.fleet import Fleet
from user_lib.job import Job
from user_lib.results import SHORT_VERSION

__all__ = ["Outcome", "Story"]

TICK_S = 0.2
CHAPTER_S = 15.0
"""How long a chapter may take at most; the demo then goes on and says what it did not see."""
ROUNDS_A_CHAPTER = 3
FAST_KM_H = 45

MEAN = {
    "name": "mean",
    "signals": ["Vehicle.Speed", "Vehicle.Powertrain.CombustionEngine.Speed"],
    "window": {"seconds": 16},
    "onboard": "mean",
    "offboard": "weighted_mean",
    "iterations": "forever",
}
MONITOR = {
    "name": "monitor",
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 16},
    "onboard": "threshold",
    "onboard_params": {"above": FAST_KM_H},
    "offboard": "collect",
    "iterations": "forever",
}
CUSTOM = {
    "name": "custom",
    "signals": ["Vehicle.Acceleration.Longitudinal"],
    "window": {"seconds": 12},
    "onboard": "custom",
    "offboard": "mean",
    "iterations": "forever",
}


@dataclass(frozen=True)
class Outcome:
    """What the demo showed; ``unseen`` names what did not happen in time."""

    vehicles: tuple[str, ...]
    jobs: tuple[JobSeen, ...]
    first_version: str
    second_version: str
    swap: SwapLatency
    unseen: tuple[str, ...]
    seconds: float


class Story:
    """Plays the demo against a running fleet, drawing as it goes."""

    def __init__(self, fleet: Fleet, view: View, clock: Clock) -> None:
        self._fleet = fleet
        self._view = view
        self._clock = clock
        self._scene = Scene()
        self._jobs: list[Job] = []
        self._unseen: list[str] = []

    def play(self) -> Outcome:
        """Play all chapters; the jobs are cancelled at the end."""
        started_ns = self._clock.monotonic_ns()
        vehicles = self._show_vehicles()
        first = self._ask_three_questions()
        second = self._swap()
        for job in self._jobs:
            job.cancel()
        self._scene.begin("All jobs cancelled; what came back stays in the cloud's ledger")
        self._look()
        return Outcome(
            vehicles=tuple(v.vehicle_id for v in vehicles),
            jobs=tuple(self._scene.jobs.values()),
            first_version=first.version,
            second_version=second.version,
            swap=second.latency,
            unseen=tuple(self._unseen),
            seconds=(self._clock.monotonic_ns() - started_ns) / SECOND,
        )

    def _show_vehicles(self) -> list[VehicleInfo]:
        vehicles = list(self._fleet.vehicles())
        models = {v.model for v in vehicles}
        self._scene.begin(f"{len(vehicles)} vehicles of {len(models)} models are online")
        for v in vehicles:
            count = len(self._fleet.signals(v.vehicle_id))
            self._scene.tell(f"   {v.vehicle_id:<9} {v.model}, {count} signals by VSS and DBC name")
        return vehicles

    def _ask_three_questions(self) -> CodeUpdate:
        self._scene.begin("The analyst asks: a mean, a monitor above 45 km/h, a custom module")
        update = self._push(FIRST_VERSION, "version 1")
        mean, _, custom = [self._submit(spec) for spec in (MEAN, MONITOR, CUSTOM)]
        self._watch(
            "rounds of the mean and of the custom code",
            lambda: min(mean.rounds, custom.rounds) >= ROUNDS_A_CHAPTER,
        )
        return update

    def _swap(self) -> CodeUpdate:
        """Swap while everything runs; see it in the results of every vehicle."""
        self._scene.begin("The analyst swaps the custom code; nothing is restarted")
        update = self._push(SECOND_VERSION, "version 2")
        custom = self._scene.jobs[self._jobs[-1].id]
        self._watch(
            "rounds of version 2",
            lambda: custom.round_versions.count(update.version) >= ROUNDS_A_CHAPTER,
        )
        return CodeUpdate(self._fleet.code_status().onboard, update.call_ms)

    def _push(self, source: str, name: str) -> CodeUpdate:
        update = self._fleet.update_code(source)
        version = update.version[:SHORT_VERSION]
        self._scene.tell(f"   analyst ▶ vehicles  {name} [code {version}]: {update.latency}")
        if update.pending or update.refused:
            self._unseen.append(f"{name} armed on {', '.join([*update.pending, *update.refused])}")
        return update

    def _submit(self, spec: dict[str, Any]) -> JobSeen:
        job = self._fleet.assign(spec)
        seen = JobSeen(spec["name"], job.vehicles)
        self._jobs.append(job)
        self._scene.jobs[job.id] = seen
        where = ", ".join(job.vehicles)
        self._scene.tell(f"   analyst ▶ vehicles  {seen.label} ({spec['onboard']}) to {where}")
        return seen

    def _watch(self, what: str, happened: Callable[[], bool]) -> None:
        """Look until something has happened or the chapter is over."""
        until_ns = self._clock.monotonic_ns() + int(CHAPTER_S * SECOND)
        while not happened():
            if self._clock.monotonic_ns() > until_ns:
                self._unseen.append(what)
                return
            self._look()
            time.sleep(TICK_S)

    def _look(self) -> None:
        """Read what is new, and draw it."""
        for job in self._jobs:
            seen = self._scene.jobs[job.id]
            for event in job.events_so_far(seen.last_seq):
                self._scene.see_event(job.id, event)
        vehicles = {v.vehicle_id: v for v in self._fleet.vehicles()}
        self._scene.see_vehicles(vehicles, {j: s.label for j, s in self._scene.jobs.items()})
        self._view.draw(self._scene)
