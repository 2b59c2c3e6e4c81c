"""Which results were heard already: an analyst is given each once, however often it is told."""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Result

__all__ = ["Heard"]


@dataclass
class _Runs:
    """Numbers as runs of first and last, ascending: a job of any length stays small."""

    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)

    def add(self, number: int) -> bool:
        """Add a number; False when it was there."""
        at = bisect_right(self.firsts, number)
        if at and number <= self.lasts[at - 1]:
            return False
        follows = at > 0 and self.lasts[at - 1] == number - 1
        leads = at < len(self.firsts) and self.firsts[at] == number + 1
        if follows and leads:
            self.lasts[at - 1] = self.lasts.pop(at)
            del self.firsts[at]
        elif follows:
            self.lasts[at - 1] = number
        elif leads:
            self.firsts[at] = number
        else:
            self.firsts.insert(at, number)
            self.lasts.insert(at, number)
        return True


class Heard:
    """The identities of one assignment's results."""

    def __init__(self) -> None:
        self._runs: dict[tuple[VehicleId, str], _Runs] = defaultdict(_Runs)

    def is_new(self, result: Result) -> bool:
        """Take in a result; False for what only repeats the identity of another."""
        return self._runs[result.vehicle_id, result.epoch].add(result.iteration)
