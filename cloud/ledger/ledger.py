"""The ledger as the cloud holds it: its parts, and the commit that puts a tick on disk."""

from pathlib import Path

from cloud.ledger.assignments import AssignmentRow, Assignments
from cloud.ledger.code import Code
from cloud.ledger.contents import Contents
from cloud.ledger.database import Database
from cloud.ledger.events import Events, Item
from cloud.ledger.fleet import Fleet
from cloud.ledger.members import Members
from cloud.ledger.rounds import RoundsStore
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Result
from user_lib.wire.audit_entry import Mark

__all__ = ["Ledger"]

EVENTS_A_STEP = 2000


class Ledger:
    """Everything durable of the cloud; belongs to the loop's thread.

    Laws: what `commit` returned from survives a power cut; without it a tick leaves no trace.
    Raises: LedgerError, from every method, when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.assignments = Assignments(self._database)
        self.members = Members(self._database)
        self.events = Events(self._database)
        self.rounds = RoundsStore(self._database)
        self.fleet = Fleet(self._database)
        self.code = Code(self._database)
        self.contents = Contents(self._database)
        self._counted: dict[AssignmentId, AssignmentRow] = {}

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def refusal(self) -> str:
        """Why the disk did not take the latest tick that had something to keep; empty if it did."""
        return self._database.refusal

    def find(self, assignment_id: AssignmentId) -> AssignmentRow | None:
        """Return an assignment, with what this tick added to its counters."""
        counted = self._counted.get(assignment_id)
        return self.assignments.get(assignment_id) if counted is None else counted

    def add_result(self, row: AssignmentRow, result: Result, seen_ns: int) -> bool:
        """Keep a result and its vehicle's position; False for a repeat."""
        if not self.events.add_result(row, result):
            return False
        if result.payload is not None:
            self.contents.came(row.row, result.payload)
        self.members.answered(row.row, result, seen_ns)
        self._counted[row.assignment_id] = row
        return True

    def append(self, row: AssignmentRow, kind: str, item: Item) -> None:
        """Put an event that is no result at the end of an assignment's stream."""
        self.events.append(row, kind, item)
        self._counted[row.assignment_id] = row

    def prune(self, *, before_ns: int, events: int = EVENTS_A_STEP) -> bool:
        """Remove a bit of an assignment that ended before a time; False when none is left.

        A stream of a million events would hold up the loop for seconds; so ``events`` at a time.
        """
        old = self.assignments.ended_before(before_ns)
        if old is None:
            return False
        if not self.events.remove_some(old, events):
            self.rounds.remove(old)
            self.contents.release_all(old)
            self.members.remove(old)
            self.assignments.remove(old)
        return True

    def lived_ns(self) -> int | None:
        """Return until when this ledger has lived; in an older one, the newest time in it.

        None while there is nothing in it.
        """
        row = self._database.read_one(
            "SELECT coalesce((SELECT unix_ns FROM lived), max("
            " coalesce((SELECT max(created_ns) FROM assignments), 0),"
            " coalesce((SELECT max(ended_ns) FROM assignments), 0),"
            " coalesce((SELECT max(last_seen_ns) FROM vehicles), 0)))"
        )
        return None if row is None else int(row[0]) or None

    def keep_lived(self, unix_ns: int) -> None:
        """Keep until when this ledger has lived."""
        self._database.write("INSERT OR REPLACE INTO lived VALUES (1, ?)", (unix_ns,))

    def audit_mark(self) -> Mark:
        """Return the newest entry of the audit log that was kept."""
        row = self._database.read_one("SELECT number, chain FROM audit")
        return Mark() if row is None else Mark(*row)

    def keep_audit_mark(self, mark: Mark) -> None:
        """Keep with this tick which entry of the audit log is its newest."""
        values = (mark.number, mark.chain)
        self._database.write("INSERT OR REPLACE INTO audit VALUES (1, ?, ?)", values)

    def commit(self) -> bool:
        """Put the tick on disk; False when there was nothing to keep."""
        if self._counted:
            self.assignments.count(self._counted.values())
            self._counted.clear()
        if not self._database.dirty:
            return False
        self._database.commit()
        return True

    def rollback(self) -> None:
        """Forget the tick; rows that were handed out before must be read again."""
        self._counted.clear()
        self._database.rollback()

    def close(self) -> None:
        """Close the file."""
        self._database.close()
