"""A closed round and what the off-board method made of it, as the analyst is told."""

from dataclasses import dataclass

from agent.sandbox import Outcome
from cloud.jobs.criterion import names_of, until_met
from cloud.ledger.contents import Contents
from cloud.offboard import Done, GroupValue, Work, explain
from cloud.rounds import Answer
from user_lib.contract.assignment import Json
from user_lib.contract.errors import ExpressionError
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Group, Result, RoundClosed

__all__ = ["Stamps", "answer_of", "criterion", "no_value", "round_closed", "skipped"]

MOST_NAMES = 10
"""Of a value, in words."""


@dataclass(slots=True)
class Stamps:
    """When a round opened and closed, ns since the Unix epoch."""

    opened_ns: int
    closed_ns: int = 0


def round_closed(assignment_id: AssignmentId, done: Done, stamps: Stamps) -> RoundClosed:
    """Return the event of a round that has its value."""
    closing = done.work.closing
    return RoundClosed(
        assignment_id=assignment_id,
        round=closing.number,
        state=closing.state,
        groups=tuple(_group(value) for value in done.values),
        missing=closing.missing,
        failed=closing.failed,
        not_counted=closing.not_counted,
        offboard_method=done.work.spec.offboard,
        offboard_version=done.version,
        prints="".join(value.outcome.prints for value in done.values),
        lost_frames=closing.lost_frames,
        away_ms=closing.away_ms,
        opened_ns=stamps.opened_ns,
        closed_ns=stamps.closed_ns,
    )


def skipped(work: Work) -> Done:
    """Return a round without values: more of them wait than the off-board method can take."""
    lost = Outcome(
        status="refused",
        reason="overload",
        detail="the off-board method is slower than the rounds come; this one was left out",
    )
    return Done(work=work, values=tuple(GroupValue(part, lost) for part in work.closing.parts))


def no_value(done: Done) -> str:
    """Say why none of a round's parts has a value; empty when one has, or there are none."""
    if any(value.outcome.ok for value in done.values):
        return ""
    return next((explain(value.outcome) for value in done.values), "")


def criterion(done: Done) -> tuple[bool, str]:
    """Return whether ``until`` holds on the value that counts first, and why it cannot be told."""
    text = done.work.spec.until
    if text is None or not done.values or not done.values[0].outcome.ok:
        return False, ""
    value, number = done.values[0].outcome.value, done.work.closing.number
    try:
        return until_met(text, value, number), ""
    except ExpressionError as error:
        return False, f"until: {error}{_readable(value, number)}"


def _readable(value: Json, number: int) -> str:
    """Say what a criterion could have read, and what comes of one that reads something else."""
    try:
        names = sorted(names_of(value, number))
    except ExpressionError:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (
        f"; it may read {', '.join(names[:MOST_NAMES])}{more}; as long as it cannot be told, it "
        "does not end the job"
    )


def answer_of(result: Result, contents: Contents) -> Answer:
    """Return a result as far as rounds care.

    One without its content, or with a weight that is none, is as good as failed.
    """
    refusal = _refusal(result, contents)
    return Answer(
        vehicle=result.vehicle_id,
        iteration=result.iteration,
        ok=result.status == "ok" and not refusal,
        reason=refusal or result.reason or result.status,
        code_version=result.code_version,
        generation=result.generation,
        weight=result.weight if result.weighs else 0.0,
        lost_frames=result.lost_frames,
        away_ms=result.away_ms,
    )


def _refusal(result: Result, contents: Contents) -> str:
    """Return why a result may not be aggregated, in a stable word; empty when it may."""
    if result.payload is not None and not contents.is_whole(result.payload):
        return "content_too_large"
    return "" if result.weighs or result.status != "ok" else "weight"


def _group(value: GroupValue) -> Group:
    outcome = value.outcome
    return Group(
        code_version=value.part.code_version,
        vehicles=value.part.vehicles,
        value=value.value.value if outcome.ok else None,
        payload=value.value.payload if outcome.ok else None,
        weight=value.part.weight,
        error="" if outcome.ok else explain(outcome),
    )
