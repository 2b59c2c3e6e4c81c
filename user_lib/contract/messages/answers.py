"""What the cloud answers an analyst: one union, numbered replies."""

from typing import Literal, TypeAlias

from user_lib.contract.card import Card
from user_lib.contract.content import Digest
from user_lib.contract.ids import AssignmentId, VehicleId
from user_lib.contract.messages.jobs import Event, JobInfo, MemberInfo
from user_lib.contract.messages.records import (
    Chunk,
    Message,
    Nanoseconds,
    Record,
    Side,
    SignalInfo,
    TaskEnded,
    TaskHeld,
)
from user_lib.contract.signed import Signed
from user_lib.contract.states import JobState

__all__ = [
    "Answer",
    "Cancelled",
    "CodeSlot",
    "CodeSlots",
    "CodeState",
    "ContentHeld",
    "Events",
    "Explanation",
    "Jobs",
    "Pong",
    "Proof",
    "Rejection",
    "Reply",
    "Signals",
    "Submitted",
    "VehicleInfo",
    "Vehicles",
]


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """The cloud is there."""

    cloud_version: str
    vehicles_online: int


class VehicleInfo(Record, frozen=True, kw_only=True):
    """A vehicle as the cloud knows it."""

    vehicle_id: VehicleId
    online: bool
    last_seen_ns: Nanoseconds
    agent_version: str
    model: str
    profile: str
    tags: dict[str, str]
    dbc_hash: str
    external_methods: tuple[str, ...]
    accepts_custom: bool
    sandbox: str
    tasks: tuple[TaskHeld, ...]
    outbox: int
    stats: dict[str, float]
    delivered_ns: Nanoseconds = 0
    """When an entry of its outbox came last, new or repeated; 0: none since the cloud began."""


class Vehicles(Message, frozen=True, kw_only=True, tag="vehicles"):
    """Answer to `ListVehicles`."""

    vehicles: tuple[VehicleInfo, ...]


class Signals(Message, frozen=True, kw_only=True, tag="signals"):
    """Answer to `ListSignals`."""

    vehicle_id: VehicleId
    signals: tuple[SignalInfo, ...]


class Submitted(Message, frozen=True, kw_only=True, tag="submitted"):
    """Answer to `Submit`: the assignment is in the ledger."""

    assignment_id: AssignmentId
    vehicles: tuple[VehicleId, ...]


class Cancelled(Message, frozen=True, kw_only=True, tag="cancelled"):
    """Answer to `Cancel`; ``state`` is how the assignment ended if it had ended before."""

    assignment_id: AssignmentId
    state: JobState


class Jobs(Message, frozen=True, kw_only=True, tag="jobs"):
    """Answer to `ListJobs`."""

    jobs: tuple[JobInfo, ...]


class Events(Message, frozen=True, kw_only=True, tag="events"):
    """Answer to `ReadEvents`; ``ended`` once the assignment is over and all was read."""

    events: tuple[Event, ...]
    next_seq: int
    """What to give as ``after_seq`` next."""
    state: JobState
    ended: bool


class Explanation(Message, frozen=True, kw_only=True, tag="explanation"):
    """Answer to `Explain`."""

    job: JobInfo
    members: tuple[MemberInfo, ...]
    open_rounds: tuple[int, ...]
    waiting_for: tuple[VehicleId, ...]
    unkept: str = ""
    """Why the cloud cannot keep what vehicles send, so that it acknowledges nothing."""


class CodeState(Record, frozen=True, kw_only=True):
    """A slot's content on one vehicle (or in the cloud, for the off-board side)."""

    vehicle_id: str
    version: str
    state: Literal["pending", "offline", "armed", "refused", "rolled_back", "removed"]
    swap_ms: float | None = None
    """From the cloud's receipt of the module until it was verified and armed."""
    first_result_ms: float | None = None
    """Until the first result that the version produced."""
    detail: str = ""
    runs: str = ""
    """The version that runs in place of one that was refused or rolled back, once it is known."""


class CodeSlot(Message, frozen=True, kw_only=True, tag="code_slot"):
    """One side's slot of an analyst; answer to `PushCode`, `RollbackCode`, `RemoveCode`."""

    side: Side
    generation: int
    version: str
    """The default version; empty when the slot is empty."""
    overrides: dict[VehicleId, str] = {}
    previous_version: str = ""
    """What taking the content back goes to."""
    next_generation: int = 1
    """What the next content is to be numbered."""
    signed: Signed | None = None
    """The content as its analyst signed it."""
    previous_signed: Signed | None = None
    vehicles: tuple[CodeState, ...] = ()


class CodeSlots(Message, frozen=True, kw_only=True, tag="code_slots"):
    """Answer to `CodeStatus`."""

    onboard: CodeSlot
    offboard: CodeSlot


class Proof(Message, frozen=True, kw_only=True, tag="proof"):
    """Answer to `Prove`: what was signed by the analyst, and the cards of the vehicles."""

    assignment_id: AssignmentId
    signed: Signed | None = None
    """The assignment's order."""
    code: tuple[Signed, ...] = ()
    """The on-board slot's contents, newest first, as far as they are kept."""
    cards: tuple[Card, ...] = ()
    """Of the assignment's vehicles, as the cloud knows them."""
    ends: tuple[TaskEnded, ...] = ()
    """How the task ended on each vehicle that has said so, by vehicle."""
    next_after: VehicleId | None = None
    """What to ask for as ``after`` next; None when this is all."""


class ContentHeld(Message, frozen=True, kw_only=True, tag="content_held"):
    """Answer to `PutChunk`: how many bytes are there, from the first one on."""

    digest: Digest
    have: int


class Rejection(Message, frozen=True, kw_only=True, tag="rejection"):
    """The request was refused; ``reason`` is a stable word, ``message`` says what to do."""

    reason: str
    message: str
    path: str = ""
    near: tuple[str, ...] = ()


Answer: TypeAlias = (
    Pong
    | Vehicles
    | Signals
    | Submitted
    | Cancelled
    | Jobs
    | Events
    | Explanation
    | CodeSlot
    | CodeSlots
    | Proof
    | ContentHeld
    | Chunk
    | Rejection
)


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    """The answer to the request of the same number."""

    number: int
    answer: Answer
