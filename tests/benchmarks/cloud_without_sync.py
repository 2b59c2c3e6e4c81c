"""The cloud with a ledger that does not wait for the disk: what durability costs, and nothing else.

Only for the comparison: after a power cut such a ledger may have forgotten what was acknowledged.
"""

import sqlite3
import sys
from pathlib import Path

import cloud.ledger.database as database
from cloud.__main__ import main as run_cloud

_prepare = database._prepare


def _without_sync(connection: sqlite3.Connection, path: Path) -> None:
    _prepare(connection, path)
    connection.execute("PRAGMA synchronous = OFF")


if __name__ == "__main__":
    database._prepare = _without_sync
    sys.exit(run_cloud())
