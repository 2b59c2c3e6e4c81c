"""What can be written to the state file, each write with its SQL. The caller has a transaction."""

import sqlite3
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import msgspec

from agent.policy import Account, kept_by, words_kept
from agent.store.database import StateDamaged
from agent.tasks.code import CodeSlot
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.wire.audit_entry import Entry

__all__ = [
    "ITEM",
    "Acknowledge",
    "EndTask",
    "Enqueue",
    "Growth",
    "Kind",
    "Note",
    "Retract",
    "SaveAccount",
    "SavePosition",
    "SaveSlot",
    "SaveTask",
    "Tell",
    "Write",
    "decode",
    "write_to",
]

ENDED_KEPT = 10_000
"""Ended assignments remembered, so that a late repeat does not start them again."""

ITEM: Any = Result | Losses | TaskEnded
"""What the outbox holds."""


class Kind(IntEnum):
    """What an entry of the outbox is; only results may be dropped."""

    RESULT = 0
    END = 1
    LOSSES = 2


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
    """Put a result in the outbox, with the bytes of the content that it names."""

    result: Result
    priority: int
    body: bytes = b""
    measured: dict[str, int] = {}
    """How many samples of its window came over the bus, of signals where its receipt says more."""


class Retract(msgspec.Struct, frozen=True):
    """Let the results of a task that are here be losses, for this reason, and its end wordless."""

    assignment_id: AssignmentId
    reason: str
    at_least: dict[str, int] = {}
    """Only those over fewer samples of one of these signals; without any, all of them."""

    def forbids(self, result: Result, measured: dict[str, int]) -> bool:
        """Whether a result is one of those."""
        if not self.at_least:
            return True
        counts = {**result.samples, **measured}
        fewer = any(counts.get(name, 0) < least for name, least in self.at_least.items())
        return fewer and result.status == "ok"

    def without_words(self, ended: TaskEnded) -> TaskEnded:
        """Return an end without words that may hold samples; those of a rule are the agent's."""
        if self.at_least or not ended.detail or kept_by(ended.reason, ended.rule):
            return ended
        return msgspec.structs.replace(ended, detail=words_kept(self.reason))


class EndTask(msgspec.Struct, frozen=True):
    """Forget a task but for its end, which goes in the outbox."""

    ended: TaskEnded
    priority: int


class Tell(msgspec.Struct, frozen=True):
    """Send the end of a task that never was one here; nothing else remembers it."""

    ended: TaskEnded


class SaveSlot(msgspec.Struct, frozen=True):
    """Remember an analyst's code slot."""

    slot: CodeSlot


class SaveAccount(msgspec.Struct, frozen=True):
    """Remember what was charged to the owner's budgets."""

    account: Account


class Note(msgspec.Struct, frozen=True):
    """Put an entry in the audit log, before all else that is written with it."""

    entry: Entry


class Acknowledge(msgspec.Struct, frozen=True):
    """Remove what is in the ledger from the outbox."""

    seqs: tuple[int, ...]


Write: TypeAlias = (
    SaveTask
    | SavePosition
    | Enqueue
    | Retract
    | EndTask
    | Tell
    | SaveSlot
    | SaveAccount
    | Note
    | Acknowledge
)


class Growth(NamedTuple):
    """By how much a write makes the outbox grow; below 0 where it shrinks."""

    entries: int
    size: int


_NONE = Growth(0, 0)


def write_to(connection: sqlite3.Connection, write: Write) -> Growth:
    """Carry out one write within the transaction that is open."""
    return _WRITERS[type(write)](connection, write)


def _save_task(connection: sqlite3.Connection, write: SaveTask) -> Growth:
    connection.execute(
        "INSERT INTO tasks VALUES (?, ?, ?, ?)",
        (
            write.assignment_id,
            write.analyst,
            msgspec.msgpack.encode(write.spec),
            msgspec.msgpack.encode(write.position),
        ),
    )
    return _NONE


def _save_position(connection: sqlite3.Connection, write: SavePosition) -> Growth:
    connection.execute(
        "UPDATE tasks SET position = ? WHERE assignment_id = ?",
        (msgspec.msgpack.encode(write.position), write.assignment_id),
    )
    return _NONE


def _enqueue(connection: sqlite3.Connection, write: Enqueue) -> Growth:
    growth = _put(connection, write.result, write.priority, Kind.RESULT)
    if write.measured:
        connection.execute(
            "UPDATE outbox SET measured = ? WHERE seq = last_insert_rowid()",
            (msgspec.msgpack.encode(write.measured),),
        )
    payload = write.result.payload
    if payload is None:
        return growth
    connection.execute(
        "UPDATE outbox SET digest = ?, size = size + ? WHERE seq = last_insert_rowid()",
        (payload.digest, payload.size),
    )
    return Growth(growth.entries, growth.size + payload.size)


def _end_task(connection: sqlite3.Connection, write: EndTask) -> Growth:
    assignment_id = write.ended.assignment_id
    connection.execute(
        "DELETE FROM origins WHERE assignment_id NOT IN"
        " (SELECT assignment_id FROM outbox WHERE kind IN (0, 1))"
    )
    connection.execute(
        "INSERT OR REPLACE INTO origins SELECT assignment_id, analyst, spec FROM tasks"
        " WHERE assignment_id = ?",
        (assignment_id,),
    )
    connection.execute("DELETE FROM tasks WHERE assignment_id = ?", (assignment_id,))
    connection.execute("INSERT OR IGNORE INTO ended (assignment_id) VALUES (?)", (assignment_id,))
    connection.execute(
        "DELETE FROM ended WHERE number <= (SELECT MAX(number) FROM ended) - ?", (ENDED_KEPT,)
    )
    return _put(connection, write.ended, write.priority, Kind.END)


def _tell(connection: sqlite3.Connection, write: Tell) -> Growth:
    return _put(connection, write.ended, 0, Kind.END)


def _put(
    connection: sqlite3.Connection, item: Result | TaskEnded, priority: int, kind: Kind
) -> Growth:
    encoded = msgspec.msgpack.encode(item)
    connection.execute(
        "INSERT INTO outbox (assignment_id, kind, priority, size, item) VALUES (?, ?, ?, ?, ?)",
        (item.assignment_id, kind, priority, len(encoded), encoded),
    )
    return Growth(1, len(encoded))


def _save_slot(connection: sqlite3.Connection, write: SaveSlot) -> Growth:
    connection.execute(
        "INSERT OR REPLACE INTO code VALUES (?, ?)",
        (write.slot.analyst, msgspec.msgpack.encode(write.slot)),
    )
    return _NONE


def _save_account(connection: sqlite3.Connection, write: SaveAccount) -> Growth:
    text = msgspec.json.encode(write.account).decode()
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('account', ?)", (text,))
    return _NONE


def _acknowledge(connection: sqlite3.Connection, write: Acknowledge) -> Growth:
    seqs = [(seq,) for seq in frozenset(write.seqs)]
    sizes = [
        row[0]
        for seq in seqs
        for row in connection.execute("SELECT size FROM outbox WHERE seq = ?", seq)
    ]
    connection.executemany("DELETE FROM outbox WHERE seq = ?", seqs)
    return Growth(-len(sizes), -sum(sizes))


def decode(data: bytes, kind: Any) -> Any:  # noqa: ANN401 - of the kind asked for
    """Return what a row holds.

    Raises: StateDamaged, when it is something else.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:  # text that is none is no DecodeError
        raise StateDamaged(f"a row is no {getattr(kind, '__name__', 'item')}: {error}") from None


_WRITERS: Mapping[type[Write], Callable[[sqlite3.Connection, Any], Growth]] = {
    SaveTask: _save_task,
    SavePosition: _save_position,
    Enqueue: _enqueue,
    EndTask: _end_task,
    Tell: _tell,
    SaveSlot: _save_slot,
    SaveAccount: _save_account,
    Note: lambda connection, write: _NONE,
    Acknowledge: _acknowledge,
}
