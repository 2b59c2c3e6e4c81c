"""The vehicles that an assignment was given to, and what became of it on each."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cloud.ledger.database import Database
from cloud.ledger.losses import LossRows
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.runs import Run, length
from user_lib.contract.states import TaskState

__all__ = ["MemberRow", "Members"]

_MEMBER_COLUMNS = (
    "vehicle_id, state, reason, detail, iteration, results, lost_results, last_result_ns,"
    " last_failure, standing"
)
MAX_FAILURE_CHARS = 2000
MAX_COUNTED = 2**53
"""Who tells of more, in ever new epochs, lies; the column would not hold it."""


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


class Members:
    """The ledger's part on members; ``row`` is their assignment's."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._losses = LossRows(database)

    def of(self, row: int) -> list[MemberRow]:
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

    def lost(self, row: int, losses: Losses) -> tuple[Run, ...]:
        """Keep which iterations a member had to drop; return those that are news."""
        news = self._losses.keep(row, losses)
        if news:
            count = length(news)
            self._db.write(
                "UPDATE members SET lost_results = min(lost_results + ?, ?),"
                " iteration = max(iteration, ?) WHERE assignment = ? AND vehicle_id = ?",
                (count, MAX_COUNTED, news[-1][1], row, losses.vehicle_id),
            )
        return news

    def lost_in(self, row: int, iteration: int) -> set[VehicleId]:
        """Return the vehicles that had to drop their result of an iteration."""
        return self._losses.lost_in(row, iteration)

    def remove(self, row: int) -> None:
        """Forget the vehicles of an assignment, and what they lost."""
        self._losses.remove(row)
        self._db.write("DELETE FROM members WHERE assignment = ?", (row,))

    def lost_for(self, row: int) -> dict[VehicleId, dict[str, int]]:
        """Return how many results each vehicle had to drop for which reasons, the most first."""
        return self._losses.lost_for(row)

    def rules(self, row: int) -> dict[VehicleId, str]:
        """Return the owner's rule by which a task was refused or ended, where it was one."""
        rows = self._db.read(
            "SELECT vehicle_id, ended FROM members WHERE assignment = ?"
            " AND state IN ('failed', 'rejected') AND ended IS NOT NULL",
            (row,),
        )
        ends = ((v, msgspec.msgpack.decode(ended, type=TaskEnded)) for v, ended in rows)
        return {vehicle: ended.rule for vehicle, ended in ends if ended.rule}

    def standing(self, row: int, standings: Iterable[tuple[VehicleId, int]]) -> None:
        """Keep who missed the last round."""
        self._db.write_many(
            "UPDATE members SET standing = ? WHERE assignment = ? AND vehicle_id = ?",
            [(standing, row, vehicle) for vehicle, standing in standings],
        )
