"""Contents in an SQLite file, chunk by chunk: the same tables on the vehicle and in the cloud.

A chunk is a row, so it is on disk with the transaction that its owner commits anyway, and what a
cut-off transfer has brought is a prefix of whole chunks.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from user_lib.contract.content import CHUNK_BYTES, Content, chunk_size
from user_lib.contract.digest import sha256_of

__all__ = ["SCHEMA", "ContentRows", "Sql"]

SCHEMA = """
CREATE TABLE contents (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    have INTEGER NOT NULL DEFAULT 0, whole INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE chunks (
    content INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
    UNIQUE (content, number)
);
"""


class Sql(Protocol):
    """A database; whoever gives it decides when to commit and what its errors are called."""

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        ...

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        ...


class ContentRows:
    """Laws: `read` returns only what hashes to its name; `append` keeps only the next chunk."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def have(self, digest: str) -> int:
        """Return how many bytes are here, from the first one on."""
        found = self._sql.read("SELECT have FROM contents WHERE digest = ?", (digest,))
        return int(found[0][0]) if found else 0

    def is_whole(self, content: Content) -> bool:
        """Whether all bytes are here and verified."""
        return self.size(content.digest) == content.size

    def size(self, digest: str) -> int | None:
        """Return the size of a whole content, None when it is not here."""
        found = self._sql.read("SELECT size FROM contents WHERE digest = ? AND whole", (digest,))
        return int(found[0][0]) if found else None

    def put(self, content: Content, data: bytes) -> None:
        """Keep a content whose bytes are at hand; once, however often it is given."""
        if self.is_whole(content):
            return
        self.remove([content.digest])
        self.begin(content)
        for offset in range(0, content.size, CHUNK_BYTES):
            self.append(content, offset, data[offset : offset + CHUNK_BYTES])
        self._sql.write("UPDATE contents SET whole = 1 WHERE digest = ?", (content.digest,))

    def begin(self, content: Content) -> int:
        """Make a place for a content that is not here; return how much of it is."""
        self._sql.write(
            "INSERT OR IGNORE INTO contents (digest, size) VALUES (?, ?)",
            (content.digest, content.size),
        )
        found = self._sql.read("SELECT size FROM contents WHERE digest = ?", (content.digest,))
        if found[0][0] != content.size:  # somebody named another size: nothing of it was verified
            self.remove([content.digest])
            return self.begin(content)
        return self.have(content.digest)

    def append(self, content: Content, offset: int, data: bytes) -> bool:
        """Keep the next chunk; False, and nothing changes, for any other."""
        rows = self._sql.read(
            "SELECT id FROM contents WHERE digest = ? AND size = ? AND have = ? AND NOT whole",
            (content.digest, content.size, offset),
        )
        if not rows or len(data) != chunk_size(content, offset):
            return False
        self._sql.write(
            "INSERT OR REPLACE INTO chunks (content, number, data) VALUES (?, ?, ?)",
            (rows[0][0], offset // CHUNK_BYTES, data),
        )
        self._sql.write(
            "UPDATE contents SET have = ? WHERE id = ?", (offset + len(data), rows[0][0])
        )
        return True

    def seal(self, content: Content) -> bool:
        """Verify what is here; what is not the content is thrown away, and False."""
        here = sha256_of(data for (data,) in self._chunks(content.digest))
        if here.hex() != content.digest:
            self.remove([content.digest])
            return False
        self._sql.write("UPDATE contents SET whole = 1 WHERE digest = ?", (content.digest,))
        return True

    def chunk(self, digest: str, offset: int) -> bytes | None:
        """Return the chunk of a whole content at an offset, None when there is none."""
        found = self._sql.read(
            "SELECT data FROM chunks JOIN contents ON contents.id = chunks.content"
            " WHERE digest = ? AND whole AND number = ?",
            (digest, offset // CHUNK_BYTES),
        )
        return bytes(found[0][0]) if found else None

    def read(self, digest: str) -> bytes:
        """Return all bytes of a whole content. Raises: KeyError, when it is not here."""
        if self.size(digest) is None:
            raise KeyError(f"content {digest} is not here")
        return b"".join(data for (data,) in self._chunks(digest))

    def remove(self, digests: Iterable[str]) -> None:
        """Forget contents, whole or not."""
        for digest in digests:
            self._sql.write(
                "DELETE FROM chunks WHERE content IN (SELECT id FROM contents WHERE digest = ?)",
                (digest,),
            )
            self._sql.write("DELETE FROM contents WHERE digest = ?", (digest,))

    def listed(self) -> list[tuple[str, int]]:
        """Return every content and how many bytes of it are here."""
        rows = self._sql.read("SELECT digest, have FROM contents ORDER BY id")
        return [(digest, have) for digest, have in rows]

    def bytes_held(self) -> int:
        """Return how many bytes are here in all."""
        return int(self._sql.read("SELECT COALESCE(SUM(have), 0) FROM contents")[0][0])

    def _chunks(self, digest: str) -> list[tuple[Any, ...]]:
        return self._sql.read(
            "SELECT data FROM chunks JOIN contents ON contents.id = chunks.content"
            " WHERE digest = ? ORDER BY number",
            (digest,),
        )
