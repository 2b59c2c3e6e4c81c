"""What a vehicle puts in its audit log: each kind of entry is made here."""

from collections.abc import Iterable

from agent.policy import Refusal, trigger_names
from agent.policy.budgets import Sent
from agent.tasks.code import CodeSlot
from agent.tasks.task import Task
from user_lib.contract.assignment import Assignment
from user_lib.contract.card import Card
from user_lib.contract.ids import AssignmentId, UserId
from user_lib.wire.audit_entry import Entry, stamp

__all__ = [
    "accepted",
    "code",
    "ended",
    "iteration_refused",
    "refused",
    "retracted",
    "rules",
    "sent",
    "trusted",
]


def accepted(
    job: AssignmentId, who: UserId, spec: Assignment, code_version: str, unix_ns: int
) -> Entry:
    """A task begins; ``code_version`` is what its analyst's slot holds, if it is custom."""
    return Entry(
        at=stamp(unix_ns),
        event="accepted",
        who=who,
        job=job,
        method=spec.onboard,
        code=code_version,
        signals=_signals(spec),
        detail=_trigger(spec),
    )


def _trigger(spec: Assignment) -> str:
    if spec.trigger is None:
        return ""
    before_s, after_s = spec.look_back_s or (0.0, 0.0)
    around = f", from {before_s:g} s before to {after_s:g} s after" if before_s or after_s else ""
    return f"when {spec.trigger.text}{around}"


def refused(
    job: AssignmentId, who: UserId, spec: Assignment | None, refusal: Refusal, unix_ns: int
) -> Entry:
    """A task may not begin; without ``spec`` nobody knows what it was."""
    return Entry(
        at=stamp(unix_ns),
        event="refused",
        who=who,
        job=job,
        method=spec.onboard if spec is not None else "",
        signals=_signals(spec) if spec is not None else (),
        rule=refusal.rule,
        reason=refusal.reason,
        detail=refusal.detail,
    )


def iteration_refused(task: Task, reason: str, rule: str, detail: str, unix_ns: int) -> Entry:
    """A rule keeps an iteration of a running task from being computed, or its result here."""
    return Entry(
        at=stamp(unix_ns),
        event="held_back",
        who=task.analyst,
        job=task.assignment_id,
        method=task.spec.onboard,
        rule=rule,
        reason=reason,
        detail=detail,
    )


def retracted(
    job: AssignmentId, who: UserId, refusal: Refusal, results: int, unix_ns: int
) -> Entry:
    """New rules keep results here that waited to be sent."""
    return Entry(
        at=stamp(unix_ns),
        event="retracted",
        who=who,
        job=job,
        rule=refusal.rule,
        reason=refusal.reason,
        results=results,
        detail=refusal.detail,
    )


def sent(job: AssignmentId, sent: Sent, unix_ns: int) -> Entry:
    """So much was made to be sent since a task began; not all of it need have left."""
    return Entry(
        at=stamp(unix_ns),
        event="sent",
        who=sent.analyst,
        job=job,
        results=sent.results,
        bytes=sent.bytes,
        retracted=sent.retracted,
    )


def ended(task: Task, sent: Sent, unix_ns: int) -> Entry:
    """A task is over, after so much was made to be sent; not all of it need have left."""
    return Entry(
        at=stamp(unix_ns),
        event="ended",
        who=task.analyst,
        job=task.assignment_id,
        method=task.spec.onboard,
        rule=task.rule,
        reason=task.reason or str(task.state),
        results=sent.results,
        bytes=sent.bytes,
        retracted=sent.retracted,
        detail=task.detail[:1000],
    )


def code(slot: CodeSlot, unix_ns: int) -> Entry:
    """A code slot changed: armed, refused, rolled back or emptied."""
    report = slot.to_report()
    return Entry(
        at=stamp(unix_ns),
        event=f"code_{report.state}",
        who=slot.analyst,
        code=report.version,
        detail=f"generation {report.generation} {report.detail[:1000]}".rstrip(),
    )


def trusted(before: Iterable[Card], after: Iterable[Card], unix_ns: int) -> tuple[Entry, ...]:
    """The owner trusts others than before."""
    old, new = set(before), set(after)
    changes = [("trusted", c) for c in new - old] + [("untrusted", c) for c in old - new]
    return tuple(
        Entry(at=stamp(unix_ns), event=event, who=card.name, detail=f"key {card.fingerprint}")
        for event, card in sorted(changes, key=lambda change: (change[1].name, change[0]))
    )


def rules(event: str, policy: str, detail: str, unix_ns: int) -> Entry:
    """An agent begins by these rules, or goes on by others, or kept those it had."""
    return Entry(at=stamp(unix_ns), event=event, policy=policy, detail=detail[:4000])


def _signals(spec: Assignment) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*spec.signals, *trigger_names(spec))))
