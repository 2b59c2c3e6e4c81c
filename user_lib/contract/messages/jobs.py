"""What analysts are told of an assignment: where it stands, and the events of its stream."""

from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages.records import (
    Losses,
    Message,
    Nanoseconds,
    Record,
    Result,
    TaskEnded,
)
from user_lib.contract.states import JobState, RoundState, TaskState

__all__ = ["Event", "Group", "JobChanged", "JobInfo", "MemberInfo", "RoundClosed"]


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
    away_ms: int = 0
    """Of all vehicles that count, added up; as ``lost_frames``."""
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
    """Results that the vehicle had to drop."""
    lost_for: dict[str, int] = {}
    """How many of them for which reason, the most frequent ones: the `reason` of `Losses`."""
    rule: str = ""
    """The rule of the vehicle's owner that refused the task or ended it."""
    last_result_ns: Nanoseconds | None = None
    last_failure: str = ""
