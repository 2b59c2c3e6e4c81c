"""What the table of tasks needs of its surroundings, and the news that other threads leave it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from agent.sandbox import Job, Outcome
from agent.store import Write
from agent.tasks.task import DataOver
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import Content
from user_lib.contract.ids import AssignmentId
from user_lib.contract.window import Window

__all__ = [
    "Arrived",
    "Durable",
    "Finished",
    "Inputs",
    "News",
    "RanDry",
    "Signals",
    "Slots",
    "Subscription",
]


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """The window that a subscription asked for."""

    token: int
    window: Window


@dataclass(frozen=True, slots=True)
class RanDry:
    """A subscription gives no further window."""

    token: int
    over: DataOver


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A job is over."""

    ticket: int
    outcome: Outcome


News: TypeAlias = Arrived | RanDry | Finished


class Subscription(Protocol):
    """A task's windows."""

    def request(self) -> None:
        """Ask for the next window."""

    def progress(self) -> str:
        """Say how far the next window is."""

    def cancel(self) -> None:
        """Give up."""


class Signals(Protocol):
    """The vehicle's signals; news are posted from a thread of their own."""

    def check(self, assignment: Assignment) -> None:
        """Raise AssignmentError for what this vehicle cannot gather."""

    def aliases(self, name: str) -> tuple[frozenset[str], ...]:
        """Return all names of each signal that a name stands for: itself, or what it is made of."""

    def subscribe(
        self, assignment: Assignment, token: int, post: Callable[[News], None]
    ) -> Subscription:
        """Begin to gather. Raises: AssignmentError, as `check`."""


class Slots(Protocol):
    """The worker slots; outcomes are posted from their threads."""

    @property
    def idle(self) -> int:
        """How many slots are free."""

    def submit(self, ticket: int, job: Job) -> None:
        """Hand a job to a free slot."""

    def finished(self) -> None:
        """Free the slot of an outcome that was received."""


class Inputs(Protocol):
    """The contents that tasks were given by name."""

    def missing(self, contents: Iterable[Content]) -> str:
        """Say how far contents are that are not here; empty when all are."""

    def load(self, content: Content) -> Json:
        """Return the value of a content that is here."""


class Durable(Protocol):
    """Where what must not be lost is written. Raises: StateUnwritable."""

    def apply(self, writes: Iterable[Write]) -> None:
        """Write all, in one transaction, or nothing."""

    def probe(self) -> None:
        """See whether writing works."""

    def has_ended(self, assignment_id: AssignmentId) -> bool:
        """Whether the task is over."""
