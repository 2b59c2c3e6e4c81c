"""What several messages carry: results with their receipts, tasks and code that a vehicle holds."""

import math
from typing import Annotated, Literal, TypeAlias

import msgspec

from user_lib.contract.assignment import Json
from user_lib.contract.content import CHUNK_BYTES, Content, Digest, Offset
from user_lib.contract.ids import AssignmentId, CodeHash, UserId, VehicleId
from user_lib.contract.runs import length
from user_lib.contract.states import TaskState

__all__ = [
    "MAX_RUNS",
    "Chunk",
    "Counted",
    "Int64",
    "Iteration",
    "Losses",
    "Message",
    "ModuleHeld",
    "Nanoseconds",
    "OutcomeStatus",
    "Record",
    "Result",
    "RollBack",
    "Side",
    "SignalInfo",
    "TaskEnded",
    "TaskHeld",
]

Side: TypeAlias = Literal["onboard", "offboard"]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a ledger's column can hold; the wire itself would carry a bit more."""
Counted = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Iteration = Annotated[int, msgspec.Meta(ge=1, le=2**52)]
"""One that a vehicle can be told to begin with: it counts on from there."""
Nanoseconds: TypeAlias = Int64
MAX_RUNS = 1000
"""Runs of iterations in one record of losses; an agent begins a new record for a further one."""
OutcomeStatus: TypeAlias = Literal["ok", "error", "killed", "refused"]


class Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """A message, or a part of one that stands in a union."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A part of a message."""


class Chunk(Message, frozen=True, kw_only=True, tag="chunk"):
    """A piece of a content; who receives it asked for it."""

    digest: Digest
    offset: Offset
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)]


class SignalInfo(Record, frozen=True, kw_only=True):
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


class RollBack(Record, frozen=True, kw_only=True):
    """A code version failed its first iteration; the last good one ran in its place."""

    failed_version: CodeHash
    detail: str


class Result(Message, frozen=True, kw_only=True, tag="result"):
    """What one iteration on one vehicle produced, with its receipt.

    Identity: (assignment_id, vehicle_id, epoch, iteration); the cloud sets ``vehicle_id`` from the
    connection that the result came by.
    """

    assignment_id: AssignmentId
    vehicle_id: VehicleId = ""
    epoch: str
    iteration: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    serial: Counted = 0
    """How many iterations this task has committed in this epoch, this one included: iterations
    may be skipped, serials never are, so that a result which is held back leaves a gap."""
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
    payload: Content | None = None
    """A `ResultBody` with value and partial, when they are too large for this message."""
    prints: str = ""
    method: str
    code_version: str = ""
    """sha256 of the custom module that ran; empty for a built-in method."""
    generation: Counted = 0
    rolled_back: RollBack | None = None
    dbc_hash: str
    window_start_ns: Nanoseconds
    window_stop_ns: Nanoseconds
    trigger_ns: Nanoseconds | None = None
    samples: dict[str, Counted] = {}
    lost_frames: Counted = 0
    """Frames of the window that were overwritten or dropped before they were read."""
    away_ms: Counted = 0
    """How long a CAN interface that the window's signals come by was away inside the window."""
    agent_version: str
    cpu_s: float = 0.0
    wall_s: float = 0.0
    max_rss_mb: float = 0.0
    created_ns: Nanoseconds
    """The vehicle's wall clock when the iteration ended, ns since the Unix epoch."""
    late: bool = False
    """Set by the cloud: its round was already closed."""
    signature: bytes = b""
    """The vehicle's, over all of it but what the cloud sets (`contract.signing`)."""

    @property
    def weighs(self) -> bool:
        """Whether the weight is one; a vehicle can say anything, and sign it."""
        return math.isfinite(self.weight) and self.weight >= 0


class TaskEnded(Message, frozen=True, kw_only=True, tag="task_ended"):
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
    rule: str = ""
    """The rule of the vehicle's owner that refused it."""
    iterations: Counted = 0
    """How many iterations the task committed."""
    signature: bytes = b""


class Losses(Message, frozen=True, kw_only=True, tag="losses"):
    """Iterations that a vehicle committed and had to drop before the cloud had them.

    Each such iteration is in one of these once, under the identity that its result had.
    """

    assignment_id: AssignmentId
    vehicle_id: VehicleId = ""
    epoch: str
    iterations: tuple[tuple[Counted, Counted], ...]
    """First and last of each run of iterations, ascending and apart."""
    reason: str = "outbox_full"
    signature: bytes = b""

    @property
    def problem(self) -> str:
        """What no agent would write; empty when there is nothing of the kind."""
        runs = self.iterations
        if len(runs) > MAX_RUNS:
            return f"{len(runs)} runs of lost iterations; at most {MAX_RUNS} are allowed"
        ends = (0, *(last for _, last in runs))
        if any(not end < first <= last for end, (first, last) in zip(ends, runs, strict=False)):
            return "runs of lost iterations that do not ascend"
        return ""

    @property
    def count(self) -> int:
        """How many iterations are lost."""
        return length(self.iterations)

    def tells_of(self, result: Result) -> bool:
        """Whether a result is one of the iterations."""
        same = (result.assignment_id, result.epoch) == (self.assignment_id, self.epoch)
        return same and any(first <= result.iteration <= last for first, last in self.iterations)

    @property
    def words(self) -> str:
        """What is lost, for a person."""
        shown = self.iterations[:20]
        runs = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in shown)
        more = ", and more" if len(self.iterations) > len(shown) else ""
        return f"{self.count} results were dropped ({self.reason}): iterations {runs}{more}"


class TaskHeld(Record, frozen=True, kw_only=True):
    """A task that a vehicle holds, as its heartbeat tells."""

    assignment_id: AssignmentId
    state: TaskState
    iteration: Counted
    """The iteration that is being gathered or computed."""
    detail: str = ""
    """In words: '523 of 1000 samples of Vehicle.Speed', 'waits for a worker slot' …"""


class ModuleHeld(Record, frozen=True, kw_only=True):
    """The code generation in force for one analyst on a vehicle."""

    analyst: UserId
    generation: Counted
    version: str
