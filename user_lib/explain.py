"""Where a job stands, in words: the chain from the vehicle being online to its last result."""

from user_lib.contract.messages import Explanation, MemberInfo
from user_lib.contract.states import JOB_ENDS, TASK_ENDS, TaskState
from user_lib.tables import render_text, say

__all__ = ["explain_text"]

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


def explain_text(explanation: Explanation) -> str:
    """Return a line for the job and one for each vehicle, and what all of it waits for."""
    job = explanation.job
    spec = job.spec
    total = spec.last_iteration or "forever"
    lines = [
        f"job {job.assignment_id} {spec.name or ''}".rstrip()
        + f": {job.state}"
        + (f" ({job.reason})" if job.reason else ""),
        f"  {spec.onboard} on {', '.join(spec.signals)}, then {spec.offboard}; "
        f"iterations: {total}; {job.rounds_closed} rounds closed, {job.results} results",
        "",
        render_text(
            ["vehicle", "link", "step", "iteration", "results", "detail"],
            [_row(member) for member in explanation.members],
        ),
    ]
    if job.state not in JOB_ENDS:
        lines += ["", _waits(explanation)]
    return "\n".join(lines)


def _row(member: MemberInfo) -> list[str]:
    step = "has not answered yet" if member.state is None else _STEPS[member.state]
    lost = f"{member.lost_results} results lost, its outbox was full; " * (member.lost_results > 0)
    detail = say(f"{lost}{member.detail or member.last_failure}", width=100)
    return [
        member.vehicle_id,
        "online" if member.online else "OFFLINE",
        step,
        str(member.iteration or "-"),
        str(member.results),
        "" if detail == "-" else detail,
    ]


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
