"""The cloud's audit log: who submitted, cancelled, pushed, came, went or was refused, and how much.

Entries of a tick are on disk before the tick is: so nothing is done that is not in the log, and a
tick that the ledger's disk refused may be there twice. Refusals of one kind are told once a minute,
with how many more there were.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from cloud.ledger import LedgerError
from user_lib.contract.card import Card
from user_lib.contract.clock import SECOND, Clock
from user_lib.wire.audit_entry import Entry, Mark
from user_lib.wire.audit_log import AuditLog

__all__ = ["Audit"]

FOLD_NS = 60 * SECOND
KINDS_AT_MOST = 1000
OTHERS = ("", "other refusals")


class Audit:
    """Owned by the loop's thread."""

    def __init__(self, log: AuditLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._pending: list[Entry] = []
        self.refusals: Counter[str] = Counter()
        """How often somebody was refused something, by reason."""
        self._refused: dict[tuple[str, str], tuple[int, int]] = {}
        """By who and why: when it was told last, and how many times it happened since."""

    def note(self, event: str, **more: Any) -> None:  # noqa: ANN401 - fields of an Entry
        """Put an entry in the log with this tick."""
        self._pending.append(Entry(at=self._log.now(), event=event, **more))

    def refused(self, who: str, reason: str, detail: str, *, times: int = 1) -> None:
        """Note that somebody was refused something; of one kind once a minute."""
        self.refusals[reason] += times
        key = (who, reason)
        if key not in self._refused and len(self._refused) >= KINDS_AT_MOST:
            key = OTHERS
        if key in self._refused:
            told_ns, more = self._refused[key]
            self._refused[key] = told_ns, more + times
            return
        self._refused[key] = self._clock.monotonic_ns(), times - 1
        self.note("refused", who=who, reason=reason, detail=detail[:1000])

    def tick(self) -> None:
        """Tell how many more refusals of a kind there were in its minute."""
        now_ns = self._clock.monotonic_ns()
        over = [key for key, (told_ns, _) in self._refused.items() if now_ns - told_ns >= FOLD_NS]
        for key in over:
            _, more = self._refused.pop(key)
            if more:
                who, reason = key
                self.note("refused", who=who, reason=reason, detail=f"{more} more within a minute")

    def enrolled(self, before: Iterable[Card], after: Iterable[Card]) -> None:
        """Cards came or went."""
        old, new = set(before), set(after)
        changes = [("enrolled", c) for c in new - old] + [("revoked", c) for c in old - new]
        for event, card in sorted(changes, key=lambda change: (change[1].name, change[0])):
            self.note(event, who=card.name, detail=f"{card.role}, key {card.fingerprint}")

    @property
    def mark(self) -> Mark:
        """The newest entry on disk."""
        return self._log.mark

    def write(self) -> bool:
        """Put the tick's entries on disk; False when there are none.

        Raises: LedgerError; then none of them is in the log.
        """
        if not self._pending:
            return False
        try:
            self._log.append(self._pending)
        except OSError as error:
            raise LedgerError(
                f"the audit log {self._log.directory} cannot be written: {error}; see to its disk"
            ) from None
        self._pending = []
        return True

    def forget(self) -> None:
        """The tick never was."""
        self._pending = []

    def close(self) -> None:
        """Write what was held back, if its disk allows, and let the file go."""
        for (who, reason), (_, more) in self._refused.items():
            if more:
                self.note("refused", who=who, reason=reason, detail=f"{more} more")
        try:
            self.write()
        finally:
            self._log.close()
