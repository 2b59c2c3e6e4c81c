"""The file behind the store: opened by one agent only, checked, its schema in force.

A damaged file is put aside, never repaired: what it held may be half true, and a new epoch lets
the cloud know that this vehicle's memory begins anew.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from user_lib.contract.errors import ConfigError, OodidaError
from user_lib.wire import content_rows

__all__ = ["Database", "StateDamaged", "StateUnwritable", "is_damage"]

log = logging.getLogger(__name__)

FILE = "state.db"
LOCK = "lock"
MEMORY = ":memory:"
SCHEMA_VERSION = 3
"""Of what every agent must know to go on with the state. What an older one can leave alone is an
addition and keeps the version: an upgrade that is rolled back must find its state readable."""
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE tasks (
    assignment_id TEXT PRIMARY KEY, analyst TEXT NOT NULL,
    spec BLOB NOT NULL, position BLOB NOT NULL
);
CREATE TABLE ended (number INTEGER PRIMARY KEY, assignment_id TEXT NOT NULL UNIQUE);
CREATE TABLE code (analyst TEXT PRIMARY KEY, slot BLOB NOT NULL);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, assignment_id TEXT NOT NULL, kind INTEGER NOT NULL,
    priority INTEGER NOT NULL, size INTEGER NOT NULL, item BLOB NOT NULL, digest TEXT
);
CREATE INDEX outbox_order ON outbox (kind, priority, seq, size);
CREATE INDEX outbox_losses ON outbox (assignment_id, seq) WHERE kind = 2;
CREATE INDEX outbox_contents ON outbox (digest) WHERE digest IS NOT NULL;
"""
FROM_VERSION_1 = """
ALTER TABLE outbox RENAME COLUMN is_end TO kind;
DROP INDEX outbox_ends;
CREATE INDEX outbox_losses ON outbox (assignment_id, seq) WHERE kind = 2;
DROP TABLE losses;
"""
"""That version only counted losses: which iterations they were, nobody knows any more."""
FROM_VERSION_2 = """
ALTER TABLE outbox ADD COLUMN digest TEXT;
CREATE INDEX outbox_contents ON outbox (digest) WHERE digest IS NOT NULL;
"""
STEPS = (
    SCHEMA + content_rows.SCHEMA,
    FROM_VERSION_1 + FROM_VERSION_2 + content_rows.SCHEMA,
    FROM_VERSION_2 + content_rows.SCHEMA,
)
"""By the version found, 0 for an empty file: what leads to `SCHEMA_VERSION`."""
ADDED_COLUMNS = (("outbox", "measured", "BLOB"),)
"""Nullable ones: an older agent writes its rows without them."""
ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS origins (
    assignment_id TEXT PRIMARY KEY, analyst TEXT NOT NULL, spec BLOB NOT NULL
);
"""
"""Of tasks that ended under an agent without this table, nobody knows whose they were: what they
left is sent."""
BUSY_TIMEOUT_MS = 2_000


class StateUnwritable(OodidaError):
    """The state directory cannot be written: disk full, read-only, or failing."""


class StateDamaged(OodidaError):
    """The state file is not what an agent wrote."""


class Database:
    """One connection, owned by one thread of the one agent that holds the directory's lock."""

    def __init__(self, directory: Path | None) -> None:
        """Open the directory's file, creating both; without one, keep everything in memory.

        Raises: ConfigError, if another agent uses the directory, it cannot be used at all, or it
                was written by a newer agent.
        """
        self._connection: sqlite3.Connection | None = None
        if directory is None:
            self._lock_fd, self._path = -1, Path(MEMORY)
            self._connection = _prepared(MEMORY, self._path)
            return
        self._lock_fd = _lock(directory)
        self._path = directory / FILE
        try:
            self._connection = self._open_or_begin_anew()
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection; it does not begin transactions by itself."""
        if self._connection is None:
            raise StateUnwritable("the state is closed")
        return self._connection

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query. Raises: StateDamaged; sqlite3.DatabaseError."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise StateDamaged(f"the state is damaged: {error}") from error
            raise

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement within the `transaction` that is open; return how many rows changed."""
        return self.connection.execute(sql, values).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block writes, on disk when it leaves, or nothing of it.

        Raises: StateUnwritable, in words for the engineer; StateDamaged.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if is_damage(error):
                raise StateDamaged(f"{self._path}: {error}") from error
            raise StateUnwritable(
                f"{self._path}: cannot be written: {error}; tasks go on once it can"
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def begin_anew(self, cause: str) -> None:
        """Put the file aside and start with an empty one, in a new epoch.

        Raises: ConfigError, if not even that is possible.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = self._path.with_name(f"{FILE}.damaged")
        log.error("%s: %s; kept as %s; a new epoch begins", self._path, cause, aside.name)
        try:
            for suffix in ("-wal", "-shm", ""):
                found = self._path.with_name(FILE + suffix)
                if found.exists():
                    found.replace(aside.with_name(aside.name + suffix))
            self._connection = _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"state_dir: {self._path}: cannot be created: {error}") from None

    def close(self) -> None:
        """Close the file, then let the directory go; a second call does nothing."""
        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def _open_or_begin_anew(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except StateDamaged as error:
            self.begin_anew(str(error))
            return self.connection
        except sqlite3.OperationalError as error:
            raise ConfigError(f"state_dir: {self._path}: cannot be opened: {error}") from None

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the cause is on its way already
                self._connection.execute("ROLLBACK")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found pages that it cannot have written."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"state_dir: {directory}: cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ConfigError(
            f"state_dir: {directory}: another agent is using it; give each agent its own"
        ) from None
    return fd


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file with what durability needs.

    Raises: StateDamaged; ConfigError for a newer schema; sqlite3.OperationalError.
    """
    path.touch(mode=0o600)
    return _prepared(str(path), path)


def _prepared(database: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        _check(connection)
        _migrate(connection, path)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except (sqlite3.DatabaseError, StateDamaged) as error:
        connection.close()
        raise StateDamaged(f"is damaged: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StateDamaged(str(found))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to `SCHEMA_VERSION` and add what it lacks, all of it or nothing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"state_dir: {path}: written by a newer agent (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade this agent or give it a directory of its own"
        )
    connection.execute("BEGIN IMMEDIATE")
    if version < SCHEMA_VERSION:
        for statement in STEPS[version].split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if not version:
        connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (uuid.uuid4().hex,))
        connection.execute("INSERT INTO meta VALUES ('probe', '0')")
    _add_missing(connection)
    connection.execute("COMMIT")


def _add_missing(connection: sqlite3.Connection) -> None:
    for table, column, kind in ADDED_COLUMNS:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        if column not in (name for _, name, *_ in columns):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    connection.execute(ADDED_TABLES)
