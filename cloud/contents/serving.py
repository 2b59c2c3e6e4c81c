"""Who gets the next chunks of the cloud's contents: pure, so that the router's memory is bounded.

What was sent to a vehicle may wait in its socket's queue. So only so many vehicles are served at
the same time; one is served when it has asked, and has room made for others when it asks again, for
then it has what it was sent. The others wait in the order in which they asked.
"""

from collections.abc import Iterator

from user_lib.contract.clock import SECOND
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Fetch
from user_lib.wire.transfer import CREDIT

__all__ = ["Serving"]

AT_ONCE = 48
"""With a credit of two chunks each, some 25 MB may wait in the queues of sockets."""
SILENT_NS = 10 * SECOND
"""Who does not ask for more within this has all it wants, or is gone."""
CHUNKS_A_TURN = 16
"""So that a turn of the loop stays short."""
ASKED_AT_ONCE = 2 * CREDIT
"""Questions of one vehicle that are kept; it repeats the others."""


class Serving:
    """Times are monotonic ns."""

    def __init__(self) -> None:
        self._asked: dict[VehicleId, dict[tuple[str, int], Fetch]] = {}
        """By vehicle, in the order of the first question."""
        self._served: dict[VehicleId, int] = {}
        """Since when, oldest first."""

    @property
    def can_give(self) -> bool:
        """Whether `due` would yield something at once."""
        return bool(self._asked) and len(self._served) < AT_ONCE

    @property
    def waiting(self) -> int:
        """How many vehicles wait for a chunk."""
        return len(self._asked)

    def ask(self, vehicle: VehicleId, fetch: Fetch) -> None:
        """A vehicle asks for a chunk that it may have; it has what it was sent before."""
        self._served.pop(vehicle, None)
        asked = self._asked.setdefault(vehicle, {})
        if len(asked) < ASKED_AT_ONCE:
            asked[fetch.digest, fetch.offset] = fetch

    def lost(self, vehicle: VehicleId) -> None:
        """A vehicle is gone."""
        self._asked.pop(vehicle, None)
        self._served.pop(vehicle, None)

    def due(self, now_ns: int) -> Iterator[tuple[VehicleId, Fetch]]:
        """Yield whom to answer which question now."""
        for vehicle, since_ns in list(self._served.items()):
            if now_ns - since_ns >= SILENT_NS:
                del self._served[vehicle]
        given = 0
        for vehicle in list(self._asked):
            if given >= CHUNKS_A_TURN or len(self._served) >= AT_ONCE:
                return
            self._served[vehicle] = now_ns
            for fetch in self._asked.pop(vehicle).values():
                given += 1
                yield vehicle, fetch
