"""A task as data: where it stands, what may happen to it, what it asks of the vehicle.

`agent.tasks.life.step` is the only place where one task becomes the next. All here is frozen.
"""

from typing import TypeAlias

import msgspec

from agent.tasks.code import Verdict
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId, UserId
from user_lib.contract.messages import Feedback, RollBack
from user_lib.contract.states import TASK_ENDS, TaskState

__all__ = [
    "Close",
    "CodeMissing",
    "Command",
    "Commit",
    "Compute",
    "Computed",
    "DataOver",
    "DiskBack",
    "DiskFailed",
    "Event",
    "Faulted",
    "Granted",
    "Now",
    "Open",
    "Position",
    "Refused",
    "Request",
    "RoundBegan",
    "RoundsPassed",
    "Task",
    "Tick",
    "WindowArrived",
    "Withdrawn",
]


class Now(msgspec.Struct, frozen=True):
    """One reading of both clocks; ns. Durations use ``monotonic_ns``, a start time ``unix_ns``."""

    monotonic_ns: int
    unix_ns: int
    trusted: bool = False
    """Whether the wall clock is known to be right."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What of a task outlives the process: written with each result, in the same transaction."""

    iteration: int
    """The next iteration to commit."""
    committed: int = 0
    """How many iterations were committed."""
    memory: Json = None
    """The state that the method gave back, for its next iteration."""
    ran_ns: int = 0
    """How long the task has run so far, over all restarts; 0 until its start time."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One assignment's part on this vehicle."""

    assignment_id: AssignmentId
    analyst: UserId
    spec: Assignment
    position: Position
    state: TaskState = TaskState.PENDING
    since_ns: int | None = None
    """Monotonic time since which the task runs in this process; None before its start time."""
    opened: Feedback | None = None
    """The round that the present iteration belongs to; only with ``feedback``."""
    next_round: Feedback | None = None
    """A later round that began while an iteration was running."""
    holds_window: bool = False
    ready_ns: int = 0
    """Monotonic time since when the window waits for a worker slot."""
    retry: int = 0
    """The good generation that runs this window again after a roll-back."""
    rolled_back: RollBack | None = None
    resume: TaskState | None = None
    """Where a paused task was."""
    leaving: "Ending | None" = None
    """How the task ends once its running iteration is committed."""
    reason: str = ""
    detail: str = ""
    rule: str = ""
    """The owner's rule that ended it."""

    @property
    def iteration(self) -> int:
        """The iteration that is gathered or computed."""
        return self.position.iteration

    @property
    def inputs(self) -> tuple[Content, ...]:
        """The contents without which the present iteration cannot run."""
        given, opened = self.spec.onboard_content, self.opened
        fed = None if opened is None else opened.payload
        if given is None:
            return () if fed is None else (fed,)
        return (given,) if fed is None else (given, fed)

    @property
    def wanted(self) -> tuple[Content, ...]:
        """The contents that this and the next iteration need."""
        coming = self.next_round.payload if self.next_round else None
        return self.inputs if coming is None else (*self.inputs, coming)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in TASK_ENDS

    @property
    def wants_code(self) -> bool:
        """Whether its on-board half is the analyst's module."""
        return self.spec.onboard == "custom"

    @property
    def pinned(self) -> int:
        """The code generation that this iteration must run; 0 for the one in force."""
        return self.retry or (self.opened.generation if self.opened else 0)

    def ran_ns(self, now: Now) -> int:
        """How long the task has run, on the monotonic clock, while an agent was there to run it."""
        here = 0 if self.since_ns is None else now.monotonic_ns - self.since_ns
        return self.position.ran_ns + here


class Ending(msgspec.Struct, frozen=True):
    """How a task ends."""

    state: TaskState
    reason: str
    detail: str = ""
    rule: str = ""


# --- what happens to a task ----------------------------------------------------------------------


class Tick(msgspec.Struct, frozen=True):
    """Time has passed."""


class WindowArrived(msgspec.Struct, frozen=True):
    """The window that was asked for is there."""


class Granted(msgspec.Struct, frozen=True):
    """A worker slot is free and the code to run is known; ``instead_of`` when it is a stand-in."""

    instead_of: RollBack | None = None


class Computed(msgspec.Struct, frozen=True):
    """The worker is done; ``verdict`` says what that means for the code it ran."""

    verdict: Verdict
    ok: bool
    memory: Json = None


class RoundBegan(msgspec.Struct, frozen=True):
    """The cloud began a round of a feedback assignment."""

    feedback: Feedback


class RoundsPassed(msgspec.Struct, frozen=True):
    """The rounds went on while this vehicle was away; ``iteration`` is the one that is due now."""

    iteration: int


class CodeMissing(msgspec.Struct, frozen=True):
    """The code for this iteration cannot be had, and waiting does not help."""

    detail: str


class Refused(msgspec.Struct, frozen=True):
    """The owner's rules forbid the iteration on this window; the task goes on with the next."""

    reason: str
    detail: str
    rule: str = ""


class DataOver(msgspec.Struct, frozen=True):
    """No further window can come; ``by_itself`` when the source simply ended."""

    reason: str
    detail: str
    by_itself: bool
    rule: str = ""
    """The owner's rule that ends the task."""


class Withdrawn(msgspec.Struct, frozen=True):
    """The task is cancelled, or the cloud no longer wants it."""

    reason: str
    detail: str = ""


class Faulted(msgspec.Struct, frozen=True):
    """The agent itself failed at this task."""

    detail: str


class DiskFailed(msgspec.Struct, frozen=True):
    """What must be durable could not be written."""

    detail: str


class DiskBack(msgspec.Struct, frozen=True):
    """The disk can be written again."""


Event: TypeAlias = (
    Tick
    | WindowArrived
    | Granted
    | Computed
    | RoundBegan
    | RoundsPassed
    | CodeMissing
    | Refused
    | DataOver
    | Withdrawn
    | Faulted
    | DiskFailed
    | DiskBack
)


# --- what a task asks for ------------------------------------------------------------------------


class Open(msgspec.Struct, frozen=True):
    """Subscribe to the task's signals."""


class Request(msgspec.Struct, frozen=True):
    """Ask for the next window."""


class Compute(msgspec.Struct, frozen=True):
    """Run the method on the window in a worker slot."""


class Close(msgspec.Struct, frozen=True):
    """Give up the signals and the window."""


class Commit(msgspec.Struct, frozen=True):
    """Make this durable in one transaction, and only then let the step count.

    ``answered`` names the iteration whose result goes with it, 0 for none; with ``ended`` the end
    of the task goes with it.
    """

    answered: int = 0
    ended: bool = False
    reason: str = ""
    """For an answer that no worker gave: why, as a stable word, and in words."""
    detail: str = ""


Command: TypeAlias = Open | Request | Compute | Close | Commit
