"""A handler of a new assignment, and one from what the ledger knows after a restart."""

from collections.abc import Iterable

from cloud.context import Context
from cloud.jobs.job import Job
from cloud.jobs.values import Stamps, answer_of
from cloud.ledger import AssignmentRow, MemberRow, RoundRow
from cloud.rounds import Answer, Member, Round, Rounds, Rules
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND
from user_lib.contract.ids import VehicleId
from user_lib.contract.states import TASK_ENDS, TaskState

__all__ = ["RECONNECT_NS", "begin", "restore", "rules_of"]

RECONNECT_NS = 5 * SECOND
"""How long a vehicle may take to find a restarted cloud again; its deadlines wait for that."""


def rules_of(spec: Assignment) -> Rules:
    """Return what the grammar says of rounds."""
    return Rules(
        last_round=spec.last_iteration,
        feedback=spec.feedback,
        quorum=spec.quorum,
        deadline_ns=int(spec.deadline_s * SECOND),
        stream=not spec.has_rounds,
    )


def begin(context: Context, row: AssignmentRow, vehicles: Iterable[VehicleId]) -> Job:
    """Build the handler of an assignment that is new: what `restore` would read back from the disk.

    Reading ten thousand members back would hold up their vehicles for a quarter of a second.
    """
    state = Rounds(rules_of(row.spec), {vehicle: Member() for vehicle in vehicles})
    return Job(context, row, state, members=frozenset(state.members))


def restore(context: Context, row: AssignmentRow, members: list[MemberRow]) -> Job:
    """Build the handler of an assignment that has not ended; all vehicles are offline in it."""
    state = Rounds(rules_of(row.spec), {m.vehicle_id: _member(m) for m in _living(members)})
    state.fruitful = row.fruitful
    for member in members:
        _count_end(state, member)
    state.newest = context.ledger.rounds.newest(row.row)
    stamps: dict[int, Stamps] = {}
    generation = 0
    for found in context.ledger.rounds.unpublished(row.row):
        if found.closing is not None:
            state.closing.append(found.closing)
        elif not _reopen(context, row, state, found, members):
            state.newest = min(state.newest, found.number - 1)
            continue
        stamps[found.number] = Stamps(found.opened_ns, found.closed_ns or 0)
        generation = found.generation
    everyone = frozenset(m.vehicle_id for m in members)
    return Job(context, row, state, members=everyone, generation=generation, stamps=stamps)


def _living(members: list[MemberRow]) -> list[MemberRow]:
    return [m for m in members if m.state not in TASK_ENDS]


def _member(row: MemberRow) -> Member:
    return Member(position=row.iteration, missed=row.standing > 0, away=row.standing > 1)


def _count_end(state: Rounds, member: MemberRow) -> None:
    if member.state is TaskState.FINISHED:
        state.finished_tasks += 1
    elif member.state in TASK_ENDS:
        state.failures[member.vehicle_id] = member.reason or str(member.state)


def _reopen(
    context: Context,
    row: AssignmentRow,
    state: Rounds,
    found: RoundRow,
    members: list[MemberRow],
) -> bool:
    """Put an open round back; False when nobody is left in it and nobody answered."""
    ends = {m.vehicle_id: m for m in members if m.state in TASK_ENDS}
    asked = {v for v in found.members if v not in ends or ends[v].state is not TaskState.REJECTED}
    answers = {
        r.vehicle_id: answer_of(r, context.ledger.contents)
        for r in context.ledger.events.results_of(row.row, found.number)
        if r.vehicle_id in asked
    }
    for vehicle in asked - answers.keys():
        if vehicle in ends and ends[vehicle].state is TaskState.FAILED:
            answers[vehicle] = _failed(vehicle, found.number, ends[vehicle].reason)
    lost = context.ledger.members.lost_in(row.row, found.number)
    pending = asked - answers.keys() - ends.keys() - lost
    if not pending and not answers and not lost & asked:
        return False
    patient_ns = context.clock.monotonic_ns() + context.registry.lease_ns + RECONNECT_NS
    heard_ns = patient_ns if answers else None
    state.open[found.number] = Round(
        found.number, asked, pending, answers, heard_ns=heard_ns, silent_ns=patient_ns
    )
    return True


def _failed(vehicle: VehicleId, iteration: int, reason: str) -> Answer:
    return Answer(vehicle=vehicle, iteration=iteration, ok=False, reason=f"task ended: {reason}")
