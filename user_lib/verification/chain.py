"""The chain from an analyst's order to the numbers, verified without trusting the cloud.

::

    the assignment        signed by the analyst
      ├─ each result      signed by the vehicle that computed it, for this assignment
      │    └─ its code    a version that the analyst signed for that vehicle and generation
      ├─ losses and ends  signed by the vehicle; with them and the results, nothing is missing
      └─ each aggregate   of the signed results that came in time, each once; computed again, with
                            their signed weights, where the method is built in

What the cloud alone says, and what nobody can verify, is told as such: feedback, custom off-board
code, which vehicles were late or missing. What could be verified if the cloud still had, or gave,
the bytes that were signed is told as unchecked, with the cloud's reason.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.sandbox import can_recompute
from user_lib.contents import Contents
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import SignatureError
from user_lib.contract.ids import AssignmentId, VehicleId
from user_lib.contract.messages import (
    Events,
    JobChanged,
    JobInfo,
    Losses,
    Proof,
    Result,
    RoundClosed,
    TaskEnded,
)
from user_lib.contract.signed import AssignmentOrder, SlotOrder, assignment_id_of
from user_lib.contract.signing import open_assignment, open_slot, verify_item
from user_lib.contract.states import JOB_ENDS
from user_lib.vehicle_cards import VehicleCards
from user_lib.verification.aggregates import Aggregates
from user_lib.verification.audience import Audience
from user_lib.verification.completeness import Completeness
from user_lib.verification.findings import Verification
from user_lib.verification.order import differences
from user_lib.verification.repeats import Heard
from user_lib.verification.vehicle_words import is_vehicles_word, tells
from user_lib.wire.keys import Keys

__all__ = ["verify"]


@dataclass
class _Findings:
    aggregates: Aggregates
    problems: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    results: int = 0
    late: int = 0
    """Of the results, by the cloud's word."""
    heard: Heard = field(default_factory=Heard)
    repeats: Counter[str] = field(default_factory=Counter)
    """How often a result was told again, by its name."""
    complete: Completeness = field(default_factory=Completeness)
    audience: Audience = field(default_factory=Audience)
    end: str | None = None
    """Why the job has ended, as the cloud says; None while it goes on."""


def verify(
    told: JobInfo,
    proof: Proof,
    pages: Iterable[Events],
    keys: Keys,
    cards: VehicleCards,
    large: Contents,
) -> Verification:
    """Verify everything that came back so far for the assignment that the cloud tells of.

    A signature covers the name of what is too large for its message, and so its every byte.
    """
    assignment_id = told.assignment_id
    found = _Findings(Aggregates(large.whole_result, large.whole_group))
    order = _assignment(assignment_id, proof, keys, found)
    spec = None if order is None else order.spec
    contents = _contents(proof, keys, found)
    for page in pages:
        _page(page, assignment_id, spec, contents, cards, found)
    for ended in proof.ends:
        _said(ended, f"the end on {ended.vehicle_id}", assignment_id, cards, found)
    found.problems += [*_repeats(found), *found.complete.problems()]
    found.audience.members.update(card.name for card in proof.cards)
    over = found.end is not None
    if order is not None:
        found.problems += differences(order, told)
        found.problems += found.aggregates.problems(order.spec, found.end)
        found.problems += found.audience.problems(order, _named(told), over=over)
    return Verification(
        assignment_id,
        tuple(found.problems),
        (*found.aggregates.unchecked, *found.audience.unchecked(order)),
        (*found.notes, *found.complete.notes(found.audience.members, over=over), *_lateness(found)),
        found.results,
        found.aggregates.same,
    )


def _named(told: JobInfo) -> Iterable[VehicleId]:
    """Return names of vehicles that may have been meant; the order alone says which were."""
    named = told.spec.vehicles
    return (*told.vehicles, *named) if isinstance(named, tuple) else told.vehicles


def _lateness(found: _Findings) -> tuple[str, ...]:
    """Say what nobody but the cloud knows: when a result came, and so in which round it counts."""
    notes = tuple(found.aggregates.notes)
    if not found.late:
        return notes
    word = f"that {found.late} of the results were late, and so count in no round, is the cloud's"
    return (*notes, f"{word} word alone")


def _page(
    page: Events,
    assignment_id: AssignmentId,
    spec: Assignment | None,
    contents: dict[int, SlotOrder],
    cards: VehicleCards,
    found: _Findings,
) -> None:
    for event in page.events:
        if isinstance(event.item, RoundClosed):
            _round(event.item, assignment_id, found)
        elif isinstance(event.item, JobChanged):
            _change(event.item, assignment_id, cards, found)
        elif _result(event.item, assignment_id, contents, cards, found) and _once(
            event.item, found
        ):
            if spec is not None and event.item.method != spec.onboard:
                name = f"iteration {event.item.iteration} of {event.item.vehicle_id}"
                found.problems.append(f"{name}: it is of {event.item.method}, not {spec.onboard}")
            found.late += event.item.late
            found.aggregates.hear(event.item)
    if page.ended and found.end is None:
        found.end = ""


def _round(closed: RoundClosed, assignment_id: AssignmentId, found: _Findings) -> None:
    if closed.assignment_id != assignment_id:
        found.problems.append(
            f"round {closed.round}: it is of another assignment, {closed.assignment_id}"
        )
        return
    found.aggregates.hear(closed)
    found.audience.hear(closed)


def _once(result: Result, found: _Findings) -> bool:
    """Whether a result was not told before; a repeat counts nowhere, and is told of."""
    if found.heard.is_new(result):
        found.results += 1
        return True
    found.repeats[f"iteration {result.iteration} of {result.vehicle_id}"] += 1
    return False


def _repeats(found: _Findings) -> Iterator[str]:
    for name, times in found.repeats.items():
        yield f"{name}: the cloud tells it {times + 1} times"


def _assignment(
    assignment_id: AssignmentId, proof: Proof, keys: Keys, found: _Findings
) -> AssignmentOrder | None:
    """Return what the analyst signed; the cloud's own account of it is not used."""
    if proof.signed is None:
        found.problems.append("the assignment is not signed")
        return None
    try:
        order = open_assignment(proof.signed, [keys.card])
    except SignatureError as error:
        found.problems.append(f"the assignment: {error}")
        return None
    named = assignment_id_of(order.analyst, order.token)
    if named != assignment_id:
        found.problems.append(f"the order that the cloud shows is that of {named}")
        return None
    spec = order.spec
    if spec.feedback:
        found.notes["feedback is the cloud's own: its input to each round is not signed"] = None
    if not can_recompute(spec):
        found.notes[f"aggregates of {spec.offboard} are not computed again"] = None
    if order.audience is None:
        found.notes["which vehicles were selected is the cloud's own decision"] = None
    return order


def _contents(proof: Proof, keys: Keys, found: _Findings) -> dict[int, SlotOrder]:
    contents: dict[int, SlotOrder] = {}
    for signed in proof.code:
        try:
            order = open_slot(signed, [keys.card])
        except SignatureError as error:
            found.problems.append(f"a content of the code slot: {error}")
            continue
        if order.side == "onboard":
            contents[order.generation] = order
    return contents


def _result(
    result: Result,
    assignment_id: AssignmentId,
    contents: dict[int, SlotOrder],
    cards: VehicleCards,
    found: _Findings,
) -> bool:
    name = f"iteration {result.iteration} of {result.vehicle_id}"
    if not _said(result, name, assignment_id, cards, found):
        return False
    if cards.origin(result.vehicle_id) == "first use":
        found.notes["the vehicles' keys were trusted on first use; pin them to be sure"] = None
    problem = _code_problem(result, contents)
    if problem:
        found.problems.append(f"{name}: {problem}")
    return not problem


def _change(
    changed: JobChanged, assignment_id: AssignmentId, cards: VehicleCards, found: _Findings
) -> None:
    if changed.state in JOB_ENDS and not changed.vehicle_id:
        found.end = changed.reason
    if changed.vehicle_id:
        found.audience.heard.add(changed.vehicle_id)
    if not is_vehicles_word(changed):
        return
    name = f"{changed.reason} of {changed.vehicle_id}"
    if changed.said is None or not tells(changed, changed.said):
        found.problems.append(f"{name}: the cloud tells something else than the vehicle")
        return
    _said(changed.said, name, assignment_id, cards, found)


def _said(
    item: Result | Losses | TaskEnded,
    name: str,
    assignment_id: AssignmentId,
    cards: VehicleCards,
    found: _Findings,
) -> bool:
    """Whether a vehicle itself said this, of this assignment; only then it counts."""
    if item.assignment_id != assignment_id:
        found.problems.append(f"{name}: it is of another assignment, {item.assignment_id}")
        return False
    try:
        verify_item(item, cards.of(item.vehicle_id))
    except SignatureError as error:
        found.problems.append(f"{name}: {error}")
        return False
    found.complete.hear(item)
    if isinstance(item, TaskEnded):
        found.aggregates.hear(item)
    found.audience.heard.add(item.vehicle_id)
    return True


def _code_problem(result: Result, contents: dict[int, SlotOrder]) -> str:
    """Say what is wrong with the code that a vehicle says it ran; empty when nothing is."""
    if not result.code_version:
        return ""
    order = contents.get(result.generation)
    if order is None:
        return f"no signed content of generation {result.generation} is kept"
    if order.version_for(result.vehicle_id) != result.code_version:
        return f"it ran a version that was not signed for it: {result.code_version[:8]}"
    return ""
