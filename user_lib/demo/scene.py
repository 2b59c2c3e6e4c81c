"""What the demo has seen so far: from events to the lines and the board that a person reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from user_lib.contract.escaping import escaped
from user_lib.contract.messages import Event, JobChanged, Result, RoundClosed, VehicleInfo
from user_lib.contract.states import TASK_ENDS, TaskState
from user_lib.results import SHORT_VERSION, Round, VehicleResult
from user_lib.tables import say

__all__ = ["Board", "JobSeen", "Scene"]

LINES_KEPT = 400


@dataclass
class JobSeen:
    """One job of the demo: how much came back, and the last of it."""

    label: str
    vehicles: tuple[str, ...]
    last_seq: int = 0
    results: int = 0
    rounds: int = 0
    last: str = ""
    by_version: dict[str, int] = field(default_factory=dict)
    """How many results each code version produced."""
    round_versions: list[str] = field(default_factory=list)
    """The code version that counted, round by round."""


@dataclass(frozen=True)
class Board:
    """A moment of the demo, to be drawn: rows of vehicles, rows of jobs, the newest lines."""

    step: str
    vehicles: list[list[str]]
    jobs: list[list[str]]
    lines: list[str]


class Scene:
    """Collects what happens; `new_lines` are those not yet told, `board` is the whole picture."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobSeen] = {}
        self.step = ""
        self._vehicles: list[list[str]] = []
        self._lines: list[str] = []
        self._told = 0

    def begin(self, step: str) -> None:
        """Open the next chapter."""
        self.step = step
        self.tell(f"── {step}")

    def tell(self, line: str) -> None:
        """Add a line of what happened; the oldest are forgotten."""
        self._lines.append(escaped(line))
        surplus = len(self._lines) - LINES_KEPT
        if surplus > 0:
            del self._lines[:surplus]
            self._told = max(0, self._told - surplus)

    def new_lines(self) -> list[str]:
        """Return the lines since the last call."""
        new = self._lines[self._told :]
        self._told = len(self._lines)
        return new

    def see_event(self, job_id: str, event: Event) -> None:
        """Take in one event of a job."""
        job = self.jobs[job_id]
        job.last_seq = event.seq
        match event.item:
            case Result() as result:
                self._see_result(job, VehicleResult(result))
            case RoundClosed() as closed:
                job.rounds += 1
                job.round_versions.append(closed.groups[0].code_version if closed.groups else "")
                job.last = _say_round(closed)
                self.tell(f"   cloud ▶ analyst    {job.label:<8} {job.last}")
            case JobChanged() as changed:
                self._see_change(job, changed)

    def see_vehicles(self, vehicles: Mapping[str, VehicleInfo], labels: Mapping[str, str]) -> None:
        """Take in what the vehicles are doing; ``labels`` names the jobs."""
        self._vehicles = [
            [v.vehicle_id, say(v.model), "online" if v.online else "offline", _say_tasks(v, labels)]
            for v in sorted(vehicles.values(), key=lambda v: v.vehicle_id)
        ]

    def board(self, lines: int) -> Board:
        """Return the picture of now with the last ``lines`` lines."""
        jobs = [[j.label, str(j.results), str(j.rounds), j.last] for j in self.jobs.values()]
        return Board(self.step, self._vehicles, jobs, self._lines[-lines:])

    def _see_result(self, job: JobSeen, result: VehicleResult) -> None:
        job.results += 1
        if result.ok:
            version = result.code_version
            job.by_version[version] = job.by_version.get(version, 0) + 1
        said = say(_in_short(result.value), width=70) if result.ok else result.error_in_short
        code = f" [code {result.code_version[:SHORT_VERSION]}]" if result.code_version else ""
        line = f"   {result.vehicle:<9} ▶ cloud {job.label:<8} {result.iteration}: {said}{code}"
        self.tell(line)
        if not job.rounds:
            job.last = f"{result.vehicle}: {said}"

    def _see_change(self, job: JobSeen, changed: JobChanged) -> None:
        if changed.vehicle_id and changed.task_state is not None:
            why = " ".join(filter(None, (changed.reason, changed.detail)))
            why = f": {say(why, width=80)}" if why else ""
            self.tell(f"   {changed.vehicle_id:<9} {job.label} {changed.task_state}{why}")
        elif not changed.vehicle_id:
            why = f" ({changed.reason})" if changed.reason not in ("", str(changed.state)) else ""
            self.tell(f"   cloud     {job.label} {changed.state}{why}")


def _say_round(closed: RoundClosed) -> str:
    short = tuple(msgspec.structs.replace(g, value=_in_short(g.value)) for g in closed.groups)
    return repr(Round(msgspec.structs.replace(closed, groups=short)))


def _in_short(value: object) -> object:
    """Return how many samples there are in place of them, and the ends of signals' long names."""
    if isinstance(value, Mapping) and "times_ns" in value:
        kept = value.get("values")
        count = len(kept) if isinstance(kept, list) else 0
        highest = f", up to {max(kept):.1f}" if isinstance(kept, list) and kept else ""
        return f"{count} of {value.get('of', count)} samples{highest}"
    if isinstance(value, Mapping):
        return {_tail(str(key)): _in_short(inner) for key, inner in value.items()}
    return value


def _tail(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _say_tasks(vehicle: VehicleInfo, labels: Mapping[str, str]) -> str:
    return "; ".join(
        f"{labels[task.assignment_id]} {task.iteration} {_say_state(task.state)}"
        for task in vehicle.tasks
        if task.assignment_id in labels and task.state not in TASK_ENDS
    )


def _say_state(state: TaskState) -> str:
    return {TaskState.GATHERING: "gathers", TaskState.RUNNING: "computes"}.get(state, str(state))
