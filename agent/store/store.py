"""The store: writes go in as one transaction a call; the outbox is bounded and counts its losses.

Rules of the outbox. Entries are sent oldest first, at most `MAX_IN_FLIGHT` and half of the outbox's
bytes at once; `deliverable` returns exactly these. They may have reached the cloud already, so they
are never dropped. Of the others, when the limit is reached, results go: lowest priority first, then
oldest first (`agent.store.losses`). A record of the losses takes their place, which is delivered as
results are and never dropped: so an iteration that was committed is delivered, or told as lost,
once.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from agent.policy import Account
from agent.store.database import Database, StateDamaged, StateUnwritable, is_damage
from agent.store.losses import drop_excess
from agent.store.writes import ITEM, Note, Write, decode, write_to
from agent.tasks.code import CodeSlot
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.wire.audit_entry import Entry as AuditEntry
from user_lib.wire.audit_log import AuditLog

__all__ = [
    "MAX_IN_FLIGHT",
    "Entry",
    "Kept",
    "Store",
]

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 32
LOSSES_LOGGED = 100


class Kept(msgspec.Struct, frozen=True):
    """A task as it was left."""

    assignment_id: AssignmentId
    analyst: str
    spec: Assignment
    position: Position


class Entry(msgspec.Struct, frozen=True):
    """An entry of the outbox; ``item`` is loaded with `Store.load`."""

    seq: int
    size: int


class Store:
    """The durable state of one vehicle. Owned by one thread.

    Without a directory all of it is in memory, for simulated vehicles.

    Units: ``outbox_mb`` counts the entries' encoded bytes, in units of 10**6.
    Raises: ConfigError at opening, as `Database`; StateUnwritable from every write; StateDamaged
            from every call but the opening, which puts a damaged file aside.
    """

    def __init__(self, directory: Path | None, *, outbox_mb: float) -> None:
        self._audit: AuditLog | None = None
        self._database = Database(directory)
        self._limit_bytes = int(outbox_mb * 1e6)
        self.dropped_results = 0
        self._deliverable: list[Entry] | None = None
        """What `deliverable` returns, read anew after each write."""
        try:
            self._load()
        except (StateDamaged, sqlite3.DatabaseError) as error:
            self._database.begin_anew(f"does not hold what an agent wrote: {error}")
            self._load()

    def note_in(self, audit: AuditLog) -> None:
        """Put notes in this log from now on; without one they are dropped."""
        self._audit = audit

    def _load(self) -> None:
        (self.epoch,) = self._rows("SELECT value FROM meta WHERE key = 'epoch'")[0]
        self.tasks: tuple[Kept, ...] = tuple(
            Kept(row[0], row[1], decode(row[2], Assignment), decode(row[3], Position))
            for row in self._rows("SELECT * FROM tasks ORDER BY rowid")
        )
        """The tasks that were there at opening."""
        self.slots: tuple[CodeSlot, ...] = tuple(
            decode(row[0], CodeSlot) for row in self._rows("SELECT slot FROM code")
        )
        """The code slots that were there at opening."""
        kept = self._rows("SELECT value FROM meta WHERE key = 'account'")
        self.account = _account(kept[0][0]) if kept else Account()
        """What was charged to the owner's budgets, as it was at opening."""
        self._recount()

    def _recount(self) -> None:
        """Count what is in the outbox; every write keeps the counts, since this reads all of it."""
        self.entries, self.outbox_bytes = self._rows(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM outbox"
        )[0]

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._database.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise StateDamaged(f"the state is damaged: {error}") from error
            raise

    def has_ended(self, assignment_id: AssignmentId) -> bool:
        """Whether the task ran, or was refused, and is over."""
        return bool(self._rows("SELECT 1 FROM ended WHERE assignment_id = ?", (assignment_id,)))

    def apply(self, writes: Iterable[Write]) -> None:
        """Write all of it in one transaction, on disk when this returns, or nothing.

        Notes are written first: what was done is in the audit log, and what was to be done and
        failed may be there too, but nothing is done that is not.

        Raises: StateUnwritable.
        """
        writes = tuple(writes)
        self._note([write.entry for write in writes if isinstance(write, Note)])
        dropped = 0
        entries, size = self.entries, self.outbox_bytes
        try:
            with self._database.transaction() as connection:
                for write in writes:
                    growth = write_to(connection, write)
                    entries, size = entries + growth.entries, size + growth.size
                if size > self._limit_bytes:
                    on_their_way = self._read_deliverable()
                    through_seq = on_their_way[-1].seq if on_their_way else 0
                    excess_bytes = size - self._limit_bytes
                    dropped = drop_excess(connection, excess_bytes, through_seq)
            self.entries, self.outbox_bytes = entries, size
        finally:
            self._deliverable = None
        if dropped:
            self._recount()
            self._tell_of_loss(dropped)

    def _note(self, entries: Sequence[AuditEntry]) -> None:
        if self._audit is None or not entries:
            return
        try:
            self._audit.append(entries)
        except OSError as error:
            raise StateUnwritable(
                f"{self._audit.directory}: the audit log cannot be written: {error}; tasks go on "
                "once it can"
            ) from error

    def _tell_of_loss(self, dropped: int) -> None:
        """Log the first loss, and then every `LOSSES_LOGGED`."""
        before, self.dropped_results = self.dropped_results, self.dropped_results + dropped
        if before and before // LOSSES_LOGGED == self.dropped_results // LOSSES_LOGGED:
            return
        log.warning(
            "the outbox is full (%.1f MB): %d results were dropped so far and are counted as lost",
            self._limit_bytes / 1e6,
            self.dropped_results,
        )

    def probe(self) -> None:
        """Write something harmless, to see whether that works.

        Raises: StateUnwritable.
        """
        with self._database.transaction() as connection:
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'probe'")
        if self._audit is not None:
            words = "state and audit log can be written again"
            self._note([AuditEntry(at=self._audit.now(), event="disk_back", detail=words)])

    def deliverable(self) -> list[Entry]:
        """Return the entries that may be on their way at the same time, oldest first."""
        if self._deliverable is None:
            self._deliverable = self._read_deliverable()
        return self._deliverable

    def _read_deliverable(self) -> list[Entry]:
        rows = self._rows("SELECT seq, size FROM outbox ORDER BY seq LIMIT ?", (MAX_IN_FLIGHT,))
        return _within([Entry(seq, size) for seq, size in rows], self._limit_bytes // 2)

    def load(self, seq: int) -> Result | Losses | TaskEnded | None:
        """Return an entry's item; None when it is no longer there."""
        rows = self._rows("SELECT item FROM outbox WHERE seq = ?", (seq,))
        item: Result | Losses | TaskEnded | None = decode(rows[0][0], ITEM) if rows else None
        return item

    def close(self) -> None:
        """Let the directory go."""
        self._database.close()
        if self._audit is not None:
            self._audit.close()


def _account(text: str) -> Account:
    try:
        return msgspec.json.decode(text, type=Account)
    except msgspec.DecodeError as error:
        raise StateDamaged(f"the account of the budgets cannot be read: {error}") from None


def _within(entries: list[Entry], limit_bytes: int) -> list[Entry]:
    """Return the longest beginning within the limit, at least one entry."""
    size = 0
    for i, entry in enumerate(entries):
        size += entry.size
        if i and size > limit_bytes:
            return entries[:i]
    return entries
