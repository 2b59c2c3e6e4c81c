"""Whether what a round tells of its vehicles agrees with what they signed, and with itself.

Who was a member, who was missing, and what came in time, is the cloud's word. But each member has
one place; who answered was not missing; a failure is signed, as a result or as the end of a task;
and whether enough have answered is a matter of counting.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from user_lib.contract.assignment import Assignment
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Result, RoundClosed
from user_lib.contract.quorum import is_met
from user_lib.contract.states import RoundState
from user_lib.verification.completeness import names

__all__ = ["contradictions"]

TASK_ENDED = "task ended: "


def contradictions(
    closed: RoundClosed,
    spec: Assignment,
    heard: Mapping[VehicleId, Result],
    good: Mapping[VehicleId, Result],
    failed_tasks: Collection[VehicleId],
) -> Iterator[str]:
    """Say what cannot be.

    ``heard`` are the results in time, ``good`` those of them that are to count; ``failed_tasks``
    are vehicles that have signed that their task failed.
    """
    yield from _of_another(closed, spec)
    yield from _places(closed, good)
    yield from _failures(closed, heard, failed_tasks)
    yield from _verdict(closed, spec)
    counted = {v for group in closed.groups for v in group.vehicles}
    if counted <= good.keys():
        yield from _sums(closed, [good[v] for v in counted])


def _sums(closed: RoundClosed, counted: Collection[Result]) -> Iterator[str]:
    """What the vehicles missed is added up."""
    lost = sum(result.lost_frames for result in counted)
    if lost != closed.lost_frames:
        yield f"the vehicles lost {lost} frames, the cloud says {closed.lost_frames}"
    away_ms = sum(result.away_ms for result in counted)
    if away_ms != closed.away_ms:
        yield f"interfaces were away for {away_ms} ms, the cloud says {closed.away_ms}"


def _of_another(closed: RoundClosed, spec: Assignment) -> Iterator[str]:
    """Say where it is no round of this assignment."""
    last = spec.last_iteration
    if closed.round < 1 or (last is not None and closed.round > last):
        yield f"there is no such round in {spec.iterations} iterations"
    if closed.offboard_method != spec.offboard:
        yield f"it is of {closed.offboard_method}, not of {spec.offboard}"
    if closed.offboard_version and spec.offboard != "custom":
        yield f"{spec.offboard} has no versions, the cloud says {closed.offboard_version:.8}"


def _places(closed: RoundClosed, good: Mapping[VehicleId, Result]) -> Iterator[str]:
    """Each group has a version of its own, and each result its one place in or beside them."""
    versions = [group.code_version for group in closed.groups]
    if len(set(versions)) < len(versions):
        yield "two aggregates are of the same code version"
    places = Counter(v for group in closed.groups for v in group.vehicles)
    repeated = sorted(v for v, times in places.items() if times > 1)
    if repeated:
        yield f"{names(repeated)} counted more than once"
    everywhere = Counter([*places, *closed.failed, *closed.not_counted, *closed.missing])
    torn = sorted(v for v, times in everywhere.items() if times > 1)
    if torn:
        yield f"{names(torn)} told in more than one place: counted, failed, missing, not counted"
    yield from _beside(closed, good, places.keys())


def _beside(
    closed: RoundClosed, good: Mapping[VehicleId, Result], counted: Collection[VehicleId]
) -> Iterator[str]:
    versions = [group.code_version for group in closed.groups]
    beside: Counter[str] = Counter()
    left_out = []
    for vehicle, result in sorted(good.items()):
        version = result.code_version
        if vehicle in counted:
            continue
        if version not in versions and closed.not_counted.get(vehicle) == version:
            beside[version] += 1
        else:
            left_out.append(vehicle)
    if left_out:
        yield f"the results of {names(left_out)} were in time and are left out"
    unheard = sorted(closed.not_counted.keys() - good.keys())
    if unheard:
        yield f"{names(unheard)} told as of another version, without a verified result of theirs"
    most = max((len(group.vehicles) for group in closed.groups), default=0)
    if max(beside.values(), default=0) > most:
        yield "what counts is not the code version of the most vehicles"


def _failures(
    closed: RoundClosed, heard: Mapping[VehicleId, Result], failed_tasks: Collection[VehicleId]
) -> Iterator[str]:
    """What failed is what vehicles say that failed, for the reason that they give."""
    invented = []
    for vehicle, reason in sorted(closed.failed.items()):
        if vehicle in heard:
            founded = reason in _reasons(heard[vehicle])
        else:
            founded = vehicle in failed_tasks and reason.startswith(TASK_ENDED)
        if not founded:
            invented.append(vehicle)
    if invented:
        yield f"{names(invented)} told as failed, which they have not signed"
    failed = (v for v, result in heard.items() if result.status != "ok")
    untold = sorted(v for v in failed if v not in closed.failed)
    if untold:
        yield f"the failures of {names(untold)} were in time and are left out"


def _reasons(result: Result) -> list[str]:
    """Return why a round may have failed for the vehicle of a result."""
    reasons = [] if result.status == "ok" else [result.reason or result.status]
    if not result.weighs:
        reasons.append("weight")
    if result.payload is not None:
        reasons.append("content_too_large")
    return reasons


def _verdict(closed: RoundClosed, spec: Assignment) -> Iterator[str]:
    """Complete is what enough members answered; of custom code each version may have its own."""
    answered = {v for group in closed.groups for v in group.vehicles}
    answered |= closed.failed.keys() | closed.not_counted.keys()
    members = len(answered | set(closed.missing))
    if not members:
        yield "it has no members"
        return
    right = is_met(spec.quorum, len(answered), members)
    known = spec.onboard != "custom" or len(answered) in (0, members)
    state = RoundState.COMPLETE if right else RoundState.SHORT
    if closed.state is RoundState.OPEN or (known and closed.state is not state):
        yield (
            f"the cloud says {closed.state}, but {len(answered)} of {members} vehicles answered "
            f"and the quorum is {spec.quorum:g}"
        )
