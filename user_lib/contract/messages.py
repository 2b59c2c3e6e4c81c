"""Every message of the platform: one closed union a direction, frozen, tagged by ``type``.

::

    vehicle  → cloud     FromVehicle   Hello, Heartbeat, Catalog, Deliver, CodeReport
    cloud    → vehicle   ToVehicle     Welcome, SendHello, SendCatalog, Assign, Withdraw, SetCode,
                                       Feedback, Ack
    analyst  → cloud     Request       a body of the union `Ask`, numbered; safe to repeat
    cloud    → analyst   Reply         the answer to one request: a body of the union `Answer`

Vehicle and cloud keep each other right by comparing what is with what should be: every `Heartbeat`
lists the tasks and code generations that the vehicle holds, and the cloud sends again what is
missing. So every message to a vehicle may be repeated, and the loss of one heals itself.

What a vehicle must not lose (results, the end of a task) goes through its outbox as `Deliver` and
is repeated until an `Ack` names it. Analysts only ask: a job's stream of events is numbered in the
ledger and read from any position with `ReadEvents`, which waits at the cloud for news.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec

from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.ids import AssignmentId, CodeHash, UserId, VehicleId
from user_lib.contract.states import JobState, RoundState, TaskState

__all__ = [
    "Ack",
    "Answer",
    "Ask",
    "Assign",
    "Cancel",
    "Cancelled",
    "Catalog",
    "CodeReport",
    "CodeSlot",
    "CodeSlots",
    "CodeState",
    "CodeStatus",
    "Deliver",
    "Event",
    "Events",
    "Explain",
    "Explanation",
    "Feedback",
    "FromVehicle",
    "Group",
    "Heartbeat",
    "Hello",
    "JobChanged",
    "JobInfo",
    "Jobs",
    "ListJobs",
    "ListSignals",
    "ListVehicles",
    "MemberInfo",
    "ModuleHeld",
    "Ping",
    "Pong",
    "PushCode",
    "ReadEvents",
    "Rejection",
    "RemoveCode",
    "Reply",
    "Request",
    "Result",
    "RollBack",
    "RollbackCode",
    "RoundClosed",
    "SendCatalog",
    "SendHello",
    "SetCode",
    "SignalInfo",
    "Signals",
    "Submit",
    "Submitted",
    "TaskEnded",
    "TaskHeld",
    "ToVehicle",
    "VehicleInfo",
    "Vehicles",
    "Welcome",
    "Withdraw",
]

Side: TypeAlias = Literal["onboard", "offboard"]
Nanoseconds: TypeAlias = int
OutcomeStatus: TypeAlias = Literal["ok", "error", "killed", "refused"]


class _Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """A message, or a part of one that stands in a union."""


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A part of a message."""


# --- shared records ------------------------------------------------------------------------------


class SignalInfo(_Record, frozen=True, kw_only=True):
    """A signal that a vehicle can be asked for."""

    name: str
    """The VSS path where the vehicle's mapping has one, else ``Message.Signal``."""
    unit: str = ""
    message: str = ""
    channel: str = ""
    vss: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: dict[int, str] = {}


class RollBack(_Record, frozen=True, kw_only=True):
    """A code version failed its first iteration; the last good one ran in its place."""

    failed_version: CodeHash
    detail: str


class Result(_Message, frozen=True, kw_only=True, tag="result"):
    """What one iteration on one vehicle produced, with its receipt.

    Identity: (assignment_id, vehicle_id, epoch, iteration); the cloud sets ``vehicle_id`` from the
    connection that the result came by.
    """

    assignment_id: AssignmentId
    vehicle_id: VehicleId = ""
    epoch: str
    iteration: Annotated[int, msgspec.Meta(ge=1)]
    status: OutcomeStatus
    reason: str = ""
    """For a failure: wall, cpu, memory, syscall, crash, exit, output, result, protocol, error …"""
    detail: str = ""
    """For a failure: the traceback, the signal, or the limit that was reached."""
    value: Json = None
    weight: float = 0.0
    """How many samples the value stands for."""
    partial: Json = None
    """What `offboard: merge` pools, when the on-board method has such a form."""
    prints: str = ""
    method: str
    code_version: str = ""
    """sha256 of the custom module that ran; empty for a built-in method."""
    generation: int = 0
    rolled_back: RollBack | None = None
    dbc_hash: str
    window_start_ns: Nanoseconds
    window_stop_ns: Nanoseconds
    trigger_ns: Nanoseconds | None = None
    samples: dict[str, int] = {}
    lost_frames: int = 0
    agent_version: str
    cpu_s: float = 0.0
    wall_s: float = 0.0
    max_rss_mb: float = 0.0
    created_ns: Nanoseconds
    """The vehicle's wall clock when the iteration ended, ns since the Unix epoch."""
    late: bool = False
    """Set by the cloud: its round was already closed."""


class TaskEnded(_Message, frozen=True, kw_only=True, tag="task_ended"):
    """A task came to its end on one vehicle, or was refused there."""

    assignment_id: AssignmentId
    vehicle_id: VehicleId = ""
    epoch: str
    state: TaskState
    """One of the ends."""
    reason: str = ""
    """A stable word: unknown_signal, window_too_large, no_code, forbidden, expired …"""
    detail: str = ""
    path: str = ""
    near: tuple[str, ...] = ()
    iterations: int = 0
    """How many iterations the task committed."""
    lost_results: int = 0
    """Results that a full outbox had to drop."""


class TaskHeld(_Record, frozen=True, kw_only=True):
    """A task that a vehicle holds, as its heartbeat tells."""

    assignment_id: AssignmentId
    state: TaskState
    iteration: int
    """The iteration that is being gathered or computed."""
    detail: str = ""
    """In words: '523 of 1000 samples of Vehicle.Speed', 'waits for a worker slot' …"""


class ModuleHeld(_Record, frozen=True, kw_only=True):
    """The code generation in force for one analyst on a vehicle."""

    analyst: UserId
    generation: int
    version: str


# --- vehicle → cloud -----------------------------------------------------------------------------


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """First message of a connection, and again when the cloud asks (`SendHello`)."""

    vehicle_id: VehicleId
    epoch: str
    agent_version: str
    model: str = ""
    profile: str = ""
    tags: dict[str, str] = {}
    dbc_hash: str
    external_methods: tuple[str, ...] = ()
    accepts_custom: bool = True
    sandbox: str = ""
    """The isolation level that custom code gets on this vehicle."""


class Heartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Renews the lease and tells what the vehicle holds; sent every third of the lease."""

    tasks: tuple[TaskHeld, ...] = ()
    code: tuple[ModuleHeld, ...] = ()
    outbox: int = 0
    stats: dict[str, float] = {}
    """Counters by dotted name: frames.total, frames.dropped, history.depth_s, link.reconnects …"""


class Catalog(_Message, frozen=True, kw_only=True, tag="catalog"):
    """The signals behind a ``dbc_hash``, sent when the cloud does not know that hash."""

    dbc_hash: str
    signals: tuple[SignalInfo, ...]


class Deliver(_Message, frozen=True, kw_only=True, tag="deliver"):
    """An entry of the outbox; repeated until its ``seq`` is acknowledged."""

    seq: int
    item: Result | TaskEnded


class CodeReport(_Message, frozen=True, kw_only=True, tag="code_report"):
    """What became of a code generation on this vehicle."""

    analyst: UserId
    generation: int
    version: str
    state: Literal["armed", "refused", "rolled_back", "removed"]
    detail: str = ""


FromVehicle: TypeAlias = Hello | Heartbeat | Catalog | Deliver | CodeReport


# --- cloud → vehicle -----------------------------------------------------------------------------


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """The cloud's answer to `Hello`."""

    lease_s: float
    cloud_version: str


class SendHello(_Message, frozen=True, kw_only=True, tag="send_hello"):
    """The cloud does not know this connection (it restarted, or the lease ran out)."""


class SendCatalog(_Message, frozen=True, kw_only=True, tag="send_catalog"):
    """The cloud has never seen this ``dbc_hash``."""

    dbc_hash: str


class Assign(_Message, frozen=True, kw_only=True, tag="assign"):
    """Run a task. Repeats are ignored by a vehicle that holds, or has ended, the task."""

    assignment_id: AssignmentId
    analyst: UserId
    spec: Assignment
    first_iteration: int = 1
    """Where to begin when the vehicle has no position of its own."""


class Withdraw(_Message, frozen=True, kw_only=True, tag="withdraw"):
    """End a task: cancelled, or its assignment ended or is unknown to the cloud."""

    assignment_id: AssignmentId
    reason: str


class SetCode(_Message, frozen=True, kw_only=True, tag="set_code"):
    """Arm a code version in an analyst's on-board slot; an empty ``source`` removes the code."""

    analyst: UserId
    generation: int
    version: str
    source: str


class Feedback(_Message, frozen=True, kw_only=True, tag="feedback"):
    """A round of a feedback assignment begins: run ``iteration`` with ``value`` as its input."""

    assignment_id: AssignmentId
    iteration: int
    value: Json = None
    generation: int = 0
    """The code generation pinned for this round; 0 for a built-in method."""


class Ack(_Message, frozen=True, kw_only=True, tag="ack"):
    """These outbox entries are in the ledger, on disk."""

    seqs: tuple[int, ...]


ToVehicle: TypeAlias = (
    Welcome | SendHello | SendCatalog | Assign | Withdraw | SetCode | Feedback | Ack
)


# --- analyst → cloud -----------------------------------------------------------------------------


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    """Is there a cloud, and which?"""


class ListVehicles(_Message, frozen=True, kw_only=True, tag="list_vehicles"):
    """All vehicles that the cloud has seen."""


class ListSignals(_Message, frozen=True, kw_only=True, tag="list_signals"):
    """The signals of one vehicle."""

    vehicle_id: VehicleId


class Submit(_Message, frozen=True, kw_only=True, tag="submit"):
    """A new assignment; the same ``token`` again answers with the same assignment."""

    spec: Assignment
    token: str


class Cancel(_Message, frozen=True, kw_only=True, tag="cancel"):
    """End an assignment of one's own."""

    assignment_id: AssignmentId


class ListJobs(_Message, frozen=True, kw_only=True, tag="list_jobs"):
    """One's own assignments, newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class ReadEvents(_Message, frozen=True, kw_only=True, tag="read_events"):
    """The events of an assignment after ``after_seq``; waits up to ``wait_s`` for the first."""

    assignment_id: AssignmentId
    after_seq: int = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0
    kinds: tuple[Literal["result", "round", "job"], ...] = ("result", "round", "job")


class Explain(_Message, frozen=True, kw_only=True, tag="explain"):
    """Where an assignment stands on each vehicle."""

    assignment_id: AssignmentId


class PushCode(_Message, frozen=True, kw_only=True, tag="push_code"):
    """Put a module in a slot of one's own: for all vehicles, or for some (A/B)."""

    side: Side
    source: str
    token: str
    vehicles: tuple[VehicleId, ...] | None = None


class CodeStatus(_Message, frozen=True, kw_only=True, tag="code_status"):
    """Both slots; waits up to ``wait_s`` until no online vehicle is pending."""

    wait_s: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0


class RollbackCode(_Message, frozen=True, kw_only=True, tag="rollback_code"):
    """Put the slot's previous content back, as a new generation."""

    side: Side
    token: str


class RemoveCode(_Message, frozen=True, kw_only=True, tag="remove_code"):
    """Empty the slot; running tasks that need it end, saying so."""

    side: Side
    token: str


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
)


class Request(_Message, frozen=True, kw_only=True, tag="request"):
    """A numbered question of an analyst. The number is the analyst's own and returns in `Reply`."""

    number: int
    user: UserId
    """Who asks, while the link has no keys; with keys, the key decides."""
    ask: Ask


# --- cloud → analyst -----------------------------------------------------------------------------


class Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    """The cloud is there."""

    cloud_version: str
    vehicles_online: int


class VehicleInfo(_Record, frozen=True, kw_only=True):
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


class Vehicles(_Message, frozen=True, kw_only=True, tag="vehicles"):
    """Answer to `ListVehicles`."""

    vehicles: tuple[VehicleInfo, ...]


class Signals(_Message, frozen=True, kw_only=True, tag="signals"):
    """Answer to `ListSignals`."""

    vehicle_id: VehicleId
    signals: tuple[SignalInfo, ...]


class Submitted(_Message, frozen=True, kw_only=True, tag="submitted"):
    """Answer to `Submit`: the assignment is in the ledger."""

    assignment_id: AssignmentId
    vehicles: tuple[VehicleId, ...]


class Cancelled(_Message, frozen=True, kw_only=True, tag="cancelled"):
    """Answer to `Cancel`; ``state`` is how the assignment ended if it had ended before."""

    assignment_id: AssignmentId
    state: JobState


class JobInfo(_Record, frozen=True, kw_only=True):
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


class Jobs(_Message, frozen=True, kw_only=True, tag="jobs"):
    """Answer to `ListJobs`."""

    jobs: tuple[JobInfo, ...]


class Group(_Record, frozen=True, kw_only=True):
    """The vehicles of a round that ran the same code version, and their aggregate."""

    code_version: str
    vehicles: tuple[VehicleId, ...]
    value: Json = None
    weight: float = 0.0
    error: str = ""
    """Why the off-board method gave no value, with its traceback."""


class RoundClosed(_Message, frozen=True, kw_only=True, tag="round"):
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


class JobChanged(_Message, frozen=True, kw_only=True, tag="job"):
    """The assignment, or one vehicle's part of it, changed its state."""

    assignment_id: AssignmentId
    state: JobState
    vehicle_id: VehicleId = ""
    task_state: TaskState | None = None
    reason: str = ""
    detail: str = ""


class Event(_Record, frozen=True, kw_only=True):
    """An entry of an assignment's stream, numbered from 1 without gaps."""

    seq: int
    item: Result | RoundClosed | JobChanged


class Events(_Message, frozen=True, kw_only=True, tag="events"):
    """Answer to `ReadEvents`; ``ended`` once the assignment is over and all was read."""

    events: tuple[Event, ...]
    next_seq: int
    """What to give as ``after_seq`` next."""
    state: JobState
    ended: bool


class MemberInfo(_Record, frozen=True, kw_only=True):
    """Where an assignment stands on one vehicle."""

    vehicle_id: VehicleId
    online: bool
    state: TaskState | None
    """None until the vehicle has spoken of the task."""
    iteration: int = 0
    detail: str = ""
    results: int = 0
    last_result_ns: Nanoseconds | None = None
    last_failure: str = ""


class Explanation(_Message, frozen=True, kw_only=True, tag="explanation"):
    """Answer to `Explain`."""

    job: JobInfo
    members: tuple[MemberInfo, ...]
    open_rounds: tuple[int, ...]
    waiting_for: tuple[VehicleId, ...]


class CodeState(_Record, frozen=True, kw_only=True):
    """A slot's content on one vehicle (or in the cloud, for the off-board side)."""

    vehicle_id: str
    version: str
    state: Literal["pending", "offline", "armed", "refused", "rolled_back", "removed"]
    swap_ms: float | None = None
    """From the cloud's receipt of the module until it was verified and armed."""
    first_result_ms: float | None = None
    """Until the first result that the version produced."""
    detail: str = ""


class CodeSlot(_Message, frozen=True, kw_only=True, tag="code_slot"):
    """One side's slot of an analyst; answer to `PushCode`, `RollbackCode`, `RemoveCode`."""

    side: Side
    generation: int
    version: str
    """The default version; empty when the slot is empty."""
    overrides: dict[VehicleId, str] = {}
    previous_version: str = ""
    vehicles: tuple[CodeState, ...] = ()


class CodeSlots(_Message, frozen=True, kw_only=True, tag="code_slots"):
    """Answer to `CodeStatus`."""

    onboard: CodeSlot
    offboard: CodeSlot


class Rejection(_Message, frozen=True, kw_only=True, tag="rejection"):
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
    | Rejection
)


class Reply(_Message, frozen=True, kw_only=True, tag="reply"):
    """The answer to the request of the same number."""

    number: int
    answer: Answer
