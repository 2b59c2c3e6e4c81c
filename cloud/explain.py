"""Where an assignment stands, in words: from the ledger, the rounds and the last heartbeats."""

import msgspec

from cloud.context import Context
from cloud.jobs import Job
from cloud.ledger import AssignmentRow, Ledger, MemberRow
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import Explanation, JobInfo, Jobs, MemberInfo
from user_lib.contract.states import TASK_ENDS

__all__ = ["explanation", "job_info", "job_infos"]

MAX_VEHICLES_LISTED = 100_000
"""A list of jobs ends after this many vehicle ids: it has to fit into one message."""


def job_info(row: AssignmentRow, vehicles: tuple[VehicleId, ...]) -> JobInfo:
    """Return an assignment as its analyst sees it."""
    return JobInfo(
        assignment_id=row.assignment_id,
        analyst=row.analyst,
        spec=row.spec,
        state=row.state,
        reason=f"{row.reason}: {row.detail}" if row.detail else row.reason,
        created_ns=row.created_ns,
        ended_ns=row.ended_ns,
        vehicles=vehicles,
        rounds_closed=row.rounds_closed,
        results=row.results,
        last_seq=row.last_seq,
    )


def job_infos(ledger: Ledger, analyst: UserId, limit: int) -> Jobs:
    """Return an analyst's assignments, newest first, as many as one message holds."""
    infos: list[JobInfo] = []
    listed = 0
    for row in ledger.assignments.of_analyst(analyst, limit):
        vehicles = ledger.members.vehicles(row.row)
        listed += len(vehicles)
        if infos and listed > MAX_VEHICLES_LISTED:
            break
        infos.append(job_info(row, vehicles))
    return Jobs(jobs=tuple(infos))


def explanation(context: Context, row: AssignmentRow, job: Job | None) -> Explanation:
    """Say where an assignment stands on each of its vehicles, and whom its oldest round awaits."""
    rows = context.ledger.members.of(row.row)
    rounds = sorted(job.state.open.values(), key=lambda r: r.number) if job is not None else []
    sent = context.contents.progress(row.assignment_id)
    lost_for, rules = (
        context.ledger.members.lost_for(row.row),
        context.ledger.members.rules(row.row),
    )
    return Explanation(
        job=job_info(row, tuple(m.vehicle_id for m in rows)),
        members=tuple(
            msgspec.structs.replace(
                _member(context, row, m, sent.get(m.vehicle_id, "")),
                lost_for=lost_for.get(m.vehicle_id, {}),
                rule=rules.get(m.vehicle_id, ""),
            )
            for m in rows
        ),
        open_rounds=tuple(r.number for r in rounds),
        waiting_for=tuple(sorted(rounds[0].pending)) if rounds else (),
        unkept=context.ledger.refusal,
    )


def _member(context: Context, row: AssignmentRow, member: MemberRow, under_way: str) -> MemberInfo:
    vehicle = context.registry.vehicles.get(member.vehicle_id)
    online = vehicle is not None and vehicle.online
    held = None if vehicle is None else vehicle.tasks.get(row.assignment_id)
    state, iteration, detail = member.state, member.iteration, _words(member)
    if member.state not in TASK_ENDS and held is not None:
        state, iteration, detail = held.state, held.iteration, held.detail
    if under_way:
        detail = f"{detail}; {under_way}" if detail else under_way
    if not online and member.state not in TASK_ENDS:
        detail = f"offline; last: {detail}" if detail else "offline"
    return MemberInfo(
        vehicle_id=member.vehicle_id,
        online=online,
        state=state,
        iteration=iteration,
        detail=detail,
        results=member.results,
        lost_results=member.lost_results,
        last_result_ns=member.last_result_ns,
        last_failure=member.last_failure,
    )


def _words(member: MemberRow) -> str:
    return ": ".join(part for part in (member.reason, member.detail) if part)
