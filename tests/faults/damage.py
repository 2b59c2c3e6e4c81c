"""Damage to SQLite files, as a failing disk does it: a page that is not what was written."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["damage_header", "damage_page"]


def damage_page(path: Path, dice: random.Random) -> None:
    """Overwrite a page but the first, of a database that nobody has open."""
    size = _settled(path)
    pages = path.stat().st_size // size
    if pages > 1:
        _overwrite(path, dice.randrange(1, pages) * size, dice.randbytes(size))


def damage_header(path: Path, dice: random.Random) -> None:
    """Overwrite the beginning of a database that nobody has open."""
    _settled(path)
    _overwrite(path, 0, dice.randbytes(100))


def _settled(path: Path) -> int:
    """Move the journal into the database; return the size of its pages."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = db.execute("PRAGMA page_size").fetchone()
    return int(size)


def _overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
