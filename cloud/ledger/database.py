"""The SQLite file: opened by one process, checked, and written one transaction a loop tick."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cloud.ledger.schema import APPLICATION_ID, VERSION, migrate
from user_lib.contract.errors import OodidaError

__all__ = ["Database", "LedgerDamaged", "LedgerError", "failure", "read_only"]

CHECKED_UP_TO_BYTES = 512 * 1024 * 1024
"""A larger ledger is not read through at every start; its pages are checked as they are used."""

CACHE_KB = 32 * 1024
"""SQLite's own 2 MB hold the index of some ten thousand results; beyond that each costs reads."""
CHECKPOINT_PAGES = 8192
"""A page that many results changed is moved from the journal once for all of them, at 32 MB."""


class LedgerError(OodidaError):
    """The operator: the ledger cannot be opened, or its disk does not take what must be kept."""


class LedgerDamaged(LedgerError):
    """The operator: the ledger holds pages that SQLite cannot have written; restore a copy."""


class Database:
    """A connection with one lazily begun transaction; everything of a tick is in it.

    Raises: LedgerError, when the file is in use, damaged, of another program or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refusal = ""
        """What SQLite said of the latest transaction; empty when it is on disk."""
        self._lock_fd = _lock(path)
        try:
            self._connection = _open(path)
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self._connection.in_transaction

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement inside the tick's transaction and return how many rows it changed.

        Raises: LedgerError, when the disk does not take it.
        """
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def write_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a statement for each of ``rows``. Raises: LedgerError, as `write`."""
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; it sees what the tick wrote so far.

        Raises: LedgerError, when the file cannot be read.
        """
        try:
            rows: list[tuple[Any, ...]] = self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return rows

    def read_one(self, sql: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        rows = self.read(sql, values)
        return rows[0] if rows else None

    def commit(self) -> None:
        """Put the tick on disk; returns once it is there.

        Raises: LedgerError; then nothing of the tick is kept.
        """
        kept = self.dirty
        try:
            self._connection.commit()
        except sqlite3.Error as error:
            self.rollback()
            raise self._failed(error) from error
        if kept:
            self.refusal = ""

    def rollback(self) -> None:
        """Forget what the tick wrote."""
        try:
            self._connection.rollback()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file and let others have it; what was not committed is forgotten."""
        self._connection.close()
        os.close(self._lock_fd)

    def _failed(self, error: sqlite3.Error) -> LedgerError:
        self.refusal = str(error)
        return failure(self.path, error)


def failure(path: Path, error: sqlite3.Error) -> LedgerError:
    """Return what SQLite met as an error for the operator."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerDamaged(
            f"the ledger {path} is damaged ({error}); restore a copy of it, made with "
            "oodida-cloud --backup-ledger; oodida-cloud --check-ledger says what is wrong"
        )
    return LedgerError(f"the ledger {path} cannot be used: {error}; see to its disk")


def read_only(path: Path) -> sqlite3.Connection:
    """Open a second connection that only reads what is committed, for another thread.

    Raises: LedgerError, when the file cannot be opened.
    """
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        connection.execute("PRAGMA query_only = 1")
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error}") from error
    return connection


def _lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be created: {error.strerror}; "
            "give another path with --ledger or the ledger key of cloud.yaml"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise LedgerError(
            f"the ledger {path} is in use by another oodida-cloud; stop that one, "
            "or give this one a ledger of its own with --ledger"
        ) from None
    return fd


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be opened: {error}") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise LedgerDamaged(
            f"the ledger {path} is damaged or no ledger ({error}); restore a copy of it, made "
            "with --backup-ledger, or move it away to begin with an empty one"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION_ID:
        raise LedgerError(f"{path} is a database of another program, not a ledger of OODIDA")
    if version > VERSION:
        raise LedgerError(
            f"the ledger {path} has version {version}, this oodida-cloud knows up to {VERSION}; "
            "upgrade it"
        )
    if tables and path.stat().st_size <= CHECKED_UP_TO_BYTES:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA busy_timeout = 5000")
    if version < VERSION:
        migrate(connection, version)
