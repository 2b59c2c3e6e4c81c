"""A task's standing order for windows, and what it is sent."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agent.signals.cursors import open_cursor
from agent.signals.history.payloads import Reservation
from agent.signals.outlook import ANYTHING, Want
from agent.signals.plan import Plan
from agent.signals.recording import Recording
from agent.signals.room import check_room, rows_needed
from agent.signals.triggers import TriggerCounts, TriggerCursor
from agent.signals.windows import CountCursor, Cursor
from user_lib.contract.errors import OodidaError
from user_lib.contract.window import Window

__all__ = ["Delivery", "Feed", "SourceOver", "SubscriptionFailed", "WindowReady"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WindowReady:
    """The next window, as it was asked for."""

    window: Window


@dataclass(frozen=True, slots=True)
class SourceOver:
    """The frames have ended, and the window that was asked for can never fill."""

    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionFailed:
    """The subscription has ended by an error; no window will follow."""

    error: Exception


Delivery: TypeAlias = WindowReady | SourceOver | SubscriptionFailed


class Feed:
    """The pump's side of a subscription: its cursor, its room in the history, and the demand.

    Of the thread that owns the recording, but for `demanded`, which anyone may set.

    Raises: WindowTooLarge, when there is no room for its windows.
    """

    def __init__(
        self, recording: Recording, plan: Plan, deliver: Callable[[Delivery], None]
    ) -> None:
        check_room(recording, plan)
        self.plan, self.deliver = plan, deliver
        self.demanded = False
        self.closed = False
        self._recording = recording
        self._cursor: Cursor | None = None
        self._reservation: Reservation | None = None
        self.make_room()
        next_ns = recording.next_ns()
        if next_ns is not None:
            self._cursor = open_cursor(recording, plan, next_ns)

    def make_room(self) -> None:
        """Reserve two windows, or one, by what is now known of the rates; else keep what it has."""
        history = self._recording.history
        for windows in (2.0, 1.0):
            rows = rows_needed(self._recording, self.plan, windows=windows)
            if self._reservation is not None and self._reservation.holds(history, rows):
                return
            fresh = history.reserve(rows)
            if fresh is not None:
                self.release()
                self._reservation = fresh
                return

    def release(self) -> None:
        """Give the reservation back."""
        if self._reservation is not None:
            self._recording.history.release(self._reservation)
            self._reservation = None

    def look(self, over: str | None) -> Delivery | None:
        """Follow the recording; return what is to be delivered, if anything.

        ``over`` says why no frame of its leading signal, or none at all, will come any more.
        """
        try:
            return self._look(over)
        except OodidaError as error:
            return self._fail(error)
        except Exception as error:  # noqa: BLE001 - ends this subscription only, and it is told
            _log.exception("a subscription of %s failed", self.plan.lead.name)
            return self._fail(error)

    def _look(self, over: str | None) -> Delivery | None:
        if self._cursor is None:
            first_ns = self._recording.timeline.first_ns
            if first_ns is not None:
                self._cursor = open_cursor(self._recording, self.plan, first_ns)
        window = None
        if self._cursor is not None:
            self._cursor.track()
            window = self._cursor.take() if self.demanded else None
        if window is not None:
            self.demanded = False
            return WindowReady(window)
        if over is not None and self.demanded:
            self.demanded = False
            return SourceOver(over)
        return None

    def want(self) -> Want | None:
        """Return what must come before there is something to deliver; None if nothing is asked."""
        if self.closed or not self.demanded:
            return None
        return ANYTHING if self._cursor is None else self._cursor.want()

    def _fail(self, error: Exception) -> SubscriptionFailed:
        self.closed = True
        return SubscriptionFailed(error)

    @property
    def triggers(self) -> TriggerCounts:
        """What became of the triggers so far; nothing, for a task without a condition."""
        if isinstance(self._cursor, TriggerCursor):
            return self._cursor.counts
        return TriggerCounts()

    @property
    def counts_samples(self) -> bool:
        """Whether only frames of the leading message can fill a window."""
        return isinstance(self._cursor, CountCursor)

    def progress(self) -> str:
        """Say what the next window waits for."""
        if self.closed:
            return "has ended"
        if self._cursor is None:
            return "waits for the first frame"
        return self._cursor.progress()
