"""The store: writes go in as one transaction a call; the outbox is bounded and counts its losses.

Rules of the outbox. Entries are sent oldest first, at most `MAX_IN_FLIGHT` and half of the outbox's
bytes at once; `deliverable` returns exactly these. They may have reached the cloud already, so they
are never dropped. Of the others, when the limit is reached, results go: lowest priority first, then
oldest first (`agent.store.losses`). A record of the losses takes their place, which is delivered as
results are and never dropped: so an iteration that was committed is delivered, or told as lost,
once. A rule that forbids a task drops all of its results, those that were sent included.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.policy import Account
from agent.store.database import Database, StateDamaged, StateUnwritable
from agent.store.losses import drop_excess, forbidden, retract, wordy
from agent.store.writes import ITEM, Enqueue, Note, Retract, Write, decode, write_to
from agent.tasks.code import CodeSlot
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Chunk, Losses, Result, TaskEnded
from user_lib.wire.audit_entry import Entry as AuditEntry
from user_lib.wire.audit_entry import Mark
from user_lib.wire.audit_log import AuditLog
from user_lib.wire.content_rows import ContentRows

__all__ = [
    "MAX_IN_FLIGHT",
    "Entry",
    "Kept",
    "Origin",
    "Store",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_IN_FLIGHT = 32
LOSSES_LOGGED = 100


class Kept(msgspec.Struct, frozen=True):
    """A task as it was left."""

    assignment_id: AssignmentId
    analyst: str
    spec: Assignment
    position: Position


class Origin(msgspec.Struct, frozen=True):
    """What a task was that has ended, and of which results, or the end, wait to be sent."""

    assignment_id: AssignmentId
    analyst: str
    spec: Assignment


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
        self.contents = ContentRows(self._database)
        """What results name, and what tasks were given by name; written by `apply` and below."""
        self.dropped_results = self.retracted_results = 0
        self._barred: frozenset[AssignmentId] = frozenset()
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
        try:
            with self._database.transaction() as connection:
                mark = self._keep_mark(connection)
            self.audit_mark = mark
        except StateUnwritable as error:
            log.warning("%s; the audit log's newest entry is kept with the next write", error)

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
        for (seq,) in self._rows("SELECT seq FROM outbox"):
            self.load(seq)  # one that cannot be read would stop this agent at each start
        kept = self._rows("SELECT value FROM meta WHERE key = 'account'")
        self.account = _plain(kept[0][0], Account) if kept else Account()
        """What was charged to the owner's budgets, as it was at opening."""
        kept = self._rows("SELECT value FROM meta WHERE key = 'audit'")
        self.audit_mark = _plain(kept[0][0], Mark) if kept else Mark()
        """The newest entry of the audit log that is known to have been on disk."""
        self._named = self._owed()
        """The contents that the outbox names."""
        on_their_way = self.deliverable()
        self._sent_seq = on_their_way[-1].seq if on_their_way else 0
        """Entries up to this one were sent, or may have been by the process before this one."""
        self._recount()

    def _recount(self) -> None:
        """Count what is in the outbox; every write keeps the counts, since this reads all of it."""
        self.entries, self.outbox_bytes = self._counted()

    def _counted(self) -> tuple[int, int]:
        entries, size = self._rows("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM outbox")[0]
        return entries, size

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._database.read(query, values)

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
        dropped = retracted = 0
        entries, size, named = self.entries, self.outbox_bytes, self._named
        try:
            with self._database.transaction() as connection:
                for write in writes:
                    if isinstance(write, Retract):
                        retracted += retract(connection, write, self._sent_seq)
                        entries, size = self._counted()
                        continue
                    growth = write_to(connection, write)
                    entries, size = entries + growth.entries, size + growth.size
                    if isinstance(write, Enqueue) and write.result.payload is not None:
                        self.contents.put(write.result.payload, write.body)
                        named = named | {write.result.payload.digest}
                if size > self._limit_bytes:
                    on_their_way = self._read_deliverable()
                    through_seq = on_their_way[-1].seq if on_their_way else 0
                    excess_bytes = size - self._limit_bytes
                    dropped = drop_excess(connection, excess_bytes, through_seq)
                if named:
                    owed = self._owed()
                    self.contents.remove(named - owed)
                    named = owed
                mark = self._keep_mark(connection)
            self.audit_mark = mark
            self.entries, self.outbox_bytes, self._named = entries, size, named
        finally:
            self._deliverable = None
        self.retracted_results += retracted
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

    def _keep_mark(self, connection: sqlite3.Connection) -> Mark:
        """Remember the audit log's newest entry, in the transaction that is open; return it."""
        if self._audit is None or self._audit.mark == self.audit_mark:
            return self.audit_mark
        mark = self._audit.mark
        text = msgspec.json.encode(mark).decode()
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('audit', ?)", (text,))
        return mark

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
        if self._barred:
            rows = [r for r in self._rows(_DELIVERABLE, (-1,)) if r[2] not in self._barred]
        else:
            rows = self._rows(_DELIVERABLE, (MAX_IN_FLIGHT,))
        entries = [Entry(seq, size) for seq, size, _ in rows[:MAX_IN_FLIGHT]]
        return _within(entries, self._limit_bytes // 2)

    def load(self, seq: int) -> Result | Losses | TaskEnded | None:
        """Return an entry's item; None when it is no longer there."""
        rows = self._rows("SELECT item FROM outbox WHERE seq = ?", (seq,))
        item: Result | Losses | TaskEnded | None = decode(rows[0][0], ITEM) if rows else None
        return item

    def sending(self, seq: int) -> None:
        """Take it that an entry is on its way from now on."""
        self._sent_seq = max(self._sent_seq, seq)

    def forbidden(self, write: Retract) -> int:
        """Return how many results a rule would keep here."""
        return len(forbidden(self._database.connection, write))

    def forbidden_words(self, write: Retract) -> bool:
        """Whether the end of a task waits with words that a rule keeps here."""
        return bool(wordy(self._database.connection, write))

    def origins(self) -> tuple[Origin, ...]:
        """Return the tasks that have ended and of which results, or the end, wait to be sent.

        Those that ended under an agent which kept no account of it are not among them.
        """
        rows = self._rows(
            "SELECT * FROM origins WHERE assignment_id IN"
            " (SELECT assignment_id FROM outbox WHERE kind IN (0, 1)) ORDER BY rowid"
        )
        return tuple(Origin(row[0], row[1], decode(row[2], Assignment)) for row in rows)

    def bar(self, assignments: Iterable[AssignmentId]) -> None:
        """Send nothing of these, of all others again."""
        self._barred, self._deliverable = frozenset(assignments), None

    # --- contents --------------------------------------------------------------------------------

    def owes(self, digest: str) -> bool:
        """Whether an entry of the outbox that may be sent names a content."""
        rows = self._rows("SELECT assignment_id FROM outbox WHERE digest = ?", (digest,))
        return any(assignment_id not in self._barred for (assignment_id,) in rows)

    def receive(self, content: Content, chunks: Iterable[Chunk]) -> bool:
        """Keep the next chunks of a content, on disk when this returns; False if it is damaged.

        Raises: StateUnwritable.
        """
        with self._database.transaction():
            self.contents.begin(content)
            for chunk in chunks:
                self.contents.append(content, chunk.offset, chunk.data)
            if self.contents.have(content.digest) < content.size:
                return True
            return self.contents.seal(content)

    def received(self) -> dict[str, int]:
        """Return the contents that did not come from here, and how many bytes of each there are."""
        owed = self._owed()
        return {digest: have for digest, have in self.contents.listed() if digest not in owed}

    def forget(self, digests: Iterable[str]) -> None:
        """Throw contents away. Raises: StateUnwritable."""
        with self._database.transaction():
            self.contents.remove(digests)

    def _owed(self) -> set[str]:
        """Return the contents that the outbox names."""
        rows = self._rows("SELECT DISTINCT digest FROM outbox WHERE digest IS NOT NULL")
        return {digest for (digest,) in rows}

    def close(self) -> None:
        """Let the directory go."""
        self._database.close()
        if self._audit is not None:
            self._audit.close()


def _plain(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except ValueError as error:
        raise StateDamaged(f"the {kind.__name__.lower()} cannot be read: {error}") from None


_DELIVERABLE = """
SELECT seq, size, assignment_id FROM outbox AS entry WHERE NOT (kind = 1 AND EXISTS (
    SELECT 1 FROM outbox WHERE digest IS NOT NULL AND seq < entry.seq
    AND assignment_id = entry.assignment_id
)) ORDER BY seq LIMIT ?
"""
"""The end of a task is its last word: it waits for results whose contents are under way."""


def _within(entries: list[Entry], limit_bytes: int) -> list[Entry]:
    """Return the longest beginning within the limit, at least one entry."""
    size = 0
    for i, entry in enumerate(entries):
        size += entry.size
        if i and size > limit_bytes:
            return entries[:i]
    return entries
