"""What the outbox drops, and the record of it that takes the place of what was dropped.

A full outbox drops what matters least; a rule of the owner's, what it forbids to leave.

A result that may be on its way is never dropped, and a record that may be on its way is never
changed: so an iteration that was committed reaches the cloud as a result or in a record, once.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from agent.store.writes import Kind, decode
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Losses, Result

__all__ = ["FULL", "drop_excess", "retract", "with_iteration"]

FULL = "outbox_full"
MAX_RUNS = 1000
"""Runs of iterations in one record; a further one begins a new record."""


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


def retract(
    connection: sqlite3.Connection, assignment_id: AssignmentId, reason: str, sent_seq: int
) -> int:
    """Drop all results of an assignment that were not sent, for this reason; return how many.

    Entries up to ``sent_seq`` were sent, or may have been, and stay.
    """
    rows = connection.execute(
        "SELECT seq FROM outbox WHERE kind = ? AND assignment_id = ? AND seq > ? ORDER BY seq",
        (Kind.RESULT, assignment_id, sent_seq),
    ).fetchall()
    for (seq,) in rows:
        _replace(connection, seq, sent_seq, reason)
    return len(rows)


def with_iteration(
    runs: tuple[tuple[int, int], ...], iteration: int
) -> tuple[tuple[int, int], ...]:
    """Return runs of iterations with one more in them, ascending and apart.

    >>> with_iteration(((1, 3), (5, 5)), 4)
    ((1, 5),)
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted((*runs, (iteration, iteration))):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


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
        return _put(connection, seq, record)
    at, before, size = found
    connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    iterations = with_iteration(before.iterations, result.iteration)
    return _put(connection, at, msgspec.structs.replace(before, iterations=iterations)) - size


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
        "UPDATE outbox SET kind = ?, item = ?, size = ?, digest = NULL WHERE seq = ?",
        (Kind.LOSSES, item, len(item), seq),
    )
    return len(item)
