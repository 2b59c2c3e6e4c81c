"""What an analyst asks of the cloud: one union, numbered requests."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from user_lib.contract.assignment import Assignment
from user_lib.contract.content import CHUNK_BYTES, Content, Digest, Offset
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages.records import Counted, Int64, Message, Side
from user_lib.contract.signed import Signed

__all__ = [
    "Ask",
    "Cancel",
    "CodeStatus",
    "Explain",
    "ListJobs",
    "ListSignals",
    "ListVehicles",
    "Ping",
    "Prove",
    "PushCode",
    "PutChunk",
    "ReadChunk",
    "ReadEvents",
    "RemoveCode",
    "Request",
    "RollbackCode",
    "Submit",
]


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Is there a cloud, and which?"""


class ListVehicles(Message, frozen=True, kw_only=True, tag="list_vehicles"):
    """All vehicles that the cloud has seen."""


class ListSignals(Message, frozen=True, kw_only=True, tag="list_signals"):
    """The signals of one vehicle."""

    vehicle_id: VehicleId


class Submit(Message, frozen=True, kw_only=True, tag="submit"):
    """A new assignment; the same ``token`` again answers with the same assignment."""

    spec: Assignment
    token: str
    signed: Signed | None = None
    """The `AssignmentOrder`; needed where there are keys."""


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """End an assignment of one's own."""

    assignment_id: AssignmentId
    signed: Signed | None = None
    """The `CancelOrder`; needed where there are keys."""


class ListJobs(Message, frozen=True, kw_only=True, tag="list_jobs"):
    """One's own assignments, newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class ReadEvents(Message, frozen=True, kw_only=True, tag="read_events"):
    """The events of an assignment after ``after_seq``; waits up to ``wait_s`` for the first."""

    assignment_id: AssignmentId
    after_seq: Counted = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0
    kinds: tuple[Literal["result", "round", "job"], ...] = ("result", "round", "job")


class Explain(Message, frozen=True, kw_only=True, tag="explain"):
    """Where an assignment stands on each vehicle."""

    assignment_id: AssignmentId


class PushCode(Message, frozen=True, kw_only=True, tag="push_code"):
    """Put a module in a slot of one's own: for all vehicles, or for some (A/B)."""

    side: Side
    source: str
    token: str
    vehicles: tuple[VehicleId, ...] | None = None
    not_after_ns: Int64 | None = None
    """A vehicle with a trusted clock does not arm it later; ns since the Unix epoch."""
    signed: Signed | None = None
    """The `SlotOrder` with what the slot will hold; needed where there are keys."""


class CodeStatus(Message, frozen=True, kw_only=True, tag="code_status"):
    """Both slots; waits up to ``wait_s`` until no online vehicle is pending."""

    brief: bool = False
    """Leave out what each vehicle holds."""
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0


class RollbackCode(Message, frozen=True, kw_only=True, tag="rollback_code"):
    """Put the slot's previous content back, as a new generation."""

    side: Side
    token: str
    signed: Signed | None = None


class RemoveCode(Message, frozen=True, kw_only=True, tag="remove_code"):
    """Empty the slot; running tasks that need it end, saying so."""

    side: Side
    token: str
    signed: Signed | None = None


class Prove(Message, frozen=True, kw_only=True, tag="prove"):
    """What signatures there are for an assignment of one's own, to verify them oneself."""

    assignment_id: AssignmentId
    after: VehicleId | None = None
    """Read on after this vehicle; None for the first page, which has more than ends."""


class PutChunk(Message, frozen=True, kw_only=True, tag="put_chunk"):
    """Give the next chunk of a content that an assignment will name; empty, to ask how far it is.

    The answer says from where to go on, so whoever was cut off goes on there.
    """

    content: Content
    offset: Offset = 0
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)] = b""


class ReadChunk(Message, frozen=True, kw_only=True, tag="read_chunk"):
    """A chunk of a content that an assignment of one's own, or what came of it, names."""

    assignment_id: AssignmentId
    digest: Digest
    offset: Offset


Ask: TypeAlias = (
    Ping
    | ListVehicles
    | ListSignals
    | Submit
    | Cancel
    | ListJobs
    | ReadEvents
    | Explain
    | PushCode
    | CodeStatus
    | RollbackCode
    | RemoveCode
    | Prove
    | PutChunk
    | ReadChunk
)


class Request(Message, frozen=True, kw_only=True, tag="request"):
    """A numbered question of an analyst. The number is the analyst's own and returns in `Reply`."""

    number: Int64
    user: UserId
    """Who asks; it must be whose key the link was opened with, if there are keys."""
    ask: Ask
