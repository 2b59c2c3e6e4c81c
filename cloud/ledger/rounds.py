"""Rounds that are open, closed, or published with their value."""

from dataclasses import dataclass

import msgspec

from cloud.ledger.database import Database
from cloud.rounds import Closing
from user_lib.contract.ids import VehicleId

__all__ = ["RoundRow", "RoundsStore"]


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A round without a published value; ``closing`` once it is closed."""

    number: int
    opened_ns: int
    closed_ns: int | None
    members: frozenset[VehicleId]
    closing: Closing | None
    generation: int


class RoundsStore:
    """The ledger's part on rounds; the values of published ones are events."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._members = msgspec.json.Decoder(frozenset[VehicleId])
        self._closings = msgspec.msgpack.Decoder(Closing)

    def opened(self, row: int, number: int, members: frozenset[VehicleId], opened_ns: int) -> None:
        """Keep a new round; one that nobody answered may open again with other members."""
        self._db.write(
            "INSERT INTO rounds (assignment, number, state, opened_ns, members)"
            " VALUES (?, ?, 'open', ?, ?) ON CONFLICT (assignment, number) DO UPDATE SET"
            " opened_ns = excluded.opened_ns, members = excluded.members",
            (row, number, opened_ns, msgspec.json.encode(sorted(members))),
        )

    def pinned(self, row: int, number: int, generation: int) -> None:
        """Keep the code generation that a feedback round runs."""
        self._db.write(
            "UPDATE rounds SET generation = ? WHERE assignment = ? AND number = ?",
            (generation, row, number),
        )

    def closed(self, row: int, closing: Closing, closed_ns: int) -> None:
        """Keep who counts in a closed round."""
        self._db.write(
            "UPDATE rounds SET state = 'closed', closed_ns = ?, closing = ?"
            " WHERE assignment = ? AND number = ?",
            (closed_ns, msgspec.msgpack.encode(closing), row, closing.number),
        )

    def published(self, row: int, number: int) -> None:
        """Keep that a round's value is in the stream of events."""
        self._db.write(
            "UPDATE rounds SET state = 'published', members = '[]', closing = NULL"
            " WHERE assignment = ? AND number = ?",
            (row, number),
        )

    def remove(self, row: int) -> None:
        """Forget the rounds of an assignment."""
        self._db.write("DELETE FROM rounds WHERE assignment = ?", (row,))

    def newest(self, row: int) -> int:
        """Return the highest round that ever opened; 0 without any."""
        found = self._db.read("SELECT max(number) FROM rounds WHERE assignment = ?", (row,))
        number: int = found[0][0] or 0
        return number

    def unpublished(self, row: int) -> list[RoundRow]:
        """Return the rounds that were open or without value, in the order in which they closed."""
        rows = self._db.read(
            "SELECT number, opened_ns, closed_ns, members, closing, generation FROM rounds"
            " WHERE assignment = ? AND state <> 'published'"
            " ORDER BY closed_ns IS NULL, closed_ns, number",
            (row,),
        )
        return [
            RoundRow(
                number,
                opened_ns,
                closed_ns,
                self._members.decode(members),
                None if closing is None else self._closings.decode(closing),
                generation,
            )
            for number, opened_ns, closed_ns, members, closing, generation in rows
        ]
