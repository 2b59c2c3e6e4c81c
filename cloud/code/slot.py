"""One code slot: its content in force, the one before, and what became of it where."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cloud.ledger import GenerationRow, ReportRow
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import PushCode, RemoveCode, RollbackCode
from user_lib.contract.messages.records import Side

__all__ = ["CLOUD", "NOTHING", "REJECTED", "CodeChange", "Slot", "previous_of"]

CodeChange: TypeAlias = PushCode | RollbackCode | RemoveCode
"""The requests that change a slot."""

MAX_AHEAD = 1_000_000
"""How many generations a lost ledger may lie behind its vehicles."""
REJECTED = ("refused", "rolled_back")
CLOUD = "cloud"
"""The vehicle id under which the off-board side's own state stands."""
NOTHING = GenerationRow(
    generation=0, action="remove", version="", overrides={}, token="", created_ns=0
)


@dataclass(slots=True)
class Slot:
    """One side's slot of an analyst."""

    analyst: UserId
    side: Side
    content: GenerationRow = NOTHING
    previous: GenerationRow = NOTHING
    """What taking back the present content goes to (`previous_of`)."""
    reports: dict[str, ReportRow] = field(default_factory=dict)
    pushed_ns: int | None = None
    """When this generation came, on the monotonic clock; None after a restart."""
    unheard: list[VehicleId] = field(default_factory=list)
    """Among these, last first, somebody is looked for who has not answered (`Rollout.pending`)."""
    seen_generation: int = 0
    """The highest generation that a vehicle holds; more than ours after a loss of the ledger."""

    @property
    def generation(self) -> int:
        """The number of the content in force."""
        return self.content.generation

    @property
    def next_generation(self) -> int:
        """What the next content is to be numbered: higher than any vehicle holds."""
        return max(self.generation, self.seen_generation) + 1

    def saw(self, generation: int) -> None:
        """Note what a vehicle says it holds; a number that cannot be is not believed."""
        if generation - self.generation < MAX_AHEAD:
            self.seen_generation = max(self.seen_generation, generation)

    @property
    def empty(self) -> bool:
        """Whether no vehicle gets code from this slot."""
        return not self.content.version and not self.content.overrides

    def version_for(self, vehicle: VehicleId) -> str:
        """Return the version that a vehicle gets; empty for none."""
        return self.content.overrides.get(vehicle, self.content.version)

    @property
    def expected(self) -> dict[VehicleId, str] | None:
        """The vehicles that get another version than the default; None without an A/B test."""
        return self.content.overrides or None

    def report_of(self, vehicle: str) -> ReportRow | None:
        """Return what became of the present generation on a vehicle, when it is known."""
        report = self.reports.get(vehicle)
        return report if report is not None and report.generation == self.generation else None

    @property
    def offboard_version(self) -> str:
        """The version that off-board work runs: the last good one after a rollback."""
        report = self.report_of(CLOUD)
        if report is not None and report.state == "rolled_back":
            return self.content.last_good
        return self.content.version

    @property
    def proven(self) -> bool:
        """Whether the present off-board version has produced a value."""
        report = self.report_of(CLOUD)
        return report is not None and report.first_result_ms is not None

    @property
    def good(self) -> bool:
        """Whether the present content is one to go back to: not if all who answered rejected it."""
        if self.side == "offboard":
            return self.proven
        states = [r.state for r in self.reports.values() if r.generation == self.generation]
        return not states or any(state not in REJECTED for state in states)


def previous_of(side: Side, contents: Sequence[GenerationRow]) -> GenerationRow:
    """Return the content that taking back the first of ``contents``, newest first, goes to.

    It is the one before. On board it is the newest one with the version that was last good, where
    one is known: what every vehicle has rejected is nothing to go back to.
    """
    newest, *before = contents
    if side == "offboard" or not newest.last_good:
        return before[0] if before else NOTHING
    return next(
        (
            row
            for row in before
            if row.version == newest.last_good
            and (row.version, row.overrides) != (newest.version, newest.overrides)
        ),
        NOTHING,
    )
