"""The unions between vehicle and cloud, one a direction."""

from typing import Literal, TypeAlias

from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content, Digest, Offset
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages.records import (
    Chunk,
    Counted,
    Int64,
    Iteration,
    Losses,
    Message,
    ModuleHeld,
    Result,
    SignalInfo,
    TaskEnded,
    TaskHeld,
)
from user_lib.contract.signed import Signed

__all__ = [
    "Ack",
    "Assign",
    "Catalog",
    "CodeReport",
    "Deliver",
    "Feedback",
    "Fetch",
    "FromVehicle",
    "Heartbeat",
    "Hello",
    "NoContent",
    "SendCatalog",
    "SendChunk",
    "SendHello",
    "SetCode",
    "ToVehicle",
    "Welcome",
    "Withdraw",
]


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
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


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Renews the lease and tells what the vehicle holds; sent every third of the lease."""

    tasks: tuple[TaskHeld, ...] = ()
    code: tuple[ModuleHeld, ...] = ()
    outbox: Counted = 0
    stats: dict[str, float] = {}
    """Counters by dotted name: frames.total, frames.dropped, history.depth_s, link.reconnects …"""


class Catalog(Message, frozen=True, kw_only=True, tag="catalog"):
    """The signals behind a ``dbc_hash``, sent when the cloud does not know that hash."""

    dbc_hash: str
    signals: tuple[SignalInfo, ...]


class Deliver(Message, frozen=True, kw_only=True, tag="deliver"):
    """An entry of the outbox; repeated until its ``seq`` is acknowledged."""

    seq: Int64
    item: Result | Losses | TaskEnded


class CodeReport(Message, frozen=True, kw_only=True, tag="code_report"):
    """What became of a code generation on this vehicle."""

    analyst: UserId
    generation: Counted
    version: str
    state: Literal["armed", "refused", "rolled_back", "removed"]
    detail: str = ""


class Fetch(Message, frozen=True, kw_only=True, tag="fetch"):
    """Send a chunk of a content that one of the vehicle's tasks needs."""

    assignment_id: AssignmentId
    digest: Digest
    offset: Offset


FromVehicle: TypeAlias = Hello | Heartbeat | Catalog | Deliver | CodeReport | Fetch | Chunk


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The cloud's answer to `Hello`."""

    lease_s: float
    cloud_version: str
    messages_per_s: float = 0.0
    """How much the cloud takes of a vehicle, in the long run; 0 for any rate."""
    mb_per_s: float = 0.0
    content_bytes: Counted = 0
    """The largest content that the cloud takes; 0 when it does not say."""


class SendHello(Message, frozen=True, kw_only=True, tag="send_hello"):
    """The cloud does not know this connection (it restarted, or the lease ran out)."""


class SendCatalog(Message, frozen=True, kw_only=True, tag="send_catalog"):
    """The cloud has never seen this ``dbc_hash``."""

    dbc_hash: str


class Assign(Message, frozen=True, kw_only=True, tag="assign"):
    """Run a task.

    Repeats are ignored by a vehicle that has ended the task; one that holds it goes on with
    ``first_iteration`` if its own is lower, since the rounds did not wait for it.
    """

    assignment_id: AssignmentId
    analyst: UserId
    spec: Assignment | None = None
    """Left out where it is signed."""
    signed: Signed | None = None
    """The analyst's `AssignmentOrder`."""
    first_iteration: Iteration = 1
    """The iteration that is due: where to begin, or to go on after having been away."""


class Withdraw(Message, frozen=True, kw_only=True, tag="withdraw"):
    """End a task: cancelled, or its assignment ended or is unknown to the cloud."""

    assignment_id: AssignmentId
    reason: str
    """``cancelled`` is the analyst's word and signed; any other is the cloud's own."""
    signed: Signed | None = None
    """The analyst's `CancelOrder`."""


class SetCode(Message, frozen=True, kw_only=True, tag="set_code"):
    """Arm a code version in an analyst's on-board slot; an empty ``source`` removes the code."""

    analyst: UserId
    generation: Counted
    version: str
    source: str
    signed: Signed | None = None
    """The analyst's `SlotOrder`."""


class Feedback(Message, frozen=True, kw_only=True, tag="feedback"):
    """A round of a feedback assignment begins: run ``iteration`` with ``value`` as its input."""

    assignment_id: AssignmentId
    iteration: Iteration
    value: Json = None
    payload: Content | None = None
    """The value, when it is too large for this message."""
    generation: Counted = 0
    """The code generation pinned for this round; 0 for a built-in method."""


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """These outbox entries are in the ledger, on disk."""

    seqs: tuple[int, ...]


class SendChunk(Message, frozen=True, kw_only=True, tag="send_chunk"):
    """Send a chunk of a content that an entry of the outbox names."""

    digest: Digest
    offset: Offset


class NoContent(Message, frozen=True, kw_only=True, tag="no_content"):
    """The answer to a `Fetch` that is not answered with a `Chunk`; ask again later."""

    digest: Digest
    detail: str


ToVehicle: TypeAlias = (
    Welcome
    | SendHello
    | SendCatalog
    | Assign
    | Withdraw
    | SetCode
    | Feedback
    | Ack
    | SendChunk
    | NoContent
    | Chunk
)
