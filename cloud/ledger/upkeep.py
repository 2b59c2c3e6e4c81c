"""What an operator does with a ledger by hand: look whether it is whole, and copy it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from cloud.ledger.database import LedgerDamaged, LedgerError, read_only

__all__ = ["back_up", "check"]

FOUND_AT_MOST = 20


def check(path: Path) -> str:
    """Read the whole ledger and say how much is in it; the cloud may be running.

    Raises: LedgerDamaged, naming what is wrong; LedgerError, when it cannot be read.
    """
    _exists(path)
    try:
        with closing(read_only(path)) as connection:
            found = connection.execute(f"PRAGMA integrity_check({FOUND_AT_MOST})").fetchall()
            if found != [("ok",)]:
                raise sqlite3.DatabaseError("; ".join(str(row[0]) for row in found))
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - constants
                for table in ("assignments", "results", "events", "vehicles")
            ]
    except sqlite3.Error as error:
        raise LedgerDamaged(
            f"the ledger {path} is damaged: {error}; restore a copy of it, made with "
            "--backup-ledger, or move it away to begin with an empty one"
        ) from None
    return (
        f"the ledger {path} is whole: {counts[0]} assignments, {counts[1]} results, "
        f"{counts[2]} events, {counts[3]} vehicles"
    )


def back_up(path: Path, copy: Path) -> None:
    """Copy the ledger as it is at one moment, compact, into a new file; the cloud may be running.

    Raises: LedgerError, when the ledger cannot be read or the copy not be written.
    """
    _exists(path)
    if copy.exists():
        raise LedgerError(f"{copy} exists; give the copy another name")
    try:
        with closing(read_only(path)) as connection:
            connection.execute("PRAGMA query_only = 0")
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)
        raise LedgerError(f"the ledger {path} cannot be copied to {copy}: {error}") from None


def _exists(path: Path) -> None:
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}; name it with --ledger")
