"""What a vehicle says of an assignment, turned into events of its handler."""

import msgspec

from cloud.context import Context
from cloud.jobs.job import Job
from cloud.jobs.stream import Stream
from cloud.jobs.values import answer_of
from cloud.ledger import AssignmentRow
from cloud.rounds import Answered, Left, Lost, counts, first_iteration
from user_lib.contract.content import megabytes
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import (
    Assign,
    Feedback,
    JobChanged,
    Losses,
    Result,
    TaskEnded,
    TaskHeld,
)
from user_lib.contract.states import TASK_ENDS, TaskState

__all__ = ["accepted", "assign", "deliver", "deliver_late", "end", "feedback_again", "lags", "lose"]

_WAITS_FOR_FEEDBACK = frozenset({TaskState.PENDING, TaskState.AWAITING})


def assign(job: Job, vehicle: VehicleId) -> Assign:
    """Return the task as a vehicle gets it.

    A list of vehicles is nobody's business but the analyst's, and with thousands of ids would be
    most of the message.
    """
    row = job.row
    first = first_iteration(job.state, vehicle)
    if row.signed is not None:
        return Assign(
            assignment_id=row.assignment_id,
            analyst=row.analyst,
            signed=row.signed,
            first_iteration=first,
        )
    spec = row.spec
    if isinstance(spec.vehicles, tuple):
        spec = msgspec.structs.replace(spec, vehicles="all")
    return Assign(
        assignment_id=row.assignment_id, analyst=row.analyst, spec=spec, first_iteration=first
    )


def deliver(job: Job, result: Result) -> bool:
    """Keep a result and let it count, or be late; False for a repeat, which changes nothing."""
    late = not counts(job.state, result.vehicle_id, result.iteration)
    if not job.stream.result(msgspec.structs.replace(result, late=late)):
        return False
    job.start()
    answer = answer_of(result, job.contents)
    if result.status == "ok" and not answer.ok:
        _tell_refused(job, result, answer.reason)
    job.apply(Answered(answer))
    return True


def _tell_refused(job: Job, result: Result, reason: str) -> None:
    """Tell of a result that was not taken."""
    job.stream.changed(
        JobChanged(
            assignment_id=job.row.assignment_id,
            state=job.row.state,
            vehicle_id=result.vehicle_id,
            reason=reason,
            detail=f"iteration {result.iteration} {_shortcoming(result, reason)}",
        )
    )


def _shortcoming(result: Result, reason: str) -> str:
    if reason == "weight":
        return (
            f"has the weight {result.weight}, which is none: a finite number, 0 or more; it counts "
            "as failed"
        )
    size = 0 if result.payload is None else result.payload.size
    return (
        f"has {megabytes(size)}, which the cloud does not take (contents.largest_mb in "
        "cloud.yaml): return less, or ask for a smaller window"
    )


def deliver_late(context: Context, row: AssignmentRow, result: Result) -> bool:
    """Keep a result of an assignment that has ended; False for a repeat."""
    return Stream(context, row).result(msgspec.structs.replace(result, late=True))


def lose(context: Context, row: AssignmentRow, losses: Losses, job: Job | None) -> None:
    """A vehicle had to drop results: tell the analyst, and let no round wait for them."""
    context.contents.retracted(losses)
    news = context.ledger.members.lost(row.row, losses)
    if not news:
        return
    Stream(context, row).changed(
        JobChanged(
            assignment_id=row.assignment_id,
            state=row.state,
            vehicle_id=losses.vehicle_id,
            reason="results_lost",
            detail=losses.words,
            said=losses,
        )
    )
    if job is not None:
        job.apply(Lost(losses.vehicle_id, news))


def end(context: Context, job: Job, ended: TaskEnded) -> None:
    """A vehicle's task is over: tell the analyst, and take the vehicle out of the rounds."""
    if not context.ledger.members.task_ended(job.row.row, ended):
        return
    job.stream.changed(
        JobChanged(
            assignment_id=job.row.assignment_id,
            state=job.row.state,
            vehicle_id=ended.vehicle_id,
            task_state=ended.state,
            reason=ended.reason or ended.state,
            detail=ended.detail,
            path=ended.path,
            near=ended.near,
            rule=ended.rule,
            said=ended,
        )
    )
    words = ": ".join(part for part in (ended.reason, ended.detail) if part)
    job.apply(Left(ended.vehicle_id, ended.state, words))


def accepted(context: Context, job: Job, vehicle: VehicleId, held: TaskHeld) -> None:
    """A vehicle speaks of the task for the first time."""
    if held.state in TASK_ENDS:
        return
    context.ledger.members.accepted(job.row.row, vehicle, held.state)
    job.stream.changed(
        JobChanged(
            assignment_id=job.row.assignment_id,
            state=job.row.state,
            vehicle_id=vehicle,
            task_state=held.state,
            reason="accepted",
            detail=held.detail,
        )
    )


def lags(job: Job, vehicle: VehicleId, held: TaskHeld) -> bool:
    """Whether a vehicle missed a round and is at an iteration that would be late again."""
    member = job.state.members.get(vehicle)
    if member is None or not member.missed or job.row.spec.feedback or not job.row.spec.has_rounds:
        return False
    return held.iteration < first_iteration(job.state, vehicle)


def feedback_again(job: Job, vehicle: VehicleId, held: TaskHeld) -> Feedback | None:
    """Return the present round's input when a member, by its heartbeat, has not begun with it."""
    round_ = job.state.open.get(job.state.newest)
    if not job.row.spec.feedback or round_ is None or vehicle not in round_.pending:
        return None
    begun = held.iteration == round_.number and held.state not in _WAITS_FOR_FEEDBACK
    return None if begun else job.feedback(vehicle)
