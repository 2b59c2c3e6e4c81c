"""What is in a vehicle's state file, read beside its agent."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from user_lib.contract.messages import Result

__all__ = ["epoch_of", "is_empty", "results_in"]


def results_in(state: Path, vehicle: str) -> set[tuple[str, str, str, int]]:
    """Return (assignment, vehicle, epoch, iteration) of every result that waits to be sent."""
    with _reading(state) as connection:
        rows = connection.execute("SELECT item FROM outbox WHERE kind = 0").fetchall()
    results = (msgspec.msgpack.decode(item, type=Result) for (item,) in rows)
    return {(r.assignment_id, vehicle, r.epoch, r.iteration) for r in results}


def is_empty(state: Path) -> bool:
    """Whether a vehicle owes nothing and has no task."""
    with _reading(state) as connection:
        (left,) = connection.execute(
            "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM tasks)"
        ).fetchone()
    return bool(left == 0)


def epoch_of(state: Path) -> str:
    with _reading(state) as connection:
        (epoch,) = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    return str(epoch)


@contextmanager
def _reading(state: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=1)) as connection:
        yield connection
