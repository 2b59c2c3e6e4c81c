"""What the cloud asks of the vehicle: assignments, code, rounds. Every order may be repeated."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from agent import notes
from agent.policy import Held, Policy, Refusal, changes, check_code, digest
from agent.retraction import Retraction, untrusted
from agent.store import EndTask, Kept, Note, Origin, SaveSlot, SaveTask, Store, Tell
from agent.strangers import Strangers
from agent.tasks.admission import refusal_for
from agent.tasks.code import CodeSlot, arm
from agent.tasks.live import over_by
from agent.tasks.modules import Modules
from agent.tasks.ports import Signals
from agent.tasks.receipt import Identity, SizeCap
from agent.tasks.table import Table
from agent.tasks.task import Now, Position, RoundBegan, RoundsPassed, Withdrawn
from agent.trust import Trust, Untrusted
from user_lib.contract.assignment import ONBOARD_METHODS, Assignment
from user_lib.contract.content import megabytes
from user_lib.contract.errors import CodeError
from user_lib.contract.ids import UserId
from user_lib.contract.messages import Assign, CodeReport, Feedback, SetCode, TaskEnded, Withdraw
from user_lib.contract.states import TaskState

__all__ = ["Orders", "Rules"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What decides whether an assignment may run here."""

    policy: Policy
    external: Collection[str]
    signals: Signals
    trust: Trust
    cap: SizeCap
    """How large a content may be."""
    barred: str = ""
    """Why the sandbox cannot confine foreign code on this machine; empty when it can."""


class Orders:
    """Carries out orders on the table, the code slots and the store. Of the main loop's thread."""

    def __init__(
        self, identity: Identity, rules: Rules, store: Store, table: Table, modules: Modules
    ) -> None:
        self._identity, self._rules, self._store = identity, rules, store
        self.trust = rules.trust
        self._strangers = Strangers()
        self.refused = 0
        """Orders that were not carried out, whatever forbade them."""
        self._cards = rules.trust.cards
        self.table, self.modules = table, modules
        self._retraction = Retraction(store, table, modules)

    def note(self, event: str, detail: str, now: Now) -> None:
        """Put the rules in force in the audit log."""
        entry = notes.rules(event, digest(self._rules.policy), detail, now.unix_ns)
        self.table.write([Note(entry)], now)

    def resume(self, now: Now) -> None:
        """Take up the tasks that the store keeps; those that may no longer run end, saying so."""
        trusts = ", ".join(f"{c.name} ({c.fingerprint})" for c in self._cards)
        version = self._identity.agent_version
        words = f"agent {version} trusts {trusts or 'nobody'}"
        self.note("started", words if self.trust.keyed else f"agent {version}, INSECURE", now)
        self._judge([Origin(k.assignment_id, k.analyst, k.spec) for k in self._store.tasks], now)
        for kept in self._store.tasks:
            self.table.add(kept, self._resumed(kept), now)
        self.table.flush(now)
        if len(self.table):
            log.info("took up %d tasks where they were", len(self.table))

    def renew(self, rules: Rules, dbc_hash: str, now: Now) -> None:
        """Take other rules and databases: a task that they do not allow ends, saying so."""
        changed = changes(self._rules.policy, rules.policy)
        self._rules = rules
        self.note("rules", f"read again: {'; '.join(changed) or 'unchanged'}", now)
        for words in changed or ("unchanged",):
            log.info("policy: %s", words)
        self._identity = replace(self._identity, dbc_hash=dbc_hash)
        self._judge(self._held(), now)
        self._end_forbidden(now)
        self.table.renew(rules.policy, dbc_hash, now)

    def assign(self, order: Assign, now: Now) -> None:
        """Begin a task, or refuse it for a reason that reaches the analyst.

        Given again for a task that is here, it tells which iteration is due by now.
        """
        assignment_id = order.assignment_id
        if assignment_id in self.table:
            self.table.give(assignment_id, RoundsPassed(order.first_iteration), now)
            return
        if self._store.has_ended(assignment_id):
            return
        try:
            spec = self.trust.spec_of(order)
        except Untrusted as error:
            self._refuse_untrusted(order, error, now)
            return
        refusal = self._refusal(order.analyst, spec, self._held_for(order.analyst))
        position = Position(iteration=order.first_iteration)
        if refusal is not None:
            log.info("task %s: refused: %s", assignment_id, refusal.detail)
            note = notes.refused(assignment_id, order.analyst, spec, refusal, now.unix_ns)
            rejected = self._rejected(order, refusal)
            if self.table.write([EndTask(rejected, spec.priority), Note(note)], now):
                self.refused += 1  # otherwise the cloud assigns again
            return
        saved = SaveTask(assignment_id, order.analyst, spec, position)
        slot = self.modules.get(order.analyst) if spec.onboard == "custom" else None
        version = "" if slot is None else slot.to_report().version
        note = notes.accepted(assignment_id, order.analyst, spec, version, now.unix_ns)
        if self.table.write([saved, Note(note)], now):  # otherwise the cloud assigns again
            log.info("task %s: accepted from %s", assignment_id, order.analyst)
            self.table.add(Kept(assignment_id, order.analyst, spec, position), None, now)

    def withdraw(self, order: Withdraw, now: Now) -> None:
        """End a task that its analyst cancelled, or that the cloud no longer wants.

        The first has to be signed. The second cannot be: the end says that it is the cloud's word.
        """
        analyst = self.table.analyst_of(order.assignment_id)
        if analyst is None:
            return
        if order.reason != "cancelled":
            self.table.give(order.assignment_id, Withdrawn("withdrawn", order.reason), now)
            return
        try:
            self.trust.check_cancel(order, analyst)
        except Untrusted as error:
            self.refused += 1
            if self._strangers.admit(f"cancel {order.assignment_id}", now.monotonic_ns):
                log.warning("task %s: goes on: %s: %s", order.assignment_id, error.reason, error)
                words = f"to cancel it: {error}"
                refusal = Refusal(reason=error.reason, detail=words)
                entry = notes.refused(order.assignment_id, analyst, None, refusal, now.unix_ns)
                self.table.write([Note(entry)], now)
            return
        self.table.give(order.assignment_id, Withdrawn("cancelled"), now)

    def begin_round(self, order: Feedback, now: Now) -> None:
        """Let a task run the round that has begun."""
        self.table.give(order.assignment_id, RoundBegan(order), now)

    def set_code(self, order: SetCode, now: Now) -> None:
        """Arm a code version, or say why not; it counts once it is on disk."""
        self.table.flush(now)
        before = self.modules.get(order.analyst) or CodeSlot(analyst=order.analyst)
        try:
            self.trust.check_code(order)
        except Untrusted as error:
            self._refuse_code(order, error, now)
            return
        slot = arm(before, order, lambda source: self._check_code(order.analyst, source))
        if slot is before:
            self.modules.report(order.analyst)
            return
        note = Note(notes.code(slot, now.unix_ns))
        if self.table.write([SaveSlot(slot), note], now):  # otherwise the cloud sends it again
            self.refused += slot.report == "refused"
            self.modules.put(slot)
            log.info("code of %s: generation %d %s", slot.analyst, slot.generation, slot.report)

    def _end_forbidden(self, now: Now) -> None:
        for kept in self._held():
            refusal = self._resumed(kept)
            if refusal is not None:
                log.warning(
                    "task %s ends: %s: %s", kept.assignment_id, refusal.reason, refusal.detail
                )
                self.table.give(kept.assignment_id, over_by(refusal), now)

    def _resumed(self, kept: Kept | Origin) -> Refusal | None:
        if self.trust.doubt(kept.analyst):
            return None  # it is held, see `Retraction`
        return untrusted(self.trust, kept.analyst) or self._refusal(kept.analyst, kept.spec, Held())

    def _held(self) -> list[Origin]:
        specs = self.table.specs
        return [Origin(name, analyst, specs[name]) for name, analyst in self.table.analysts()]

    def _judge(self, held: Iterable[Origin], now: Now) -> None:
        """Let no result leave that waits in the outbox and may not leave as of now."""
        rules, origins = self._rules, (*held, *self._store.origins())
        self._retraction.judge(origins, rules.policy, self.trust, rules.signals, now)

    def tick(self, now: Now) -> None:
        """Do again what the disk did not take."""
        self._retraction.again(now)

    def _check_code(self, analyst: UserId, source: str) -> None:
        if self._rules.barred:
            raise CodeError(f"this vehicle cannot confine custom code: {self._rules.barred}")
        check_code(self._rules.policy, self.trust.analyst(analyst), source)

    def _held_for(self, analyst: UserId) -> Held:
        owners = [owner for _, owner in self.table.analysts()]
        return Held(len(owners), owners.count(analyst))

    def _refusal(self, analyst: UserId, spec: Assignment, held: Held) -> Refusal | None:
        rules = self._rules
        if rules.barred and spec.onboard not in ONBOARD_METHODS:
            return Refusal(
                reason="sandbox",
                detail=f"this vehicle cannot confine foreign code: {rules.barred}; "
                "use a built-in method",
                path="onboard",
            )
        content = spec.onboard_content
        if content is not None and content.size > rules.cap.own_bytes:
            size = megabytes(content.size)
            return Refusal(
                reason="content_too_large",
                detail=f"the parameters have {size}; at most {rules.cap} are taken here",
                path="onboard_params",
            )
        return refusal_for(
            spec,
            self.trust.analyst(analyst),
            rules.policy,
            rules.signals,
            external=rules.external,
            held=held,
        )

    def trust_changed(self, now: Now) -> None:
        """End the tasks that may no longer run, of analysts whom the owner no longer trusts say."""
        before, self._cards = self._cards, self.trust.cards
        changes = notes.trusted(before, self._cards, now.unix_ns)
        if changes:
            self.table.write([Note(entry) for entry in changes], now)
        self._judge(self._held(), now)
        self._end_forbidden(now)

    def _refuse_untrusted(self, order: Assign, error: Untrusted, now: Now) -> None:
        """Tell of an order that nobody trusted signed, a bounded number of times.

        It does not count as a task that ended here: whoever makes up orders must not be able to
        make this vehicle forget the real ones, or fill its disk.
        """
        self.refused += 1
        if not self._strangers.admit(order.assignment_id, now.monotonic_ns):
            return
        doubt = self.trust.doubt(order.analyst)
        if doubt:
            log.error("task %s: not begun for now: %s", order.assignment_id, doubt)
            return
        log.warning("task %s: refused: %s: %s", order.assignment_id, error.reason, error)
        refusal = Refusal(reason=error.reason, detail=str(error))
        note = notes.refused(order.assignment_id, order.analyst, None, refusal, now.unix_ns)
        self.table.write([Tell(self._rejected(order, refusal)), Note(note)], now)

    def _refuse_code(self, order: SetCode, error: Untrusted, now: Now) -> None:
        """Tell of code that nobody trusted signed; the slot stays what it was."""
        self.refused += 1
        if self.trust.doubt(order.analyst):
            return  # the cloud gives it again
        if self._strangers.admit(f"code of {order.analyst}", now.monotonic_ns):
            words = f"generation {order.generation}, version {order.version[:64]}: {error}"
            refusal = Refusal(reason=error.reason, detail=words)
            note = notes.refused("", order.analyst, None, refusal, now.unix_ns)
            self.table.write([Note(note)], now)
        self.modules.refuse(
            CodeReport(
                analyst=order.analyst,
                generation=order.generation,
                version=order.version,
                state="refused",
                detail=f"{error.reason}: {error}",
            )
        )

    def _rejected(self, order: Assign, refusal: Refusal) -> TaskEnded:
        return TaskEnded(
            assignment_id=order.assignment_id,
            vehicle_id=self._identity.vehicle_id,
            epoch=self._identity.epoch,
            state=TaskState.REJECTED,
            reason=refusal.reason,
            detail=refusal.detail,
            path=refusal.path,
            near=refusal.near,
            rule=refusal.rule,
        )
