"""Decides whether what has arrived may wait in its sources, unread."""

from collections.abc import Iterable

from agent.signals.intake import Intake
from agent.signals.outlook import Wanted
from agent.signals.recording import Recording
from agent.signals.subscription import Feed
from user_lib.contract.clock import MS

__all__ = ["Patience"]

_LONGEST_NS = 240 * MS
"""Frames that nobody waits for are read after this time at the latest."""


class Patience:
    """Remembers what the feeds wait for, until something happens that may change it."""

    def __init__(self, intake: Intake, now_ns: int) -> None:
        self._intake, self._read_ns = intake, now_ns
        self._wanted: Wanted | None = None

    def reconsider(self) -> None:
        """Ask the feeds again what they wait for."""
        self._wanted = None

    def begin(self, now_ns: int) -> None:
        """Note that all that waited was read at ``now_ns``."""
        self._read_ns, self._wanted = now_ns, None

    def lasts(self, feeds: Iterable[Feed], recording: Recording, now_ns: int) -> bool:
        """Whether nothing in the sources can bring what a feed waits for, nor has waited long."""
        if now_ns - self._read_ns >= _LONGEST_NS:
            return False
        if self._wanted is None:
            wants = (feed.want() for feed in feeds)
            asked = [want for want in wants if want is not None]
            self._wanted = Wanted(asked, recording.identifiers)
        return not self._wanted.may_be_among(self._intake.holding, self._intake.latest_ns)
