"""What a verification has found, for a program and for a person."""

from dataclasses import dataclass

from user_lib.contract.escaping import escaped
from user_lib.contract.ids import AssignmentId

__all__ = ["Verification"]

SHOWN = 20


@dataclass(frozen=True, repr=False)
class Verification:
    """What was verified; ``problems`` is empty when nothing was found that does not hold."""

    assignment_id: AssignmentId
    problems: tuple[str, ...]
    unchecked: tuple[str, ...]
    """What could not be checked, and why: the cloud does not give the bytes that were signed."""
    notes: tuple[str, ...]
    """What rests on the cloud's word, or on trust at first use."""
    results: int
    """How many results' signatures hold."""
    aggregates: int
    """How many aggregates were computed again and are the same."""

    @property
    def ok(self) -> bool:
        """Whether all that was signed was checked, and holds."""
        return not self.problems and not self.unchecked

    def __repr__(self) -> str:
        word = "NOT verified" if self.problems else "verified"
        head = (
            f"{self.assignment_id}: {word}{'' if self.ok or self.problems else ' in part'}; "
            f"{self.results} results signed, {self.aggregates} aggregates the same when computed "
            "again"
        )
        lines = [head, *_shown("problem: ", self.problems)]
        lines += _shown("cannot be checked: ", self.unchecked)
        lines += [f"  note: {n}" for n in self.notes]
        return "\n".join(map(escaped, lines))


def _shown(word: str, found: tuple[str, ...]) -> list[str]:
    more = len(found) - SHOWN
    shown = [f"  {word}{one}" for one in found[:SHOWN]]
    return [*shown, f"  and {more} more of these"] if more > 0 else shown
