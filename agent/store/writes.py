"""What can be written to the state file, each write with its SQL. The caller has a transaction."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from agent.store.database import StateDamaged
from agent.tasks.code import CodeSlot
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Result, TaskEnded

__all__ = [
    "ITEM",
    "Acknowledge",
    "EndTask",
    "Enqueue",
    "SavePosition",
    "SaveSlot",
    "SaveTask",
    "Write",
    "count_loss",
    "decode",
    "write_to",
]

ENDED_KEPT = 10_000
"""Ended assignments remembered, so that a late repeat does not start them again."""

ITEM: Any = Result | TaskEnded
"""What the outbox holds."""


class SaveTask(msgspec.Struct, frozen=True):
    """Remember a new task."""

    assignment_id: AssignmentId
    analyst: str
    spec: Assignment
    position: Position


class SavePosition(msgspec.Struct, frozen=True):
    """Remember how far a task has come."""

    assignment_id: AssignmentId
    position: Position


class Enqueue(msgspec.Struct, frozen=True):
    """Put a result in the outbox."""

    result: Result
    priority: int


class EndTask(msgspec.Struct, frozen=True):
    """Forget a task but for its end, which goes in the outbox; ``lost_results`` is filled in."""

    ended: TaskEnded
    priority: int


class SaveSlot(msgspec.Struct, frozen=True):
    """Remember an analyst's code slot."""

    slot: CodeSlot


class Acknowledge(msgspec.Struct, frozen=True):
    """Remove what is in the ledger from the outbox."""

    seqs: tuple[int, ...]


Write: TypeAlias = SaveTask | SavePosition | Enqueue | EndTask | SaveSlot | Acknowledge


def write_to(connection: sqlite3.Connection, write: Write) -> None:
    """Carry out one write within the transaction that is open."""
    _WRITERS[type(write)](connection, write)


def count_loss(connection: sqlite3.Connection, assignment_id: AssignmentId) -> None:
    """Count a dropped result where its task's end will tell it, or already waits to."""
    row = connection.execute(
        "SELECT seq, item FROM outbox WHERE is_end AND assignment_id = ?", (assignment_id,)
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO losses VALUES (?, 1)"
            " ON CONFLICT (assignment_id) DO UPDATE SET lost = lost + 1",
            (assignment_id,),
        )
        return
    ended = decode(row[1], TaskEnded)
    ended = msgspec.structs.replace(ended, lost_results=ended.lost_results + 1)
    item = msgspec.msgpack.encode(ended)
    connection.execute(
        "UPDATE outbox SET item = ?, size = ? WHERE seq = ?", (item, len(item), row[0])
    )


def _save_task(connection: sqlite3.Connection, write: SaveTask) -> None:
    connection.execute(
        "INSERT INTO tasks VALUES (?, ?, ?, ?)",
        (
            write.assignment_id,
            write.analyst,
            msgspec.msgpack.encode(write.spec),
            msgspec.msgpack.encode(write.position),
        ),
    )


def _save_position(connection: sqlite3.Connection, write: SavePosition) -> None:
    connection.execute(
        "UPDATE tasks SET position = ? WHERE assignment_id = ?",
        (msgspec.msgpack.encode(write.position), write.assignment_id),
    )


def _enqueue(connection: sqlite3.Connection, write: Enqueue) -> None:
    _put(connection, write.result, write.priority, is_end=False)


def _end_task(connection: sqlite3.Connection, write: EndTask) -> None:
    assignment_id = write.ended.assignment_id
    row = connection.execute(
        "DELETE FROM losses WHERE assignment_id = ? RETURNING lost", (assignment_id,)
    ).fetchone()
    ended = msgspec.structs.replace(write.ended, lost_results=row[0] if row else 0)
    connection.execute("DELETE FROM tasks WHERE assignment_id = ?", (assignment_id,))
    connection.execute("INSERT OR IGNORE INTO ended (assignment_id) VALUES (?)", (assignment_id,))
    connection.execute(
        "DELETE FROM ended WHERE number <= (SELECT MAX(number) FROM ended) - ?", (ENDED_KEPT,)
    )
    _put(connection, ended, write.priority, is_end=True)


def _put(
    connection: sqlite3.Connection, item: Result | TaskEnded, priority: int, *, is_end: bool
) -> None:
    encoded = msgspec.msgpack.encode(item)
    connection.execute(
        "INSERT INTO outbox (assignment_id, is_end, priority, size, item) VALUES (?, ?, ?, ?, ?)",
        (item.assignment_id, is_end, priority, len(encoded), encoded),
    )


def _save_slot(connection: sqlite3.Connection, write: SaveSlot) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO code VALUES (?, ?)",
        (write.slot.analyst, msgspec.msgpack.encode(write.slot)),
    )


def _acknowledge(connection: sqlite3.Connection, write: Acknowledge) -> None:
    connection.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in write.seqs])


def decode(data: bytes, kind: Any) -> Any:  # noqa: ANN401 - of the kind asked for
    """Return what a row holds.

    Raises: StateDamaged, when it is something else.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise StateDamaged(f"a row is no {getattr(kind, '__name__', 'item')}: {error}") from None


_WRITERS: Mapping[type[Write], Callable[[sqlite3.Connection, Any], None]] = {
    SaveTask: _save_task,
    SavePosition: _save_position,
    Enqueue: _enqueue,
    EndTask: _end_task,
    SaveSlot: _save_slot,
    Acknowledge: _acknowledge,
}
