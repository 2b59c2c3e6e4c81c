"""What the outbox drops, and the record of it that takes the place of what was dropped.

A full outbox drops what matters least; a rule of the owner's, what it forbids to leave.

A full outbox never drops a result that may be on its way, and a record that may be on its way is
never changed: so an iteration that was committed reaches the cloud as a result or in a record,
once. A rule drops what was sent as well, as long as nobody acknowledged it; the record stands at
another place then, since an acknowledgement of the result may still come. If the cloud has that
result, it counts, and the cloud leaves the iteration out of the record.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from agent.store.writes import Kind, Retract, decode
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import MAX_RUNS, Losses, Result, TaskEnded
from user_lib.contract.runs import joined

__all__ = ["FULL", "drop_excess", "forbidden", "retract", "wordy"]

FULL = "outbox_full"


def drop_excess(connection: sqlite3.Connection, excess_bytes: int, through_seq: int) -> int:
    """Drop results until the outbox has shrunk by that much, and return how many.

    Lowest priority first, then oldest first; entries up to ``through_seq`` may be on their way.
    """
    dropped = 0
    rows: Iterable[tuple[int, int]] = connection.execute(
        "SELECT seq, size FROM outbox WHERE kind = ? AND seq > ? ORDER BY priority, seq",
        (Kind.RESULT, through_seq),
    ).fetchall()
    for seq, size in rows:
        if excess_bytes <= 0:
            break
        excess_bytes += _replace(connection, seq, through_seq, FULL) - size
        dropped += 1
    return dropped


def retract(connection: sqlite3.Connection, write: Retract, sent_seq: int) -> int:
    """Drop the results that a rule forbids, and the words of its tasks' ends; return how many.

    Entries up to ``sent_seq`` were sent, or may have been.
    """
    found = forbidden(connection, write)
    for seq in found:
        _replace(connection, seq, sent_seq, write.reason)
    for seq, ended in wordy(connection, write):
        item = msgspec.msgpack.encode(write.without_words(ended))
        sql = "UPDATE outbox SET item = ?, size = ? WHERE seq = ?"
        connection.execute(sql, (item, len(item), seq))
    return len(found)


def forbidden(connection: sqlite3.Connection, write: Retract) -> list[int]:
    """Return where the results are that a rule forbids."""
    rows: Iterable[tuple[int, bytes, bytes | None]] = connection.execute(
        "SELECT seq, item, measured FROM outbox WHERE kind = ? AND assignment_id = ? ORDER BY seq",
        (Kind.RESULT, write.assignment_id),
    ).fetchall()
    return [
        seq
        for seq, item, measured in rows
        if write.forbids(
            decode(item, Result), {} if measured is None else decode(measured, dict[str, int])
        )
    ]


def wordy(connection: sqlite3.Connection, write: Retract) -> list[tuple[int, TaskEnded]]:
    """Return the ends whose words a rule forbids, each with its place."""
    rows: Iterable[tuple[int, bytes]] = connection.execute(
        "SELECT seq, item FROM outbox WHERE kind = ? AND assignment_id = ?",
        (Kind.END, write.assignment_id),
    ).fetchall()
    ends = [(seq, decode(item, TaskEnded)) for seq, item in rows]
    return [(seq, ended) for seq, ended in ends if write.without_words(ended) != ended]


def _replace(connection: sqlite3.Connection, seq: int, through_seq: int, reason: str) -> int:
    """Put a result's iteration in a record; return how many bytes that takes more."""
    (item,) = connection.execute("SELECT item FROM outbox WHERE seq = ?", (seq,)).fetchone()
    result = decode(item, Result)
    found = _open_record(connection, result.assignment_id, through_seq, reason)
    if found is None:
        record = Losses(
            assignment_id=result.assignment_id,
            vehicle_id=result.vehicle_id,
            epoch=result.epoch,
            iterations=((result.iteration, result.iteration),),
            reason=reason,
        )
        return _put(connection, _unsent_place(connection, seq, through_seq), record)
    at, before, size = found
    connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    iterations = joined((*before.iterations, (result.iteration, result.iteration)))
    return _put(connection, at, msgspec.structs.replace(before, iterations=iterations)) - size


def _unsent_place(connection: sqlite3.Connection, seq: int, through_seq: int) -> int:
    """Return an entry's place; a new one, if it may have been sent from where it is."""
    if seq > through_seq:
        return seq
    connection.execute(
        "INSERT INTO outbox (assignment_id, kind, priority, size, item)"
        " SELECT assignment_id, kind, priority, 0, item FROM outbox WHERE seq = ?",
        (seq,),
    )
    (new,) = connection.execute("SELECT last_insert_rowid()").fetchone()
    connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    return int(new)


def _open_record(
    connection: sqlite3.Connection, assignment_id: AssignmentId, through_seq: int, reason: str
) -> tuple[int, Losses, int] | None:
    """Return the newest record for a reason that cannot be on its way, if it has room."""
    rows: Iterable[tuple[int, bytes, int]] = connection.execute(
        "SELECT seq, item, size FROM outbox WHERE kind = 2 AND assignment_id = ? AND seq > ?"
        " ORDER BY seq DESC",
        (assignment_id, through_seq),
    )
    for seq, item, size in rows:
        record = decode(item, Losses)
        if record.reason == reason:
            return (seq, record, size) if len(record.iterations) < MAX_RUNS else None
    return None


def _put(connection: sqlite3.Connection, seq: int, record: Losses) -> int:
    item = msgspec.msgpack.encode(record)
    connection.execute(
        "UPDATE outbox SET kind = ?, item = ?, size = ?, digest = NULL, measured = NULL"
        " WHERE seq = ?",
        (Kind.LOSSES, item, len(item), seq),
    )
    return len(item)
