"""Whether the rounds that a cloud tells follow from the results that the vehicles have signed.

Each round is held against the results that came in time, and its aggregates are computed again.
Values that are too large for a message are pulled round by round, and not kept.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from agent.sandbox import ParamsError, RoundInput, can_recompute
from user_lib.contract.assignment import Assignment
from user_lib.contract.content import megabytes
from user_lib.contract.errors import ProtocolError, Rejected
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Group, Result, RoundClosed, TaskEnded
from user_lib.contract.states import TaskState
from user_lib.verification.again import Unfit, aggregate_again, same_value, weight_of
from user_lib.verification.completeness import names
from user_lib.verification.rounds import contradictions

__all__ = ["Aggregates"]

_NO_FAULT = ("overload", "wall", "cpu", "memory", "output", "crash", "exit", "sandbox", "cloud")
"""Why a cloud may fail at what can be computed elsewhere: it has limits, or is short of means."""


T = TypeVar("T")


def _as_it_is(item: T) -> T:
    return item


@dataclass
class Aggregates:
    """Takes in what was verified to be the vehicles' own, and the rounds; then compares them."""

    whole_result: Callable[[Result], Result] = _as_it_is
    """Returns a result with its value in it. Raises: Rejected; ProtocolError."""
    whole_group: Callable[[Group], Group] = _as_it_is
    """Returns an aggregate with its value in it. Raises: as `whole_result`."""
    same: int = 0
    """How many aggregates were computed again and are the same."""
    unchecked: list[str] = field(default_factory=list)
    """What could not be compared, and why."""
    notes: dict[str, None] = field(default_factory=dict)
    _results: dict[int, dict[VehicleId, list[Result]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    _rounds: list[RoundClosed] = field(default_factory=list)
    _failed_tasks: set[VehicleId] = field(default_factory=set)

    def hear(self, item: Result | RoundClosed | TaskEnded) -> None:
        """Take in one item, once, in the order of the stream; a late result counts nowhere."""
        if isinstance(item, RoundClosed):
            self._rounds.append(item)
        elif isinstance(item, TaskEnded):
            if item.state is TaskState.FAILED:
                self._failed_tasks.add(item.vehicle_id)
        elif not item.late:
            self._results[item.iteration][item.vehicle_id].append(item)

    def problems(self, spec: Assignment, end: str | None) -> Iterator[str]:
        """Say what does not follow; ``end`` is why the job has ended, None while it goes on."""
        if not spec.has_rounds:
            if self._rounds:
                yield "rounds are told of a job that has none"
            return
        times = Counter(closed.round for closed in self._rounds)
        for number, count in times.items():
            if count > 1:
                yield f"round {number} is told {count} times"
        for closed in self._rounds:
            for problem in self._round(closed, spec):
                yield f"round {closed.round}: {problem}"
        yield from self._untold(sorted(self._results.keys() - times.keys()), spec, end)

    def _untold(self, numbers: list[int], spec: Assignment, end: str | None) -> Iterator[str]:
        """What had results in time becomes a round, unless something ended the job before that."""
        if not numbers:
            return
        named = f"{names([str(n) for n in numbers])} with results in time"
        if end is None:
            self.notes[f"no round is told yet of iterations {named}; the job goes on"] = None
        elif end in ("cancelled", "internal") or (end == "until" and spec.until is not None):
            self.notes[f"no round is told of iterations {named}; the job ended: {end}"] = None
        else:
            yield f"no round is told of iterations {named}"

    def _round(self, closed: RoundClosed, spec: Assignment) -> Iterator[str]:
        results = self._results.get(closed.round, {})
        good: dict[VehicleId, Result] = {}
        for vehicle, heard in results.items():
            if len(heard) > 1:
                yield f"{vehicle} has {len(heard)} results that are said to be in time"
            if self._counts(closed, heard[0]):
                good[vehicle] = heard[0]
        first = {vehicle: heard[0] for vehicle, heard in results.items()}
        yield from contradictions(closed, spec, first, good, self._failed_tasks)
        for group in closed.groups:
            problem = self._group(group, spec, good, closed.round)
            if problem:
                yield problem

    def _counts(self, closed: RoundClosed, result: Result) -> bool:
        """Whether a result has to count, as far as its vehicle's word goes."""
        refused = not result.weighs and closed.failed.get(result.vehicle_id) == "weight"
        return result.status == "ok" and not refused and not self._was_too_large(closed, result)

    def _was_too_large(self, closed: RoundClosed, result: Result) -> bool:
        """Whether the cloud says that it did not take a result for its size."""
        if result.payload is None or closed.failed.get(result.vehicle_id) != "content_too_large":
            return False
        size = megabytes(result.payload.size)
        self.unchecked.append(
            f"round {closed.round} without the result of {result.vehicle_id}, because the cloud "
            f"says that its {size} were too large to be taken"
        )
        return True

    def _group(
        self, group: Group, spec: Assignment, good: Mapping[VehicleId, Result], number: int
    ) -> str:
        if not group.vehicles:
            return "an aggregate counts no vehicle"
        if group.error and (group.value is not None or group.payload is not None):
            return f"an aggregate that failed has a value all the same: {_in_short(group.error)}"
        inputs = {v: r for v, r in good.items() if r.code_version == group.code_version}
        unheard = [v for v in group.vehicles if v not in inputs]
        if unheard:
            return f"the aggregate counts {names(unheard)}, without a verified result of theirs"
        counted = [inputs[v] for v in dict.fromkeys(group.vehicles)]
        try:
            return _weight_problem(group, counted) or self._again(group, spec, counted, number)
        except (Rejected, Unfit) as error:
            self.unchecked.append(f"the aggregate of round {number}, because {error}")
        except ProtocolError as error:
            return str(error)
        return ""

    def _again(self, group: Group, spec: Assignment, counted: Sequence[Result], number: int) -> str:
        return self._compare(group, spec, counted, number) if can_recompute(spec) else ""

    def _compare(
        self, group: Group, spec: Assignment, counted: Sequence[Result], number: int
    ) -> str:
        """Say how an aggregate differs from what its results make.

        Raises: Unfit; as `whole_result`.
        """
        try:
            again = aggregate_again(spec, [_input(self.whole_result(r)) for r in counted])
        except ParamsError as error:
            return "" if group.error else f"the aggregate cannot be computed again: {error}"
        if group.error:
            return self._failed(group.error, number)
        if not same_value(again, self.whole_group(group).value):
            return f"the aggregate is {again!r:.200}, not what was told"
        self.same += 1
        return ""

    def _failed(self, error: str, number: int) -> str:
        said = f"the cloud has no aggregate of what can be computed: {_in_short(error)}"
        if error.partition(":")[0] not in _NO_FAULT:
            return said
        self.notes[f"round {number}: {said}"] = None
        return ""


def _weight_problem(group: Group, counted: Sequence[Result]) -> str:
    """Say where the weight is not that of the results. Raises: Unfit, when they have none."""
    weight = weight_of(counted)
    if math.isclose(group.weight, weight, rel_tol=1e-9):
        return ""
    return f"the vehicles gave it the weight {weight:g}, the cloud says {group.weight:g}"


def _in_short(error: str) -> str:
    """Return the first line of what a cloud says, which may be anything."""
    return f"{error.strip().partition(chr(10))[0]:.200}"


def _input(result: Result) -> RoundInput:
    return RoundInput(
        vehicle=result.vehicle_id,
        value=result.value,
        weight=result.weight,
        partial=result.partial,
        code_version=result.code_version,
    )
