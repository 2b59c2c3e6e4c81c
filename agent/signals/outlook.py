"""Whether frames that nobody has looked at yet may complete a window: if not, they can wait.

A cursor says what it waits for as a `Want`; `Wanted` holds all wants against what sources hold.
Everything here is a bound, never wrongly "no": so no window comes later for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hw.source import HoldingSource

__all__ = ["ANYTHING", "Want", "Wanted"]

_NEVER_NS = 1 << 63


@dataclass(frozen=True, slots=True)
class Want:
    """What must come before a window can be complete: a time, or so many rows of a message.

    ``rows`` counts those that are not in the history yet; ``message`` -1 stands for none.
    """

    at_ns: int = _NEVER_NS
    message: int = -1
    rows: int = 0

    def met(self, latest_ns: int) -> bool:
        """Whether nothing needs to come, if the newest frame recorded is of ``latest_ns``."""
        return self.at_ns <= latest_ns or (self.message >= 0 and self.rows <= 0)


ANYTHING = Want(at_ns=-_NEVER_NS)
"""Whatever comes is to be looked at."""


class Wanted:
    """All wants of a moment; ``identifiers`` gives each message's (see `Recording`)."""

    def __init__(
        self, wants: Iterable[Want], identifiers: Sequence[tuple[int, bool] | None]
    ) -> None:
        self._at_ns = _NEVER_NS
        self._rows: dict[tuple[int, bool], int] = {}
        for want in wants:
            identifier = identifiers[want.message] if want.message >= 0 else None
            if identifier is not None:
                self._rows[identifier] = min(want.rows, self._rows.get(identifier, want.rows))
            else:
                self._at_ns = min(self._at_ns, -_NEVER_NS if want.message >= 0 else want.at_ns)

    def may_be_among(self, sources: Sequence[HoldingSource], latest_ns: int) -> bool:
        """Whether what the sources hold, none of it younger than ``latest_ns``, may meet a want."""
        if self._at_ns <= latest_ns:
            return True
        for (can_id, extended), rows in self._rows.items():
            waiting = 0
            for source in sources:
                waiting += source.waiting(can_id, extended=extended)
            if waiting >= rows:
                return True
        return False
