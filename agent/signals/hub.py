"""The vehicle's signals, for every thread of the agent: one pump thread owns all that moves."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from agent.signals.doorbell import Doorbell
from agent.signals.feeds import Feeds
from agent.signals.intake import Intake, Turn
from agent.signals.names import SignalNames
from agent.signals.pace import Pace
from agent.signals.patience import Patience
from agent.signals.plan import plan_of
from agent.signals.profile import Profile
from agent.signals.recording import Recording
from agent.signals.room import check_room
from agent.signals.subscription import Delivery, Feed
from dbc import Catalog
from hw.source import Source
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import MS, SECOND, Clock, SystemClock
from user_lib.contract.messages import SignalInfo

__all__ = ["SignalHub", "Subscription"]

_log = logging.getLogger(__name__)

_SILENT_NS = 2 * SECOND
_STANDS_NS = 8 * SECOND
"""A turn takes less, that of a driver that tries to open its interface too: whoever needs longer
stands still, and is late by that."""
_CLOSE_S = 5.0


class Subscription:
    """A task's hold on the hub; every method may be called from any thread, at any time."""

    def __init__(self, hub: "SignalHub", feed: Feed) -> None:
        self._hub, self._feed = hub, feed

    def request(self) -> None:
        """Ask for the next window; while one is outstanding this changes nothing."""
        self._hub.ask(self._feed)

    def progress(self) -> str:
        """Say in words what the next window waits for."""
        return self._hub.progress_of(self._feed)

    def cancel(self) -> None:
        """End the subscription. A delivery that is under way may still arrive."""
        self._hub.drop(self._feed)


class SignalHub:
    """Reads sources into the history and delivers windows.

    Frames are taken in as they come, whether or not anyone asks for windows: a log played at full
    speed passes by like a bus. The same windows offline, all of them: `run_on_log`.

    Raises: ConfigError, DatabaseError, as the profile gives them.
    """

    def __init__(
        self,
        profile: Profile,
        sources: Sequence[Source],
        *,
        history_mb: float = 64.0,
        tick_ms: float = 20.0,
        clock: Clock | None = None,
    ) -> None:
        catalog = profile.load_catalog()
        self._clock = clock or SystemClock()
        self._intake = Intake(sources)
        self._history_mb = history_mb
        self._recording = self._new_recording(catalog, profile)
        self.catalog_hash = profile.hash_of(catalog)
        self._lock = threading.Lock()
        self._doorbell, self._stop = Doorbell(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._unheard = True
        self._heard_ns = self._clock.monotonic_ns()
        self._feeds = Feeds(self._heard_ns)
        self._patience = Patience(self._intake, self._heard_ns)
        self._pace = Pace(round(tick_ms * MS), self._heard_ns)
        self._errors = 0

    def _new_recording(self, catalog: Catalog, profile: Profile) -> Recording:
        self._warn_of_other_channels(profile)
        return Recording(
            catalog,
            self._intake.channels,
            derived=profile.derived,
            bitrates=profile.bitrates,
            history_mb=self._history_mb,
        )

    def reload(self, profile: Profile) -> bool:
        """Decode by other databases from now on; return False when they are the same as before.

        The history begins anew and every subscription ends: who had one subscribes again. The
        sources stay as they are.

        Raises: ConfigError, DatabaseError; then nothing has changed.
        """
        catalog = profile.load_catalog()
        fresh_hash = profile.hash_of(catalog)
        if fresh_hash == self.catalog_hash:
            return False
        fresh = self._new_recording(catalog, profile)
        with self._lock:
            self._feeds.drop_all()
            self._recording, self.catalog_hash = fresh, fresh_hash
            self._patience.reconsider()
        return True

    def _warn_of_other_channels(self, profile: Profile) -> None:
        for channel in profile.channels:
            if channel not in self._intake.channels:
                _log.warning(
                    "profile %s has databases for channel %r, but the sources bring only %s",
                    profile.name,
                    channel,
                    ", ".join(map(repr, self._intake.channels)) or "none",
                )

    def start(self) -> None:
        """Start the pump."""
        self._thread.start()

    def close(self) -> None:
        """Stop the pump and close the sources; nothing is delivered afterwards."""
        self._stop.set()
        self._doorbell.ring()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
            if self._thread.is_alive():
                _log.error("the pump hangs; its sources are left to the end of the process")
                return
        self._intake.close()

    # --- asking ---------------------------------------------------------------------------------

    @property
    def names(self) -> SignalNames:
        """What the signals are called, and what stands behind each name."""
        return self._recording.names

    def signals(self) -> tuple[SignalInfo, ...]:
        """Describe every signal that can be asked for."""
        return self._recording.names.describe()

    def check(self, assignment: Assignment) -> None:
        """Refuse what this vehicle cannot do, before a task is accepted.

        Raises: UnknownSignal, with the nearest names; WindowTooLarge, with what would fit;
                ExpressionError, for a condition that cannot be computed.
        """
        plan = plan_of(assignment, self._recording.names)
        with self._lock:
            check_room(self._recording, plan)

    def subscribe(
        self, assignment: Assignment, deliver: Callable[[Delivery], None]
    ) -> Subscription:
        """Follow the signals from now on; each `Subscription.request` brings one delivery.

        ``deliver`` is called on the pump's thread and must return at once.

        Raises: as `check`.
        """
        plan = plan_of(assignment, self._recording.names)
        with self._lock:
            feed = Feed(self._recording, plan, deliver)
            self._feeds.add(feed)
        return Subscription(self, feed)

    def ask(self, feed: Feed) -> None:
        """Let a feed deliver its next window, at once if that is complete already."""
        feed.demanded = True
        if self._intake.holding:
            with self._lock:
                self._patience.reconsider()
                want = feed.want()
                if want is None or not want.met(self._recording.timeline.latest_ns or 0):
                    return
        self._doorbell.ring()

    def drop(self, feed: Feed) -> None:
        """Forget a subscription; see `Subscription.cancel`."""
        with self._lock:
            self._feeds.drop(feed)

    def progress_of(self, feed: Feed) -> str:
        """Say what a subscription waits for; see `Subscription.progress`."""
        with self._lock:
            words = feed.progress()
            silent_ns = self._clock.monotonic_ns() - self._heard_ns
        if silent_ns > _SILENT_NS and not self._intake.over:
            words += f"; no frame on any bus for {silent_ns / SECOND:.0f} s"
        return words

    def stats(self) -> dict[str, float]:
        """Return counters by dotted name."""
        with self._lock:
            found = self._recording.stats()
            found |= self._intake.stats()
            found |= self._feeds.stats()
            found["pump.lag_ms"] = max(self._pace.lag_ms, self._standing_ms())
            found["pump.busy_s"] = self._pace.busy_ns / SECOND
            found["pump.errors"] = self._errors + self._feeds.errors
        return found

    @property
    def slowest(self) -> Turn:
        """Of the pump and the threads that fetch for it, whose latest turn is the longest ago."""
        return min(
            (Turn("the pump", self._pace.began_ns), *self._intake.turns()),
            key=lambda turn: turn.at_ns,
        )

    def _standing_ms(self) -> float:
        if not self._thread.is_alive():
            return 0.0
        standing_ns = self._clock.monotonic_ns() - self.slowest.at_ns
        return standing_ns / MS if standing_ns > _STANDS_NS else 0.0

    # --- the pump -------------------------------------------------------------------------------

    def _run(self) -> None:
        _tell_name(self._thread.name)
        self._pace.restart(self._clock.monotonic_ns())
        while not self._stop.is_set():
            self._pace.begin(self._clock.monotonic_ns())
            try:
                busy = self._tick()
            except Exception:  # noqa: BLE001 - the top of the loop: logged and counted
                self._errors += 1
                busy = False
                _log.exception("a tick of the pump failed; it goes on with the next")
            rest_ns = self._pace.end(self._clock.monotonic_ns())
            if not busy and self._doorbell.rung_within(rest_ns / SECOND):
                self._pace.restart(self._clock.monotonic_ns())

    def _tick(self) -> bool:
        """Read, take in, deliver; return whether there is more to read at once."""
        if self._may_wait():
            return False
        batch, dropped = self._intake.read()
        deliveries: list[tuple[Feed, Delivery]] = []
        with self._lock:
            if dropped:
                self._recording.note_dropped(dropped)
            self._recording.outages.note(self._intake.away, self._now_ns())
            if len(batch):
                self._hear()
            for _ in self._recording.add_in_slices(batch):
                deliveries += self._feeds.look(self._over_for)
            if self._intake.over:
                self._recording.finish()
            if self._intake.over or not len(batch):
                deliveries += self._feeds.look(self._over_for)
            self._feeds.tidy(self._clock.monotonic_ns())
            self._patience.begin(self._pace.began_ns)
        for feed, delivery in deliveries:
            self._feeds.deliver(feed, delivery)
        return len(batch) > 0 and not self._intake.live

    def _now_ns(self) -> int | None:
        """Return what time it is by the frames' stamps; None before any frame."""
        next_ns = self._recording.next_ns()
        if next_ns is None:
            return None
        if self._intake.holding:
            return max(next_ns, self._intake.latest_ns)
        return next_ns + self._clock.monotonic_ns() - self._heard_ns

    def _hear(self) -> None:
        if self._unheard:
            self._unheard = False
            _log.info("first frames, of %s", ", ".join(map(repr, self._intake.channels)))
        self._heard_ns = self._clock.monotonic_ns()

    def _may_wait(self) -> bool:
        """Leave in the sources what has arrived, if nobody waits for anything that it can bring.

        The first frames are for all who ask whether the bus speaks.
        """
        if self._unheard or not self._intake.hold():
            return False
        with self._lock:
            return self._patience.lasts(self._feeds, self._recording, self._pace.began_ns)

    def _over_for(self, feed: Feed) -> str | None:
        """Say why a feed can get no more windows, if its sources have ended."""
        if self._intake.over:
            return self._intake.over
        if not self._intake.ended or not feed.counts_samples:
            return None
        message = feed.plan.lead_message
        channel = self._recording.catalog.messages[message].channel
        if channel in self._intake.ended and self._recording.is_complete(message):
            return f"the source of channel {channel!r} has ended"
        return None


def _tell_name(name: str) -> None:
    """Let ``top -H`` and a debugger show this thread by its name, as Python 3.14 does by itself."""
    with suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
