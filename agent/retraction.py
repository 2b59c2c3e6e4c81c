"""What waits in the outbox, held against the owner's rules: what they forbid stays on the vehicle.

It is asked at the start, before the link opens, and whenever rules or trust have changed. A task
may have ended long before the rule came: what it was is kept as long as results of it wait.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping

from agent import notes
from agent.policy import Held, Policy, Refusal, Right, admit, kept_by, rights_of
from agent.store import Note, Origin, Retract, SaveSlot, Store
from agent.tasks.code import CodeSlot, without_words
from agent.tasks.modules import Modules
from agent.tasks.ports import Signals
from agent.tasks.table import Table
from agent.tasks.task import Now
from agent.trust import Trust
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.ids import AssignmentId, UserId

__all__ = ["Retraction", "retractions", "untrusted"]

log = logging.getLogger(__name__)

UNACCOUNTED = "a task that nobody remembers"
"""An agent of before kept no account of the task in which code had failed."""


class Retraction:
    """Of the main loop's thread. While the disk takes no record, what is forbidden is not sent."""

    def __init__(self, store: Store, table: Table, modules: Modules) -> None:
        self._store, self._table, self._modules = store, table, modules
        self._waiting: dict[AssignmentId, list[tuple[Retract, Note]]] = {}
        """What the disk did not take yet."""
        self._on_hold: frozenset[AssignmentId] = frozenset()
        """Of whose analysts nobody knows whether they are trusted: nothing leaves, nothing ends."""

    def judge(
        self, origins: Iterable[Origin], policy: Policy, trust: Trust, signals: Signals, now: Now
    ) -> None:
        """Keep here what may no longer leave, of all tasks that run or have ended."""
        self._waiting = {}
        self._table.pardon()
        origins, slots = tuple(origins), self._modules.slots
        doubts = _doubts(trust, (*(o.analyst for o in origins), *(s.analyst for s in slots)))
        self._on_hold = frozenset(o.assignment_id for o in origins if o.analyst in doubts)
        self._table.hold(doubts)
        self._modules.hold(doubts)
        for origin in origins:
            if origin.analyst in doubts:
                continue
            refusal, rights = _rights(origin.analyst, origin.spec, policy, trust, signals)
            for write, why in retractions(origin.assignment_id, refusal, rights):
                self._keep(origin, write, why, now)
        self._bar()
        for slot in slots:
            if slot.analyst in doubts:
                continue

            def keeper_of(spec: Assignment | None, analyst: UserId = slot.analyst) -> str:
                if spec is None:
                    free = policy == Policy() and trust.trusts(analyst)
                    return "" if free else UNACCOUNTED
                refusal, _ = _rights(analyst, spec, policy, trust, signals)
                return "" if refusal is None else kept_by(refusal.reason, refusal.rule)

            self._blank(slot, without_words(slot, keeper_of), now)

    def again(self, now: Now) -> None:
        """Try again what the disk did not take."""
        if not self._waiting or self._table.unwritable:
            return
        waiting, self._waiting = self._waiting, {}
        for assignment_id, writes in waiting.items():
            for write, note in writes:
                self._write(assignment_id, write, note, now)
        self._bar()

    def _bar(self) -> None:
        self._store.bar((*self._waiting, *self._on_hold))

    def _keep(self, origin: Origin, write: Retract, why: Refusal, now: Now) -> None:
        self._table.flush(now)
        results = self._store.forbidden(write)
        if not results and not self._store.forbidden_words(write):
            return
        name = origin.assignment_id
        note = Note(notes.retracted(name, origin.analyst, why, results, now.unix_ns))
        if self._write(name, write, note, now):
            log.warning("task %s: %s keeps %d results here", name, write.reason, results)

    def _blank(self, slot: CodeSlot, blank: CodeSlot, now: Now) -> None:
        """Tell no words of a slot's failures that are kept here.

        It holds whatever the disk takes: what is not on it is judged again at the next start.
        """
        if blank == slot:
            return
        self._modules.put(blank)
        self._table.write([SaveSlot(blank)], now)
        log.warning("code of %s: words of its failures are kept here", slot.analyst)

    def _write(self, assignment_id: AssignmentId, write: Retract, note: Note, now: Now) -> bool:
        if self._table.write([note, write], now):
            return True
        self._waiting.setdefault(assignment_id, []).append((write, note))
        return False


def retractions(
    assignment_id: AssignmentId, refusal: Refusal | None, rights: Mapping[str, Right]
) -> Iterator[tuple[Retract, Refusal]]:
    """Yield what keeps results of a task here, and why: all of them, or those over few samples."""
    if refusal is not None:
        reason = kept_by(refusal.reason, refusal.rule)
        if reason:
            yield Retract(assignment_id, reason), refusal
        return
    by_rule: dict[str, dict[str, int]] = {}
    for name, right in rights.items():
        if right.may == "aggregates":
            by_rule.setdefault(right.rule, {})[name] = right.at_least
    for rule, at_least in by_rule.items():
        words = ", ".join(f"{least} samples of {name}" for name, least in at_least.items())
        detail = f"rule {rule}: an aggregate is one over at least {words}"
        why = Refusal(reason="too_few_samples", rule=rule, detail=detail)
        yield Retract(assignment_id, f"rule {rule}", at_least), why


def untrusted(trust: Trust, analyst: str) -> Refusal | None:
    """Return why nothing of an analyst's may run here or leave, None when it may."""
    if trust.trusts(analyst):
        return None
    words = f"the owner of this vehicle no longer trusts {analyst}"
    return Refusal(reason="untrusted", detail=words)


def _doubts(trust: Trust, analysts: Iterable[UserId]) -> dict[UserId, str]:
    """Return why nobody knows of some whether they are trusted, and tell the log."""
    found = {name: words for name in set(analysts) if (words := trust.doubt(name))}
    for words in sorted(found.values()):
        log.error("%s: put it right or remove it; tasks and results are held until then", words)
    return found


def _rights(
    analyst: UserId, spec: Assignment, policy: Policy, trust: Trust, signals: Signals
) -> tuple[Refusal | None, Mapping[str, Right]]:
    """Return what forbids a task as a whole, else how its signals may leave."""
    refusal = untrusted(trust, analyst)
    if refusal is not None:
        return refusal, {}

    def aliases(name: str) -> tuple[frozenset[str], ...]:
        try:
            return signals.aliases(name)
        except UnknownSignal:  # by the databases of now; its name may be forbidden all the same
            return (frozenset((name,)),)

    known = trust.analyst(analyst)
    refusal = admit(policy, known, spec, aliases, Held())
    return refusal, {} if refusal is not None else rights_of(policy, known, spec, aliases)
