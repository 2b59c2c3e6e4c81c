"""Code versions by their hash, the generations of every slot, and what became of them."""

from dataclasses import dataclass
from typing import Any

import msgspec

from cloud.ledger.database import Database
from cloud.ledger.signed import pack_signed, unpack_signed
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages.records import Side
from user_lib.contract.signed import Signed

__all__ = ["Code", "GenerationRow", "ReportRow"]

_COLUMNS = "generation, action, version, overrides, token, created_ns, last_good, signed"
_REPORT_COLUMNS = "vehicle_id, generation, version, state, detail, swap_ms, first_result_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRow:
    """One content of a slot: a default version, and the vehicles that get another one."""

    generation: int
    action: str
    """push, rollback or remove."""
    version: str
    overrides: dict[VehicleId, str]
    token: str
    created_ns: int
    last_good: str = ""
    """The version that was good when this content came: off-board what a failure falls back to, on
    board what taking it back goes to."""
    signed: Signed | None = None
    """The content as its analyst signed it; None in insecure mode."""


@dataclass(slots=True)
class ReportRow:
    """What became of a generation on one vehicle (``cloud`` for the off-board side)."""

    vehicle_id: str
    generation: int
    version: str
    state: str
    detail: str = ""
    swap_ms: float | None = None
    first_result_ms: float | None = None


class Code:
    """The ledger's part on custom code."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_source(self, analyst: UserId, version: str, source: str, created_ns: int) -> None:
        """Keep the source of a version."""
        self._db.write(
            "INSERT OR IGNORE INTO code_versions (version, analyst, source, created_ns)"
            " VALUES (?, ?, ?, ?)",
            (version, analyst, source, created_ns),
        )

    def source(self, version: str) -> str | None:
        """Return the source of a version."""
        row = self._db.read_one("SELECT source FROM code_versions WHERE version = ?", (version,))
        return None if row is None else str(row[0])

    def add(self, analyst: UserId, side: Side, row: GenerationRow) -> None:
        """Keep a new content of a slot."""
        self._db.write(
            f"INSERT INTO generations (analyst, side, {_COLUMNS})"  # noqa: S608 - a constant
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                analyst,
                side,
                row.generation,
                row.action,
                row.version,
                msgspec.json.encode(row.overrides),
                row.token,
                row.created_ns,
                row.last_good,
                pack_signed(row.signed),
            ),
        )

    def by_token(self, analyst: UserId, side: Side, token: str) -> GenerationRow | None:
        """Return what an analyst did to a slot with a token."""
        row = self._db.read_one(
            f"SELECT {_COLUMNS} FROM generations WHERE analyst = ? AND side = ? AND token = ?",  # noqa: S608 - a constant
            (analyst, side, token),
        )
        return None if row is None else _generation(row)

    def slots(self) -> list[tuple[UserId, Side]]:
        """Return every slot that ever had a content."""
        return [(a, s) for a, s in self._db.read("SELECT DISTINCT analyst, side FROM generations")]

    def latest(self, analyst: UserId, side: Side, count: int) -> list[GenerationRow]:
        """Return the last contents of a slot, newest first."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM generations WHERE analyst = ? AND side = ?"  # noqa: S608 - a constant
            " ORDER BY generation DESC LIMIT ?",
            (analyst, side, count),
        )
        return [_generation(row) for row in rows]

    def put_report(self, analyst: UserId, side: Side, row: ReportRow) -> None:
        """Keep what became of a slot's content on a vehicle."""
        self._db.write(
            f"INSERT OR REPLACE INTO code_reports (analyst, side, {_REPORT_COLUMNS})"  # noqa: S608 - a constant
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                analyst,
                side,
                row.vehicle_id,
                row.generation,
                row.version,
                row.state,
                row.detail,
                row.swap_ms,
                row.first_result_ms,
            ),
        )

    def reports(self, analyst: UserId, side: Side) -> list[ReportRow]:
        """Return what became of a slot's contents, a row a vehicle."""
        rows = self._db.read(
            f"SELECT {_REPORT_COLUMNS} FROM code_reports WHERE analyst = ? AND side = ?",  # noqa: S608 - a constant
            (analyst, side),
        )
        return [ReportRow(*row) for row in rows]

    def forget_reports(self, vehicle: VehicleId) -> None:
        """A vehicle lost its state: what it said of its code holds no more."""
        self._db.write("DELETE FROM code_reports WHERE vehicle_id = ?", (vehicle,))


def _generation(row: tuple[Any, ...]) -> GenerationRow:
    generation, action, version, overrides, token, created_ns, last_good, signed = row
    return GenerationRow(
        generation=generation,
        action=action,
        version=version,
        overrides=msgspec.json.decode(overrides, type=dict[VehicleId, str]),
        token=token,
        created_ns=created_ns,
        last_good=last_good,
        signed=unpack_signed(signed),
    )
