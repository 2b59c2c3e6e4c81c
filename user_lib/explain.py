"""Where a job stands, in words: the chain from the vehicle being online to its last result."""

import textwrap
from collections.abc import Iterable

from user_lib.contract.escaping import LINES, escaped
from user_lib.contract.messages import Explanation, MemberInfo
from user_lib.contract.states import JOB_ENDS, TASK_ENDS, TaskState
from user_lib.member_words import lost_words, waits_for_budget
from user_lib.tables import render_text, say

__all__ = ["explain_text"]

MAX_IN_FULL = 10
MAX_DETAIL = 100
"""Characters of a detail in the table; a longer one stands in full below it."""
_STEPS = {
    TaskState.PENDING: "accepted, waits for its start",
    TaskState.GATHERING: "gathers its window",
    TaskState.READY: "has its window, waits for a worker slot",
    TaskState.RUNNING: "computes",
    TaskState.AWAITING: "waits for the next round's input",
    TaskState.PAUSED: "paused, its disk cannot be written",
    TaskState.FINISHED: "finished",
    TaskState.FAILED: "failed",
    TaskState.REJECTED: "refused by the vehicle",
    TaskState.CANCELLED: "cancelled",
}


def explain_text(explanation: Explanation, notes: Iterable[str] = ()) -> str:
    """Return a line for the job and one for each vehicle, and what all of it waits for.

    ``notes`` are remarks on the job as a whole, such as a criterion that cannot be told.
    """
    job = explanation.job
    spec = job.spec
    total = spec.last_iteration or "forever"
    lines = [
        f"job {job.assignment_id} {escaped(spec.name)}".rstrip()
        + f": {job.state}"
        + (f" ({job.reason})" if job.reason else ""),
        f"  {spec.onboard} on {', '.join(spec.signals)}, then {spec.offboard}; "
        f"iterations: {total}; {job.rounds_closed} rounds closed, {job.results} results",
        *(f"  note: {note.rstrip()}" for note in notes),
        "",
        render_text(
            ["vehicle", "link", "step", "iteration", "results", "detail"],
            [_row(member) for member in explanation.members],
        ),
        *_in_full(explanation.members),
    ]
    if job.state not in JOB_ENDS:
        lines += ["", _waits(explanation)]
    return escaped("\n".join(lines), keep=LINES)


def _row(member: MemberInfo) -> list[str]:
    detail = say(_detail(member), width=MAX_DETAIL)
    return [
        member.vehicle_id,
        "online" if member.online else "OFFLINE",
        _step(member),
        str(member.iteration or "-"),
        str(member.results),
        "" if detail == "-" else detail,
    ]


def _step(member: MemberInfo) -> str:
    if member.state is None:
        return "has not answered yet"
    if waits_for_budget(member):
        return "has its window, waits for the owner's budget"
    return _STEPS[member.state]


def _detail(member: MemberInfo) -> str:
    parts = []
    if member.lost_results:
        parts.append(lost_words(member))
    if member.detail:
        parts.append(member.detail)
    if member.last_failure and member.last_failure not in member.detail:
        parts.append(f"last failure: {member.last_failure}")
    return "; ".join(parts)


def _in_full(members: Iterable[MemberInfo]) -> list[str]:
    """Return what the table had to cut, such as a traceback, once with all its vehicles."""
    vehicles: dict[str, list[str]] = {}
    for member in members:
        detail = _detail(member)
        if len(" ".join(detail.split())) > MAX_DETAIL:
            vehicles.setdefault(detail, []).append(member.vehicle_id)
    lines = []
    for detail, names in list(vehicles.items())[:MAX_IN_FULL]:
        lines += ["", f"{say(names)}:", textwrap.indent(detail.rstrip(), "  ")]
    return lines


def _waits(explanation: Explanation) -> str:
    """Say what the job as a whole waits for."""
    waiting = explanation.waiting_for
    if not waiting:
        running = [m for m in explanation.members if m.state not in TASK_ENDS]
        return f"waits for results of {len(running)} vehicles" if running else "about to end"
    offline = {m.vehicle_id for m in explanation.members if not m.online}
    rounds = ", ".join(str(n) for n in explanation.open_rounds[:5])
    names = ", ".join(f"{v} (offline)" if v in offline else v for v in waiting[:10])
    more = f" and {len(waiting) - 10} more" if len(waiting) > 10 else ""
    return f"round {rounds or '?'} waits for {names}{more}"
