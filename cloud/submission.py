"""A new assignment: checked once more, its vehicles chosen, kept, and given to them."""

from agent.sandbox import check_params
from cloud.context import Context
from cloud.jobs import Jobs
from cloud.ledger import AssignmentRow
from cloud.selection import check_methods, select
from cloud.signatures import check_assignment
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import Submit, Submitted
from user_lib.contract.signed import assignment_id_of
from user_lib.contract.states import JobState
from user_lib.contract.validation import parse

__all__ = ["submit"]


def submit(context: Context, jobs: Jobs, user: UserId, ask: Submit) -> Submitted:
    """Take an assignment; the same token again answers with the same assignment.

    Raises: AssignmentError or Rejected, with the key at fault and the nearest valid names.
    """
    known = context.ledger.assignments.by_token(user, ask.token)
    if known is not None:
        vehicles = context.ledger.members.vehicles(known.row)
        return Submitted(assignment_id=known.assignment_id, vehicles=vehicles)
    spec = parse(ask.spec)
    check_assignment(context.auth, user, ask)
    _check_expiry(spec, context.clock.unix_ns())
    _check_params(context, user, spec)
    _check_room(context, jobs, user)
    vehicles = select(spec, context.registry.vehicles)
    check_methods(spec, vehicles, context.registry.vehicles)
    _check_code(context, user, spec, vehicles)
    row = _new_row(user, ask, spec, context.clock.unix_ns())
    jobs.submit(row, ask.token, vehicles)
    context.audit.note(
        "submitted",
        who=user,
        job=row.assignment_id,
        method=f"{spec.onboard}, {spec.offboard}",
        signals=spec.signals,
        code=context.slots.get(user, "onboard").content.version if spec.onboard == "custom" else "",
        bytes=len(ask.signed.body) if ask.signed is not None else 0,
        detail=f"{len(vehicles)} vehicles",
    )
    return Submitted(assignment_id=row.assignment_id, vehicles=vehicles)


def _check_expiry(spec: Assignment, unix_ns: int) -> None:
    not_after_ns = spec.not_after_unix_ns
    if not_after_ns is not None and unix_ns >= not_after_ns:
        raise Rejected(
            f"not_after: {spec.not_after} has passed by the cloud's clock",
            reason="expired",
            path="not_after",
        )


def _check_params(context: Context, user: UserId, spec: Assignment) -> None:
    """Refuse params that a method does not take; large ones were checked by the analyst's side."""
    if spec.onboard_content is None:
        check_params("onboard", spec.onboard, spec.onboard_params)
    if spec.offboard_content is None:
        check_params("offboard", spec.offboard, spec.offboard_params)
    context.contents.check_given(user, spec.onboard_content, "onboard_params")
    context.contents.check_given(user, spec.offboard_content, "offboard_params")


def _check_room(context: Context, jobs: Jobs, user: UserId) -> None:
    most = context.config.bounds.live_assignments_per_analyst
    if sum(1 for _ in jobs.of_analyst(user)) >= most:
        raise Rejected(
            f"{most} assignments of yours are running already; cancel one first",
            reason="too_many",
        )


def _check_code(
    context: Context, user: UserId, spec: Assignment, vehicles: tuple[VehicleId, ...]
) -> None:
    onboard = context.slots.get(user, "onboard")
    missing = ""
    if spec.onboard == "custom" and not any(onboard.version_for(v) for v in vehicles):
        missing = "onboard"
    elif spec.offboard == "custom":
        missing = "" if context.slots.get(user, "offboard").offboard_version else "offboard"
    if missing:
        option = "" if missing == "onboard" else f" --side {missing}"
        raise Rejected(
            f"your {missing} slot holds no code for it; `oodida code push FILE{option}` or "
            f"fleet.update_code(FILE, side={missing!r}) first",
            reason="no_code",
            path=missing,
        )


def _new_row(user: UserId, ask: Submit, spec: Assignment, created_ns: int) -> AssignmentRow:
    return AssignmentRow(
        row=0,
        assignment_id=assignment_id_of(user, ask.token),
        analyst=user,
        spec=spec,
        state=JobState.SCHEDULED,
        reason="",
        detail="",
        created_ns=created_ns,
        started_ns=None,
        ended_ns=None,
        last_seq=0,
        results=0,
        rounds_closed=0,
        signed=ask.signed,
    )
