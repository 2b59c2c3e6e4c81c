"""Each assignment's stream of events, numbered from 1 without gaps, and the index of results."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from cloud.ledger.assignments import AssignmentRow
from cloud.ledger.database import Database
from user_lib.contract.content import unpack_body
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Event, JobChanged, Result, RoundClosed
from user_lib.wire.content_rows import ContentRows

__all__ = ["EventPage", "Events", "Item", "contents_of", "read_inputs"]

Item: TypeAlias = Result | RoundClosed | JobChanged

PAGE_BYTES = 1024 * 1024
"""A page of events ends after this much, so that one reply stays far below the message cap."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events after a position, and the position to go on from."""

    events: tuple[Event, ...]
    next_seq: int


class Events:
    """The ledger's part on events; counters are kept in the `AssignmentRow` until `flush`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._encoder = msgspec.msgpack.Encoder()
        self._items: msgspec.msgpack.Decoder[Item] = msgspec.msgpack.Decoder(Item)
        self._results = msgspec.msgpack.Decoder(Result)

    def add_result(self, row: AssignmentRow, result: Result) -> bool:
        """Keep a result under its identity; False, and nothing changes, for a repeat.

        One that its vehicle told as lost is none any more: a link has brought it late.
        """
        new = self._db.write(
            "INSERT OR IGNORE INTO results (assignment, iteration, vehicle_id, epoch, seq, late)"
            " SELECT ?, ?, ?, ?, ?, ? WHERE ? > coalesce((SELECT last FROM losses"
            " WHERE assignment = ? AND vehicle_id = ? AND epoch = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1), 0)",
            (
                row.row,
                result.iteration,
                result.vehicle_id,
                result.epoch,
                row.last_seq + 1,
                result.late,
                result.iteration,
                row.row,
                result.vehicle_id,
                result.epoch,
                result.iteration,
            ),
        )
        if new:
            size = self.append(row, "result", result)
            row.results += 1
            row.result_bytes += size + (0 if result.payload is None else result.payload.size)
        return bool(new)

    def has_result(self, row: AssignmentRow, vehicle: VehicleId, result: Result) -> bool:
        """Whether a vehicle's result is a repeat."""
        found = self._db.read_one(
            "SELECT 1 FROM results WHERE assignment = ? AND iteration = ? AND vehicle_id = ?"
            " AND epoch = ?",
            (row.row, result.iteration, vehicle, result.epoch),
        )
        return found is not None

    def append(self, row: AssignmentRow, kind: str, item: Item) -> int:
        """Put an event at the end of an assignment's stream; return how many bytes it has."""
        body = self._encoder.encode(item)
        self._db.write(
            "INSERT INTO events (assignment, seq, kind, body) VALUES (?, ?, ?, ?)",
            (row.row, row.last_seq + 1, kind, body),
        )
        row.last_seq += 1
        return len(body)

    def page(
        self, row: AssignmentRow, after_seq: int, limit: int, kinds: Iterable[str]
    ) -> EventPage:
        """Return up to ``limit`` events of some kinds after a position, and at most ~1 MB.

        The page ends early at the size limit; ``next_seq`` skips what other kinds lie between.
        """
        wanted = _three(kinds)
        found = self._db.read(
            "SELECT seq, length(body) FROM events WHERE assignment = ? AND seq > ?"
            " AND kind IN (?, ?, ?) ORDER BY seq LIMIT ?",
            (row.row, after_seq, *wanted, limit),
        )
        taken, size = 0, 0
        for _, length in found:
            if taken and size + length > PAGE_BYTES:
                break
            taken, size = taken + 1, size + length
        if taken < len(found) or len(found) == limit:
            last = found[taken - 1][0]
            return EventPage(self._read(row, after_seq, last, wanted), last)
        return EventPage(
            self._read(row, after_seq, row.last_seq, wanted) if found else (),
            max(after_seq, row.last_seq),
        )

    def results_of(self, row: int, iteration: int) -> list[Result]:
        """Return the results of an iteration that came in time."""
        rows = self._db.read(_IN_TIME, (row, iteration))
        return [self._results.decode(body) for (body,) in rows]

    def remove_some(self, row: int, count: int) -> bool:
        """Remove up to ``count`` events of an assignment; False when it has none any more."""
        removed = self._db.write(
            "DELETE FROM events WHERE id IN"
            " (SELECT id FROM events WHERE assignment = ? ORDER BY seq LIMIT ?)",
            (row, count),
        )
        if not removed:
            self._db.write("DELETE FROM results WHERE assignment = ?", (row,))
        return removed > 0

    def _read(
        self, row: AssignmentRow, after: int, last: int, kinds: tuple[str, str, str]
    ) -> tuple[Event, ...]:
        rows = self._db.read(
            "SELECT seq, body FROM events WHERE assignment = ? AND seq > ? AND seq <= ?"
            " AND kind IN (?, ?, ?) ORDER BY seq",
            (row.row, after, last, *kinds),
        )
        return tuple(Event(seq=seq, item=self._items.decode(body)) for seq, body in rows)


_IN_TIME = (
    "SELECT events.body FROM results JOIN events"
    " ON events.assignment = results.assignment AND events.seq = results.seq"
    " WHERE results.assignment = ? AND results.iteration = ? AND NOT results.late"
    " ORDER BY results.vehicle_id"
)


def _three(kinds: Iterable[str]) -> tuple[str, str, str]:
    """Fill up to the three kinds that a query takes; there are no more."""
    first, second, third, *_ = (*dict.fromkeys(kinds), "", "", "")
    return first, second, third


def read_inputs(
    connection: sqlite3.Connection, row: int, iteration: int, vehicles: frozenset[VehicleId]
) -> list[Result]:
    """Return the successful results of some vehicles in an iteration, for another thread."""
    rows = connection.execute(_IN_TIME, (row, iteration)).fetchall()
    results = (msgspec.msgpack.decode(body, type=Result) for (body,) in rows)
    contents = contents_of(connection)
    wanted = (r for r in results if r.vehicle_id in vehicles and r.status == "ok")
    return [_whole(result, contents) for result in wanted]


def contents_of(connection: sqlite3.Connection) -> ContentRows:
    """Return the contents as another thread may read them."""
    return ContentRows(_ReadOnly(connection))


class _ReadOnly:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        raise PermissionError("another thread than the ledger's only reads")


def _whole(result: Result, contents: ContentRows) -> Result:
    """Return a result with its values, wherever they are."""
    if result.payload is None:
        return result
    body = unpack_body(contents.read(result.payload.digest))
    return msgspec.structs.replace(result, value=body.value, partial=body.partial)
