"""What the rounds of one assignment consist of, what can happen to them, and what follows."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from user_lib.contract.ids import VehicleId
from user_lib.contract.states import JobState, RoundState, TaskState

__all__ = [
    "MAX_CLOSING",
    "MAX_OPEN",
    "Aggregate",
    "Aggregated",
    "Answer",
    "Answered",
    "Cancelled",
    "Closed",
    "Closing",
    "Command",
    "Ended",
    "Event",
    "Expected",
    "Expired",
    "Left",
    "Lost",
    "Member",
    "Offline",
    "Online",
    "Opened",
    "Overrun",
    "Part",
    "Round",
    "Rounds",
    "Rules",
    "Skipped",
    "Started",
    "Tick",
]

MAX_OPEN = 64
"""Open rounds of an assignment; beyond it the oldest is closed with what it has."""
MAX_CLOSING = 64
"""Closed rounds waiting for the off-board method; beyond it the oldest goes without a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is fixed for an assignment. A ``stream`` (`when`) has results but no rounds."""

    last_round: int | None = 1
    feedback: bool = False
    quorum: float = 1.0
    deadline_ns: int = 60_000_000_000
    stream: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A result as far as rounds care; a failed iteration is an answer too."""

    vehicle: VehicleId
    iteration: int
    ok: bool = True
    reason: str = ""
    code_version: str = ""
    generation: int = 0
    weight: float = 0.0
    lost_frames: int = 0
    away_ms: int = 0


class Part(msgspec.Struct, frozen=True):
    """The members of a closed round that ran one code version, and succeeded."""

    code_version: str
    vehicles: tuple[VehicleId, ...]
    weight: float = 0.0


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """A closed round: who counts in which aggregate; it never changes again."""

    number: int
    state: RoundState
    members: int
    parts: tuple[Part, ...] = ()
    """The one that counts first; without A/B it is the only one."""
    missing: tuple[VehicleId, ...] = ()
    failed: dict[VehicleId, str] = {}
    not_counted: dict[VehicleId, str] = {}
    lost_frames: int = 0
    away_ms: int = 0


@dataclass(slots=True)
class Member:
    """A vehicle that holds, or should hold, the task."""

    online: bool = False
    position: int = 0
    """The highest iteration that it answered."""
    missed: bool = False
    """It did not answer the last closed round that it was a member of."""
    away: bool = False
    """It was offline since it missed a round, so it may lag far behind."""
    expected: str = ""
    """The code version it should run, when an A/B test is on."""


@dataclass(slots=True)
class Round:
    """An open round; ``members`` are fixed when it opens, only a refusal takes one out again."""

    number: int
    members: set[VehicleId]
    pending: set[VehicleId]
    answers: dict[VehicleId, Answer] = field(default_factory=dict)
    heard_ns: int | None = None
    """When the first answer to this round, or to a later one, came."""
    silent_ns: int | None = None
    """Since when no pending member has been online."""


@dataclass(slots=True)
class Rounds:
    """The state of an assignment's rounds.

    It is changed in place by `step` alone: with 10,000 members a copy for each answer would cost
    more than everything else. It holds no clock, no socket and no file.
    """

    rules: Rules
    members: dict[VehicleId, Member]
    started: bool = False
    open: dict[int, Round] = field(default_factory=dict)
    closing: deque[Closing] = field(default_factory=deque)
    """Closed, without value yet. The first is with the off-board method, the others wait."""
    newest: int = 0
    split: bool = False
    """An A/B test is on: aggregates and quorum are kept per code version."""
    ending: "Ended | None" = None
    """How the assignment ends once the closed rounds have their values."""
    ended: bool = False
    overrun: bool = False
    fruitful: bool = False
    """A round had a value."""
    in_vain: dict[VehicleId, str] = field(default_factory=dict)
    """The failures of the last round that had any."""
    no_value: str = ""
    """Why the last round without a value had none, although vehicles had answered."""
    finished_tasks: int = 0
    failures: dict[VehicleId, str] = field(default_factory=dict)


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The assignment's start time has come."""


@dataclass(frozen=True, slots=True)
class Online:
    """A member's lease began."""

    vehicle: VehicleId


@dataclass(frozen=True, slots=True)
class Offline:
    """A member's lease ran out."""

    vehicle: VehicleId


@dataclass(frozen=True, slots=True)
class Answered:
    """A new result is in the ledger; repeats never come here."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Left:
    """A member's task came to an end, or was refused."""

    vehicle: VehicleId
    state: TaskState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """A member will never answer these iterations: runs of first and last, ascending."""

    vehicle: VehicleId
    iterations: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The off-board method is through with a closed round."""

    number: int
    until_met: bool = False
    error: str = ""
    """Why no part of the round has a value; empty when one has."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The code slot changed: the version each vehicle should run, None without an A/B test."""

    versions: Mapping[VehicleId, str] | None


@dataclass(frozen=True, slots=True)
class Expired:
    """The assignment's duration is over."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The analyst ends the assignment."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event: TypeAlias = (
    Started
    | Online
    | Offline
    | Answered
    | Left
    | Lost
    | Aggregated
    | Expected
    | Expired
    | Cancelled
    | Tick
)


# --- commands ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A round began; with feedback its members must be told."""

    number: int
    members: frozenset[VehicleId]


@dataclass(frozen=True, slots=True)
class Closed:
    """A round is closed: write it down."""

    closing: Closing


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Run the off-board method on a closed round and come back with `Aggregated`."""

    closing: Closing


@dataclass(frozen=True, slots=True)
class Skipped:
    """The off-board method cannot keep up: publish this round without a value."""

    closing: Closing


@dataclass(frozen=True, slots=True)
class Overrun:
    """Too many rounds are open: the oldest was closed early. Told once an assignment."""

    number: int
    missing: tuple[VehicleId, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The assignment is over."""

    state: JobState
    reason: str
    detail: str = ""


Command: TypeAlias = Opened | Closed | Aggregate | Skipped | Overrun | Ended
