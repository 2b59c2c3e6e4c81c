"""How other threads wake the one that waits: an Event that costs one call to wait for.

Waking from sleep finds the caches cold; there every line of Python counts.
"""

import contextlib
import threading

__all__ = ["Doorbell"]


class Doorbell:
    """Any thread rings; one waits. Rings that come while nobody waits are one ring."""

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """End the wait, or the next one."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._silent.release()

    def rung_within(self, timeout_s: float) -> bool:
        """Wait for a ring, and take it; False when the time is up."""
        return self._silent.acquire(timeout=max(timeout_s, 0.0))
