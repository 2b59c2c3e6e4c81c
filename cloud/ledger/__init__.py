"""The cloud's durable record: SQLite, one commit a loop tick; nothing is answered before it."""

from cloud.ledger.assignments import AssignmentRow, Assignments, Carried, Parcel
from cloud.ledger.code import Code, GenerationRow, ReportRow
from cloud.ledger.database import Database, LedgerDamaged, LedgerError
from cloud.ledger.events import EventPage, Events, contents_of, read_inputs
from cloud.ledger.fleet import Fleet, VehicleRow
from cloud.ledger.ledger import Ledger
from cloud.ledger.members import MemberRow
from cloud.ledger.rounds import RoundRow, RoundsStore

__all__ = [
    "AssignmentRow",
    "Assignments",
    "Carried",
    "Code",
    "Database",
    "EventPage",
    "Events",
    "Fleet",
    "GenerationRow",
    "Ledger",
    "LedgerDamaged",
    "LedgerError",
    "MemberRow",
    "Parcel",
    "ReportRow",
    "RoundRow",
    "RoundsStore",
    "VehicleRow",
    "contents_of",
    "read_inputs",
]
