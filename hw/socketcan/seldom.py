"""What may happen often is said at once, and then as a sum every ten seconds: a log stays a log."""

from collections.abc import Callable

from user_lib.contract.clock import SECOND, Clock

__all__ = ["Seldom"]

EVERY_NS = 10 * SECOND


class Seldom:
    """Counts events and lets ``say`` tell how many there were since it was last called.

    Nothing that was counted stays untold, as long as `look` is called now and then.
    """

    def __init__(self, clock: Clock, say: Callable[[int], None]) -> None:
        self._clock, self._say = clock, say
        self._untold = 0
        self._next_ns: int | None = None

    def count(self, events: int) -> None:
        """Add to the sum, and tell it if nothing was told for a while."""
        self._untold += events
        self.look()

    def look(self) -> None:
        """Tell what is untold when it is time; costs nothing while there is nothing."""
        if not self._untold:
            return
        now_ns = self._clock.monotonic_ns()
        if self._next_ns is None or now_ns >= self._next_ns:
            self._next_ns = now_ns + EVERY_NS
            events, self._untold = self._untold, 0
            self._say(events)
