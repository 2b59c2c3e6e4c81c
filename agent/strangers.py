"""How often a vehicle tells of orders that nobody it trusts has signed: seldom enough."""

from collections import OrderedDict

from user_lib.contract.clock import SECOND

__all__ = ["Strangers"]

REMEMBERED = 256
AGAIN_NS = 60 * SECOND


class Strangers:
    """Remembers the last refused orders; each is told of at most once a minute.

    Units: ``now_ns``, ns of the monotonic clock.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[str, int] = OrderedDict()
        self.unsaid = 0
        """Refusals that were not told of."""

    def admit(self, order: str, now_ns: int) -> bool:
        """Whether this refusal is told of."""
        while self._told and now_ns - next(iter(self._told.values())) >= AGAIN_NS:
            self._told.popitem(last=False)
        if order in self._told or len(self._told) >= REMEMBERED:
            self.unsaid += 1
            return False
        self._told[order] = now_ns
        return True
