"""The owner's rules at work on running tasks: what may be computed now, what may leave, what has.

Owned by the main loop's thread. What is charged counts at once and is written with the results that
it counts; when that write fails it is taken back, since the results are given again.
"""

import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from agent.policy.budgets import Account, Moment, Sent, charged, moved_on, over, used_up
from agent.policy.rights import Analyst
from agent.policy.rules import Policy, Refusal
from user_lib.contract.clock import SECOND
from user_lib.contract.ids import AssignmentId, UserId

__all__ = ["Allowance", "KeysOf", "boot_id"]

log = logging.getLogger(__name__)

KeysOf = Callable[[UserId], tuple[str, ...]]
"""Returns the fingerprints of the keys that are trusted under a name."""
SAVED_EVERY_NS = 600 * SECOND
NOTED_EVERY_NS = 3600 * SECOND
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id(told: Mapping[str, str] = os.environ, file: Path = BOOT_ID) -> str:
    """Return what names this boot of the machine.

    A hardened unit hides that part of /proc and tells it in ``OODIDA_BOOT_ID``. Where nobody tells,
    each start counts as a boot.
    """
    named = told.get("OODIDA_BOOT_ID")
    try:
        return (named or file.read_text(encoding="ascii")).strip().replace("-", "")
    except OSError as error:
        log.warning("%s: %s; this start counts as a boot", file, error.strerror)
        return uuid.uuid4().hex


def no_keys(name: UserId) -> tuple[str, ...]:
    """Return that nobody has keys: the insecure mode."""
    del name
    return ()


class Allowance:
    """Judges and counts by one policy, which a reload exchanges."""

    def __init__(
        self,
        policy: Policy,
        account: Account | None = None,
        keys_of: KeysOf = no_keys,
        *,
        kept: bool = True,
    ) -> None:
        """``kept``: whether the account outlives the process; a simulated vehicle's does not."""
        self.policy, self._kept = policy, kept
        self._keys_of, self._boot = keys_of, boot_id()
        self._durable = self._account = account or Account()
        self._told: set[str] = set()
        self._hour = self._account.elapsed_ns // NOTED_EVERY_NS
        self.counts: Counter[str] = Counter()
        """Iterations refused, results withheld, and times that a budget was used up, by word."""

    def analyst(self, name: UserId) -> Analyst:
        """Return who an analyst is as of now."""
        return Analyst(name, self._keys_of(name))

    def move_on(self, monotonic_ns: int, unix_ns: int, *, trusted: bool) -> None:
        """Let time pass."""
        at = Moment(self._boot, monotonic_ns, unix_ns, trusted)
        self._account = moved_on(self._account, at)

    def wait_for(self, name: UserId, running: tuple[int, int]) -> Refusal | None:
        """Return why an iteration has to wait; None when it may run."""
        refusal = used_up(self.policy, self.analyst(name), self._account, running)
        if refusal is None:
            self._told.discard(name)
            return None
        if name not in self._told:
            self._told.add(name)
            self.counts["waits"] += 1
            log.warning("tasks of %s wait: %s", name, refusal.detail)
        return refusal

    def withhold(self, name: UserId, size: int) -> Refusal | None:
        """Return why a result of so many bytes may not leave, None when it may."""
        refusal = over(self.policy, self.analyst(name), self._account, size)
        if refusal is not None:
            self.counts["withheld"] += 1
            log.warning("a result of %s is withheld: %s", name, refusal.detail)
        return refusal

    def charge(self, name: UserId, assignment_id: AssignmentId, size: int) -> None:
        """Count a result that is to leave."""
        self._account = charged(self._account, name, assignment_id, size)

    def retract(self, assignment_id: AssignmentId, results: int) -> None:
        """Count results of a running task that stay here after all; no budget gets them back."""
        before = self._account.sent.get(assignment_id)
        if before is not None:
            now = msgspec.structs.replace(before, retracted=before.retracted + results)
            sent = {**self._account.sent, assignment_id: now}
            self._account = msgspec.structs.replace(self._account, sent=sent)

    def sent(self, assignment_id: AssignmentId) -> Sent:
        """Return what a task has made to be sent since it began."""
        return self._account.sent.get(assignment_id, Sent())

    def to_note(self) -> dict[AssignmentId, Sent]:
        """Return what tasks have made to be sent, every hour, if that is more than was noted."""
        hour = self._account.elapsed_ns // NOTED_EVERY_NS
        if hour == self._hour:
            return {}
        self._hour, account = hour, self._account
        news = {job: s for job, s in account.sent.items() if s.results > s.noted}
        noted = {job: msgspec.structs.replace(s, noted=s.results) for job, s in news.items()}
        self._account = msgspec.structs.replace(account, sent={**account.sent, **noted})
        return news

    def forget(self, assignment_id: AssignmentId) -> None:
        """A task is over: what it sent is no longer counted apart."""
        sent = {k: v for k, v in self._account.sent.items() if k != assignment_id}
        self._account = msgspec.structs.replace(self._account, sent=sent)

    @property
    def to_save(self) -> Account | None:
        """What has to be written with what is being written; None when nothing changed."""
        before, now = self._durable, self._account
        if not self._kept:
            return None
        if (before.spent, before.sent) != (now.spent, now.sent):
            return now
        aged = now.elapsed_ns - before.elapsed_ns >= SAVED_EVERY_NS or before.seen is None
        return now if aged and now.seen is not None else None

    def saved(self, account: Account) -> None:
        """What was to be saved is on disk."""
        self._durable = account

    def undo(self) -> None:
        """What was to be saved is not on disk: the results come again, so they did not leave."""
        self._account = msgspec.structs.replace(
            self._account, spent=self._durable.spent, sent=self._durable.sent
        )
