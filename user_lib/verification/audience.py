"""Whether the cloud tells of every vehicle that an analyst named, and of no others.

The order has a mark of each vehicle that was named. A mark is no name, but shows whether a name is
meant; so one that the cloud tells nothing of is missed, even where nobody can say who it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import RoundClosed
from user_lib.contract.signed import AssignmentOrder
from user_lib.verification.completeness import names

__all__ = ["Audience"]


@dataclass
class Audience:
    """Takes in which vehicles are told of; then says who of those that were named is not."""

    members: set[VehicleId] = field(default_factory=set)
    """Of whom the cloud gives cards."""
    heard: set[VehicleId] = field(default_factory=set)
    """Of whom there is a result, the end of a task, a refusal or another event."""
    placed: set[VehicleId] = field(default_factory=set)
    """Who is in a round, if only as missing."""
    rounds: int = 0

    def hear(self, closed: RoundClosed) -> None:
        """Take in whom a round tells of."""
        self.rounds += 1
        self.placed.update(closed.missing, closed.failed, closed.not_counted)
        for group in closed.groups:
            self.placed.update(group.vehicles)

    def problems(
        self, order: AssignmentOrder, known: Iterable[VehicleId], *, over: bool
    ) -> Iterator[str]:
        """Say who is missing or too many; ``known`` are names to tell a mark by."""
        if order.audience is None:
            return
        told = self.members | self.heard | self.placed
        others = sorted(v for v in told if not order.includes(v))
        if others:
            yield f"the cloud tells of vehicles that you did not name: {names(others)}"
        by_mark = {order.mark_of(v): v for v in told}
        gone = order.marks - by_mark.keys()
        if gone:
            lost = {order.mark_of(v): v for v in known}
            shown = sorted(lost.get(mark, f"one with the mark {mark.hex()}") for mark in gone)
            yield f"the cloud tells nothing of vehicles that you named: {names(shown)}"
        nowhere = sorted(self.members - self.heard - self.placed - set(others))
        if nowhere and over and self.rounds:
            yield (
                f"vehicles that you named are in no round, and not told as refused: "
                f"{names(nowhere)}"
            )

    def unchecked(self, order: AssignmentOrder | None) -> Iterator[str]:
        """Say of whom there is nothing but their name, when nobody has signed whom to ask."""
        ghosts = sorted(self.placed - self.members - self.heard)
        if ghosts and (order is None or order.audience is None):
            yield f"whether there are such vehicles, of which rounds tell: {names(ghosts)}"
