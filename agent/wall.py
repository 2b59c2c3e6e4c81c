"""Whether the wall clock can be trusted: by what the owner says, else by what the kernel says.

What expires, expires by a trusted clock only: one that was never set, or was set back by whoever
wants an old order to be good again, must neither end anything nor bring it back.
"""

import ctypes
import logging
import struct
from pathlib import Path
from typing import Literal, TypeAlias

from user_lib.contract.clock import SECOND, Clock

__all__ = ["TrustClock", "Wall", "synchronised"]

log = logging.getLogger(__name__)

TrustClock: TypeAlias = Literal["auto", "always", "never"]
UNSYNCHRONISED = 0x40
TIMEX_BYTES, STATUS_AT = 256, 40
TIMESYNCD = Path("/run/systemd/timesync/synchronized")
LOOKED_EVERY_NS = 10 * SECOND


def synchronised() -> bool:
    """Whether something keeps the clock: adjtimex(2) with nothing to change.

    Where a sandbox refuses even that question, systemd-timesyncd's own mark answers it.
    """
    timex = ctypes.create_string_buffer(TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return TIMESYNCD.exists()
    (status,) = struct.unpack_from("@i", timex, STATUS_AT)
    return not status & UNSYNCHRONISED


class Wall:
    """The wall clock with its trust; looks at the kernel every ten seconds at most."""

    def __init__(self, stated: TrustClock, clock: Clock) -> None:
        self._stated, self._clock = stated, clock
        self._looked_ns: int | None = None
        self._trusted = False

    @property
    def trusted(self) -> bool:
        """Whether the wall clock is known to be right."""
        if self._stated != "auto":
            return self._stated == "always"
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOKED_EVERY_NS:
            before, self._trusted = self._trusted, synchronised()
            if self._looked_ns is None or before != self._trusted:
                log.info("the clock is %s", "kept" if self._trusted else "not known to be right")
            self._looked_ns = now_ns
        return self._trusted

    @property
    def now_ns(self) -> int | None:
        """Return the time, ns since 1970; None while it cannot be trusted."""
        return self._clock.unix_ns() if self.trusted else None
