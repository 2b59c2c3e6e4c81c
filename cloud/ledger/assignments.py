"""Assignments and, for each, the vehicles it was given to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from cloud.ledger.database import Database
from cloud.ledger.signed import pack_signed, unpack_signed
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.signed import Signed
from user_lib.contract.states import JobState, TaskState

__all__ = ["AssignmentRow", "Assignments", "Carried", "MemberRow", "Parcel"]

_COLUMNS = (
    "id, assignment_id, analyst, spec, state, reason, detail, created_ns, started_ns, ended_ns,"
    " last_seq, results, rounds_closed, result_bytes, ran_ns, fruitful, signed, cancelled"
)
_MEMBER_COLUMNS = (
    "vehicle_id, state, reason, detail, iteration, results, lost_results, last_result_ns,"
    " last_failure, standing"
)
MAX_FAILURE_CHARS = 2000
LOOKED_UP_AT_MOST = 50_000
"""More iterations than an outbox can hold back; who tells of more is not believed in that."""
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


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One vehicle's part; ``standing`` is 0, 1 (missed the last round) or 2 (and was away)."""

    vehicle_id: VehicleId
    state: TaskState | None
    reason: str
    detail: str
    iteration: int
    results: int
    lost_results: int
    last_result_ns: int | None
    last_failure: str
    standing: int


class Assignments:
    """The ledger's part on assignments and their members."""

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
        """Forget an assignment and its members."""
        self._db.write("DELETE FROM members WHERE assignment = ?", (row,))
        self._db.write("DELETE FROM losses WHERE assignment = ?", (row,))
        self._db.write("DELETE FROM assignments WHERE id = ?", (row,))

    # --- members ---------------------------------------------------------------------------------

    def members(self, row: int) -> list[MemberRow]:
        """Return the vehicles of an assignment."""
        rows = self._db.read(
            f"SELECT {_MEMBER_COLUMNS} FROM members WHERE assignment = ? ORDER BY vehicle_id",  # noqa: S608 - a constant
            (row,),
        )
        return [MemberRow(v, state and TaskState(state), *rest) for v, state, *rest in rows]

    def vehicles(self, row: int) -> tuple[VehicleId, ...]:
        """Return the ids of an assignment's vehicles."""
        rows = self._db.read(
            "SELECT vehicle_id FROM members WHERE assignment = ? ORDER BY vehicle_id", (row,)
        )
        return tuple(v for (v,) in rows)

    def is_member(self, row: int, vehicle: VehicleId) -> bool:
        """Whether an assignment was given to a vehicle."""
        found = self._db.read_one(
            "SELECT 1 FROM members WHERE assignment = ? AND vehicle_id = ?", (row, vehicle)
        )
        return found is not None

    def accepted(self, row: int, vehicle: VehicleId, state: TaskState) -> None:
        """Keep that a vehicle took the task."""
        self._db.write(
            "UPDATE members SET state = ? WHERE assignment = ? AND vehicle_id = ?",
            (state, row, vehicle),
        )

    def answered(self, row: int, result: Result, seen_ns: int) -> None:
        """Keep a member's position after a result."""
        failure = "" if result.status == "ok" else f"{result.reason}: {result.detail}"
        self._db.write(
            "UPDATE members SET iteration = max(iteration, ?), results = results + 1,"
            " last_result_ns = ?, last_failure = CASE WHEN ? <> '' THEN ? ELSE last_failure END,"
            " standing = CASE WHEN ? THEN standing ELSE 0 END"
            " WHERE assignment = ? AND vehicle_id = ?",
            (
                result.iteration,
                seen_ns,
                failure,
                failure[:MAX_FAILURE_CHARS],
                result.late,
                row,
                result.vehicle_id,
            ),
        )

    def task_ended(self, row: int, ended: TaskEnded) -> bool:
        """Keep how a member's task ended, and how many iterations its vehicle committed.

        False when that was known.
        """
        changed = self._db.write(
            "UPDATE members SET state = ?, reason = ?, detail = ?, committed = ?, ended = ?"
            " WHERE assignment = ? AND vehicle_id = ? AND (state IS NULL OR state NOT IN"
            " ('finished', 'failed', 'rejected', 'cancelled'))",
            (
                ended.state,
                ended.reason,
                ended.detail,
                ended.iterations,
                msgspec.msgpack.encode(ended),
                row,
                ended.vehicle_id,
            ),
        )
        return changed > 0

    def ends(self, row: int, after: VehicleId, limit: int) -> list[TaskEnded]:
        """Return the next vehicles' own words on how their task ended, by vehicle."""
        rows = self._db.read(
            "SELECT ended FROM members WHERE assignment = ? AND vehicle_id > ?"
            " AND ended IS NOT NULL ORDER BY vehicle_id LIMIT ?",
            (row, after, limit),
        )
        return [msgspec.msgpack.decode(ended, type=TaskEnded) for (ended,) in rows]

    def lost(self, row: int, losses: Losses) -> tuple[tuple[int, int], ...]:
        """Keep which iterations a member had to drop; return those that are news.

        One whose result is here was sent before a rule made the vehicle drop it: the result counts.
        """
        new = []
        for first, last in self._without_results(row, losses):
            kept = self._db.write(
                "INSERT OR IGNORE INTO losses (assignment, vehicle_id, epoch, first, last, reason)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (row, losses.vehicle_id, losses.epoch, first, last, losses.reason),
            )
            new += [(first, last)] * kept
        if new:
            count = sum(last - first + 1 for first, last in new)
            self._db.write(
                "UPDATE members SET lost_results = lost_results + ?, iteration = max(iteration, ?)"
                " WHERE assignment = ? AND vehicle_id = ?",
                (count, new[-1][1], row, losses.vehicle_id),
            )
        return tuple(new)

    def _without_results(self, row: int, losses: Losses) -> Iterator[tuple[int, int]]:
        """Yield the runs of iterations of which no result is here.

        What an outbox dropped for want of room was never sent, and may be far more than one can
        look up one by one.
        """
        if losses.reason == "outbox_full" or losses.count > LOOKED_UP_AT_MOST:
            yield from losses.iterations
            return
        for first, last in losses.iterations:
            begin = first
            for iteration in range(first, last + 1):
                found = self._db.read_one(
                    "SELECT 1 FROM results WHERE assignment = ? AND iteration = ?"
                    " AND vehicle_id = ? AND epoch = ?",
                    (row, iteration, losses.vehicle_id, losses.epoch),
                )
                if found is not None:
                    if begin < iteration:
                        yield begin, iteration - 1
                    begin = iteration + 1
            if begin <= last:
                yield begin, last

    def lost_in(self, row: int, iteration: int) -> set[VehicleId]:
        """Return the vehicles that had to drop their result of an iteration."""
        rows = self._db.read(
            "SELECT DISTINCT vehicle_id FROM losses WHERE assignment = ? AND first <= ?"
            " AND last >= ?",
            (row, iteration, iteration),
        )
        return {vehicle for (vehicle,) in rows}

    def standing(self, row: int, standings: Iterable[tuple[VehicleId, int]]) -> None:
        """Keep who missed the last round."""
        self._db.write_many(
            "UPDATE members SET standing = ? WHERE assignment = ? AND vehicle_id = ?",
            [(standing, row, vehicle) for vehicle, standing in standings],
        )

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
