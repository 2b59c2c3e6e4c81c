"""The open subscriptions: looked after in turn, and counted beyond their end."""

import logging
from collections.abc import Callable, Iterator

from agent.signals.subscription import Delivery, Feed, SourceOver, SubscriptionFailed, WindowReady
from agent.signals.triggers import TriggerCounts
from user_lib.contract.clock import SECOND

__all__ = ["Feeds"]

_log = logging.getLogger(__name__)

_REVIEW_NS = 1 * SECOND
"""How often the room that subscriptions need is reckoned again."""


class Feeds:
    """All feeds of a hub; of whoever holds its lock, but for `deliver`, which is the pump's."""

    def __init__(self, now_ns: int) -> None:
        self._open: list[Feed] = []
        self._reviewed_ns = now_ns
        self._failed = 0
        self._past_triggers = TriggerCounts()
        """Those of subscriptions that have ended."""
        self.errors = 0
        """How often a receiver failed at what it was given."""

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._open)

    def add(self, feed: Feed) -> None:
        """Look after a further feed."""
        self._open.append(feed)

    def drop(self, feed: Feed) -> None:
        """End a feed."""
        feed.closed = True
        self._remove_closed()

    def drop_all(self) -> None:
        """End every feed."""
        for feed in self._open:
            feed.closed = True
        self._remove_closed()

    def look(self, over: Callable[[Feed], str | None]) -> Iterator[tuple[Feed, Delivery]]:
        """Let each follow the recording; yield what is to be delivered.

        ``over`` says why a feed can get no more windows, if its sources have ended.
        """
        for feed in self._open:
            if feed.closed:
                continue
            delivery = feed.look(over(feed))
            if delivery is not None:
                self._failed += isinstance(delivery, SubscriptionFailed)
                yield feed, delivery

    def tidy(self, now_ns: int) -> None:
        """Reckon anew what room they need, if that is due, and let those go that have ended."""
        if now_ns - self._reviewed_ns >= _REVIEW_NS:
            self._reviewed_ns = now_ns
            for feed in self._open:
                feed.make_room()
        self._remove_closed()

    def deliver(self, feed: Feed, delivery: Delivery) -> None:
        """Hand a delivery over; a receiver that fails at it ends its subscription."""
        if feed.closed and isinstance(delivery, WindowReady | SourceOver):
            return
        try:
            feed.deliver(delivery)
        except Exception:  # noqa: BLE001 - ends this subscription only: logged and counted
            self.errors += 1
            feed.closed = True
            _log.exception("the receiver of %s failed; its subscription ends", feed.plan.lead.name)

    def stats(self) -> dict[str, float]:
        """Return counters by dotted name."""
        triggers = sum((feed.triggers for feed in self._open), self._past_triggers)
        return {
            "subscriptions": len(self._open),
            "subscriptions.failed": self._failed,
            "triggers.fired": triggers.fired,
            "triggers.merged": triggers.merged,
            "triggers.missed": triggers.missed,
        }

    def _remove_closed(self) -> None:
        for feed in [feed for feed in self._open if feed.closed]:
            feed.release()
            self._open.remove(feed)
            self._past_triggers += feed.triggers
