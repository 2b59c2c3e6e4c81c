"""The ledger's part on contents: their chunks, which assignments name them, who gave them.

A content stays as long as an assignment names it in some role. What was given and is named by none
yet, or by none any more, may be swept away.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from cloud.ledger.database import Database
from user_lib.contract.content import Content, chunk_size
from user_lib.contract.ids import UserId
from user_lib.wire.content_rows import ContentRows

__all__ = ["FOR_VEHICLES", "WHILE_IT_RUNS", "Contents", "Role"]

Role: TypeAlias = Literal[
    "params", "offboard_params", "feedback", "state", "incoming", "result", "aggregate"
]
FOR_VEHICLES: tuple[Role, ...] = ("params", "feedback")
"""What the vehicles of an assignment may have."""
WHILE_IT_RUNS: tuple[Role, ...] = ("params", "offboard_params", "feedback", "state")
"""What nobody needs once the assignment has ended."""


class Contents(ContentRows):
    """Contents and their references, written with the tick."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._db = database

    def refer(self, row: int, content: Content, role: Role) -> None:
        """An assignment names a content."""
        self._db.write(
            "INSERT OR IGNORE INTO content_refs (assignment, digest, role) VALUES (?, ?, ?)",
            (row, content.digest, role),
        )

    def came(self, row: int, content: Content) -> None:
        """What was coming in is named by a result."""
        self.refer(row, content, "result")
        self.no_longer_coming(row, content)

    def no_longer_coming(self, row: int, content: Content) -> None:
        """Nobody sends a content any more, since it is here or its result was retracted."""
        self._db.write(
            "DELETE FROM content_refs WHERE assignment = ? AND digest = ? AND role = 'incoming'",
            (row, content.digest),
        )

    def release(self, row: int, roles: Iterable[Role]) -> None:
        """An assignment needs no content in these roles any more."""
        self._db.write_many(
            "DELETE FROM content_refs WHERE assignment = ? AND role = ?",
            [(row, role) for role in roles],
        )

    def release_all(self, row: int) -> None:
        """An assignment is forgotten."""
        self._db.write("DELETE FROM content_refs WHERE assignment = ?", (row,))

    def is_named(self, row: int, digest: str, roles: Iterable[Role] | None = None) -> bool:
        """Whether an assignment names a content, in one of some roles."""
        found = self._db.read(
            "SELECT role FROM content_refs WHERE assignment = ? AND digest = ?", (row, digest)
        )
        return any(roles is None or role in roles for (role,) in found)

    def own(self, content: Content, analyst: UserId) -> None:
        """An analyst has given all bytes of a content."""
        self._db.write(
            "INSERT OR IGNORE INTO content_owners (digest, analyst) VALUES (?, ?)",
            (content.digest, analyst),
        )

    def is_own(self, digest: str, analyst: UserId) -> bool:
        """Whether an analyst has given a content."""
        found = self._db.read_one(
            "SELECT 1 FROM content_owners WHERE digest = ? AND analyst = ?", (digest, analyst)
        )
        return found is not None

    def same(self, content: Content, offset: int, data: bytes) -> bool:
        """Whether these are the bytes of a whole content at an offset."""
        return len(data) == chunk_size(content, offset) and data == self.chunk(
            content.digest, offset
        )

    def unnamed(self) -> list[str]:
        """Return the contents that no assignment names."""
        rows = self._db.read(
            "SELECT digest FROM contents WHERE digest NOT IN (SELECT digest FROM content_refs)"
        )
        return [digest for (digest,) in rows]

    def bytes_promised(self) -> int:
        """Return how many bytes all contents have or will have."""
        return int(self._db.read("SELECT COALESCE(SUM(size), 0) FROM contents")[0][0])

    def forget(self, digests: Iterable[str]) -> None:
        """Remove contents and who gave them."""
        for digest in digests:
            self.remove([digest])
            self._db.write("DELETE FROM content_owners WHERE digest = ?", (digest,))
