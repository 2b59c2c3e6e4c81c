"""What the cloud answers an analyst: one union, numbered replies."""

from typing import Literal, TypeAlias

from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.card import Card
from user_lib.contract.content import Content, Digest
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages.records import (
    Chunk,
    Losses,
    Message,
    Nanoseconds,
    Record,
    Result,
    Side,
    SignalInfo,
    TaskEnded,
    TaskHeld,
)
from user_lib.contract.signed import Signed
from user_lib.contract.states import JobState, RoundState, TaskState

__all__ = [
    "Answer",
    "Cancelled",
    "CodeSlot",
    "CodeSlots",
    "CodeState",
    "ContentHeld",
    "Event",
    "Events",
    "Explanation",
    "Group",
    "JobChanged",
    "JobInfo",
    "Jobs",
    "MemberInfo",
    "Pong",
    "Proof",
    "Rejection",
    "Reply",
    "RoundClosed",
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


class JobInfo(Record, frozen=True, kw_only=True):
    """An assignment as its analyst sees it."""

    assignment_id: AssignmentId
    analyst: UserId
    spec: Assignment
    state: JobState
    reason: str
    created_ns: Nanoseconds
    ended_ns: Nanoseconds | None
    vehicles: tuple[VehicleId, ...]
    rounds_closed: int
    results: int
    last_seq: int


class Jobs(Message, frozen=True, kw_only=True, tag="jobs"):
    """Answer to `ListJobs`."""

    jobs: tuple[JobInfo, ...]


class Group(Record, frozen=True, kw_only=True):
    """The vehicles of a round that ran the same code version, and their aggregate."""

    code_version: str
    vehicles: tuple[VehicleId, ...]
    value: Json = None
    payload: Content | None = None
    """The value, when it is too large for this message."""
    weight: float = 0.0
    error: str = ""
    """Why the off-board method gave no value, with its traceback."""


class RoundClosed(Message, frozen=True, kw_only=True, tag="round"):
    """A round is closed; its aggregates never change again."""

    assignment_id: AssignmentId
    round: int
    state: RoundState
    groups: tuple[Group, ...]
    """By code version, the one that counts first; results of two versions are never mixed."""
    missing: tuple[VehicleId, ...] = ()
    failed: dict[VehicleId, str] = {}
    """Vehicles whose iteration failed, with the reason."""
    not_counted: dict[VehicleId, str] = {}
    """Vehicles that ran another version than the majority, with that version."""
    offboard_method: str
    offboard_version: str = ""
    prints: str = ""
    lost_frames: int = 0
    opened_ns: Nanoseconds
    closed_ns: Nanoseconds


class JobChanged(Message, frozen=True, kw_only=True, tag="job"):
    """The assignment, or one vehicle's part of it, changed its state."""

    assignment_id: AssignmentId
    state: JobState
    vehicle_id: VehicleId = ""
    task_state: TaskState | None = None
    reason: str = ""
    detail: str = ""
    path: str = ""
    """For a refusal: the key of the assignment at fault."""
    near: tuple[str, ...] = ()
    rule: str = ""
    """For a refusal by a vehicle: the rule of its owner that says so."""
    said: TaskEnded | Losses | None = None
    """The vehicle's own words behind it, signed; None for what the cloud alone says."""


class Event(Record, frozen=True, kw_only=True):
    """An entry of an assignment's stream, numbered from 1 without gaps."""

    seq: int
    item: Result | RoundClosed | JobChanged


class Events(Message, frozen=True, kw_only=True, tag="events"):
    """Answer to `ReadEvents`; ``ended`` once the assignment is over and all was read."""

    events: tuple[Event, ...]
    next_seq: int
    """What to give as ``after_seq`` next."""
    state: JobState
    ended: bool


class MemberInfo(Record, frozen=True, kw_only=True):
    """Where an assignment stands on one vehicle."""

    vehicle_id: VehicleId
    online: bool
    state: TaskState | None
    """None until the vehicle has spoken of the task."""
    iteration: int = 0
    detail: str = ""
    results: int = 0
    lost_results: int = 0
    """Results that the vehicle had to drop, its outbox being full."""
    last_result_ns: Nanoseconds | None = None
    last_failure: str = ""


class Explanation(Message, frozen=True, kw_only=True, tag="explanation"):
    """Answer to `Explain`."""

    job: JobInfo
    members: tuple[MemberInfo, ...]
    open_rounds: tuple[int, ...]
    waiting_for: tuple[VehicleId, ...]


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


class CodeSlot(Message, frozen=True, kw_only=True, tag="code_slot"):
    """One side's slot of an analyst; answer to `PushCode`, `RollbackCode`, `RemoveCode`."""

    side: Side
    generation: int
    version: str
    """The default version; empty when the slot is empty."""
    overrides: dict[VehicleId, str] = {}
    previous_version: str = ""
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
