"""Whether anything is missing of what a job's vehicles committed, by their own signed words.

Each result says how many iterations its task had committed with it (``serial``), the end of a task
how many in all, and a record of losses which ones the vehicle itself had to drop. So what a cloud
holds back leaves a gap; only what comes after the last word of a vehicle can be missing unnoticed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.runs import Run, joined, length, without

__all__ = ["Completeness", "names"]

SHOWN = 20


@dataclass
class _Told:
    """What one vehicle said in one epoch."""

    serials: dict[int, int] = field(default_factory=dict)
    """Of its results, with their iterations."""
    twice: set[int] = field(default_factory=set)
    lost: list[Run] = field(default_factory=list)
    committed: int = 0
    """By the end of its task."""

    @property
    def missing(self) -> int:
        """How many of its committed iterations are neither here nor told as lost."""
        known = max(self.committed, max(self.serials, default=0))
        here = joined((iteration, iteration) for iteration in self.serials.values())
        lost = without(joined(self.lost), here)
        return max(0, known - len(self.serials) - length(lost))


class Completeness:
    """Takes in what was verified to be the vehicles' own; then tells what does not add up."""

    def __init__(self) -> None:
        self._told: dict[tuple[VehicleId, str], _Told] = defaultdict(_Told)
        self._ends: dict[VehicleId, TaskEnded] = {}

    def hear(self, item: Result | Losses | TaskEnded) -> None:
        """Take in one item; the same one again changes nothing."""
        told = self._told[item.vehicle_id, item.epoch]
        match item:
            case Result(serial=serial, iteration=iteration):
                if serial and told.serials.setdefault(serial, iteration) != iteration:
                    told.twice.add(serial)
            case Losses(iterations=runs):
                told.lost += runs
            case TaskEnded(iterations=iterations):
                told.committed = max(told.committed, iterations)
                self._ends[item.vehicle_id] = item

    def problems(self) -> Iterator[str]:
        """Say what is missing or there twice, by vehicle."""
        for (vehicle, _), told in sorted(self._told.items()):
            if told.missing:
                yield (
                    f"{vehicle}: {told.missing} iterations that it committed are missing"
                    f"{_where(told)}: held back, or still on their way"
                )
            if told.twice:
                numbers = ", ".join(map(str, sorted(told.twice)[:SHOWN]))
                yield f"{vehicle}: two results say that they are the same one ({numbers})"

    def notes(self, vehicles: Iterable[VehicleId], *, over: bool) -> Iterator[str]:
        """Say what rests on the cloud's word; ``over`` when it says that the job has ended."""
        withdrawn = sorted(e.vehicle_id for e in self._ends.values() if e.reason == "withdrawn")
        if withdrawn:
            yield f"the cloud, not you, ended the tasks of {names(withdrawn)}"
        lives: dict[VehicleId, int] = defaultdict(int)
        for vehicle, _ in self._told:
            lives[vehicle] += 1
        anew = sorted(v for v, n in lives.items() if n > 1)
        if anew:
            yield f"what was not delivered when they lost their state is gone: {names(anew)}"
        silent = sorted(set(vehicles) - self._ends.keys()) if over else []
        if silent:
            yield f"these have not said that their task ended, so more may come: {names(silent)}"


def _where(told: _Told) -> str:
    """Say after which iterations the gaps are."""
    before_gaps = [s for s in sorted(told.serials)[:-1] if s + 1 not in told.serials]
    after = [told.serials[s] for s in before_gaps[:SHOWN]]
    return f" (after {', '.join(map(str, after))})" if after else ""


def names(things: list[str]) -> str:
    """Return the first of them for a person to read, and how many more there are."""
    more = len(things) - SHOWN
    return ", ".join(things[:SHOWN]) + (f" and {more} more" if more > 0 else "")
