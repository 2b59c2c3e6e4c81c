"""When the pump's ticks are due, how late they end, and how long they took in all."""

from user_lib.contract.clock import MS

__all__ = ["Pace"]

_LAG_DECAY = 0.99


class Pace:
    """The times of a loop that ticks every ``tick_ns``; of the thread that runs it."""

    def __init__(self, tick_ns: int, now_ns: int) -> None:
        self._tick_ns, self._next_ns = tick_ns, now_ns
        self.began_ns = now_ns
        """When the latest tick began."""
        self.busy_ns = 0
        """What all ticks took."""
        self.lag_ms = 0.0
        """How late ticks ended of late, the worst; it fades."""

    def begin(self, now_ns: int) -> None:
        """Note that a tick begins."""
        self.began_ns = now_ns

    def end(self, now_ns: int) -> int:
        """Note that the tick is done; return how long it is until the next one is due.

        A tick that took too long delays those after it: none is made up for.
        """
        self.busy_ns += now_ns - self.began_ns
        self._next_ns += self._tick_ns
        self.lag_ms = max(self.lag_ms * _LAG_DECAY, (now_ns - self._next_ns) / MS, 0.0)
        self._next_ns = max(self._next_ns, now_ns)
        return self._next_ns - now_ns

    def restart(self, now_ns: int) -> None:
        """Let the next tick be at once: somebody asked for it."""
        self._next_ns = now_ns
