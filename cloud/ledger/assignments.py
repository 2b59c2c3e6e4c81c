"""Assignments: what was submitted, how far it is, and what goes from round to round."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from cloud.ledger.database import Database
from cloud.ledger.signed import pack_signed, unpack_signed
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.signed import Signed
from user_lib.contract.states import JobState

__all__ = ["AssignmentRow", "Assignments", "Carried", "Parcel"]

_COLUMNS = (
    "id, assignment_id, analyst, spec, state, reason, detail, created_ns, started_ns, ended_ns,"
    " last_seq, results, rounds_closed, result_bytes, ran_ns, fruitful, signed, cancelled"
)
UNREADABLE = (ValueError, RecursionError)


class Parcel(msgspec.Struct, frozen=True):
    """A value, or the content that holds it."""

    value: Json = None
    payload: Content | None = None


class Carried(msgspec.Struct, frozen=True):
    """What goes from one round of an assignment to the next, by code version."""

    feedback: dict[str, Parcel] = {}
    states: dict[str, Parcel] = {}


@dataclass(slots=True)
class AssignmentRow:
    """An assignment; ``last_seq`` to ``result_bytes`` count its events."""

    row: int
    assignment_id: AssignmentId
    analyst: UserId
    spec: Assignment
    state: JobState
    reason: str
    detail: str
    created_ns: int
    started_ns: int | None
    ended_ns: int | None
    last_seq: int
    results: int
    rounds_closed: int
    result_bytes: int = 0
    """Of all results as they came, with the contents that they name."""
    ran_ns: int = 0
    """How long it has run while a cloud was there, as it was last kept."""
    fruitful: bool = False
    """A round had an answer that was no failure."""
    signed: Signed | None = None
    """The analyst's order, as the vehicles get it; None in insecure mode."""
    cancelled: Signed | None = None
    """The analyst's order to end it, as the vehicles get it."""


class Assignments:
    """The ledger's part on assignments; `Members` has what became of each on its vehicles."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._specs = msgspec.json.Decoder(Assignment)

    def add(self, row: AssignmentRow, token: str, vehicles: Iterable[VehicleId]) -> None:
        """Keep a new assignment with its vehicles; sets ``row.row``."""
        self._db.write(
            "INSERT INTO assignments (assignment_id, analyst, token, spec, state, created_ns,"
            " signed) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                row.assignment_id,
                row.analyst,
                token,
                msgspec.json.encode(row.spec),
                row.state,
                row.created_ns,
                pack_signed(row.signed),
            ),
        )
        row.row = self._db.read("SELECT last_insert_rowid()")[0][0]
        self._db.write_many(
            "INSERT INTO members (assignment, vehicle_id) VALUES (?, ?)",
            [(row.row, v) for v in vehicles],
        )

    def get(self, assignment_id: AssignmentId) -> AssignmentRow | None:
        """Return an assignment by its id."""
        return self._one("assignment_id = ?", (assignment_id,))

    def by_token(self, analyst: UserId, token: str) -> AssignmentRow | None:
        """Return what an analyst submitted with a token."""
        return self._one("analyst = ? AND token = ?", (analyst, token))

    def live(self) -> list[AssignmentRow]:
        """Return every assignment that has not ended, oldest first."""
        return self._many("ended_ns IS NULL ORDER BY id", ())

    def end_unreadable(self, ended_ns: int) -> list[tuple[AssignmentId, str]]:
        """End every assignment whose specification this version cannot read; return which, why."""
        found: list[tuple[AssignmentId, str]] = []
        for row, name, spec in self._db.read(
            "SELECT id, assignment_id, spec FROM assignments WHERE ended_ns IS NULL"
        ):
            try:
                self._specs.decode(spec)
            except UNREADABLE as error:
                found.append((name, str(error)))
                self._db.write(
                    "UPDATE assignments SET state = ?, reason = 'unreadable', detail = ?,"
                    " ended_ns = ? WHERE id = ?",
                    (JobState.FAILED, str(error), ended_ns, row),
                )
        return found

    def of_analyst(self, analyst: UserId, limit: int) -> list[AssignmentRow]:
        """Return an analyst's assignments, newest first."""
        return self._many("analyst = ? ORDER BY id DESC LIMIT ?", (analyst, limit))

    def started(self, row: int, started_ns: int) -> None:
        """Keep that an assignment began to run."""
        self._db.write(
            "UPDATE assignments SET state = ?, started_ns = ? WHERE id = ?",
            (JobState.RUNNING, started_ns, row),
        )

    def ran(self, row: AssignmentRow) -> None:
        """Keep how long an assignment has run."""
        self._db.write("UPDATE assignments SET ran_ns = ? WHERE id = ?", (row.ran_ns, row.row))

    def fruitful(self, row: AssignmentRow) -> None:
        """Keep that a round of an assignment had a success."""
        self._db.write("UPDATE assignments SET fruitful = 1 WHERE id = ?", (row.row,))

    def ended(self, row: AssignmentRow) -> None:
        """Keep how an assignment ended."""
        self._db.write(
            "UPDATE assignments SET state = ?, reason = ?, detail = ?, ended_ns = ? WHERE id = ?",
            (row.state, row.reason, row.detail, row.ended_ns, row.row),
        )

    def cancelled(self, row: AssignmentRow) -> None:
        """Keep the analyst's order that ends an assignment."""
        self._db.write(
            "UPDATE assignments SET cancelled = ? WHERE id = ?",
            (pack_signed(row.cancelled), row.row),
        )

    def count(self, rows: Iterable[AssignmentRow]) -> None:
        """Keep the counters of assignments that got events."""
        self._db.write_many(
            "UPDATE assignments SET last_seq = ?, results = ?, rounds_closed = ?, result_bytes = ?"
            " WHERE id = ?",
            [(r.last_seq, r.results, r.rounds_closed, r.result_bytes, r.row) for r in rows],
        )

    def memory(self, row: int) -> "Carried":
        """Return the feedback of the last round and the off-board state, each by code version."""
        found = self._db.read(
            "SELECT feedback, offboard_state, held FROM assignments WHERE id = ?", (row,)
        )
        feedback, state, held = found[0]
        contents = Carried() if held is None else msgspec.msgpack.decode(held, type=Carried)
        return Carried(
            feedback={**_unpack(feedback), **contents.feedback},
            states={**_unpack(state), **contents.states},
        )

    def remember(self, row: int, carried: "Carried") -> None:
        """Keep what the next round needs of the last."""
        inline = [
            {k: v.value for k, v in part.items() if v.payload is None}
            for part in (carried.feedback, carried.states)
        ]
        contents = Carried(
            feedback={k: v for k, v in carried.feedback.items() if v.payload is not None},
            states={k: v for k, v in carried.states.items() if v.payload is not None},
        )
        self._db.write(
            "UPDATE assignments SET feedback = ?, offboard_state = ?, held = ? WHERE id = ?",
            (*map(msgspec.msgpack.encode, (*inline, contents)), row),
        )

    def ended_before(self, before_ns: int) -> int | None:
        """Return the row of an assignment that ended before a time."""
        found = self._db.read_one(
            "SELECT id FROM assignments WHERE ended_ns < ? ORDER BY id LIMIT 1", (before_ns,)
        )
        return None if found is None else int(found[0])

    def remove(self, row: int) -> None:
        """Forget an assignment."""
        self._db.write("DELETE FROM assignments WHERE id = ?", (row,))

    def _one(self, where: str, values: tuple[Any, ...]) -> AssignmentRow | None:
        rows = self._many(where, values)
        return rows[0] if rows else None

    def _many(self, where: str, values: tuple[Any, ...]) -> list[AssignmentRow]:
        rows = self._db.read(f"SELECT {_COLUMNS} FROM assignments WHERE {where}", values)  # noqa: S608 - constants
        return [row for r in rows if (row := self._row(r)) is not None]

    def _row(self, columns: tuple[Any, ...]) -> AssignmentRow | None:
        """Return an assignment, None when its specification is unreadable (`end_unreadable`)."""
        values: list[Any] = list(columns)
        try:
            values[3] = self._specs.decode(columns[3])
            values[-2:] = map(unpack_signed, columns[-2:])
        except UNREADABLE:
            return None
        values[4] = JobState(columns[4])
        values[-3] = bool(columns[-3])
        return AssignmentRow(*values)


def _unpack(blob: bytes | None) -> "dict[str, Parcel]":
    found: dict[str, Json] = {} if blob is None else msgspec.msgpack.decode(blob)
    return {version: Parcel(value) for version, value in found.items()}
