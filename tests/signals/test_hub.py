import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.signals import (
    Profile,
    SignalHub,
    SourceOver,
    SubscriptionFailed,
    WindowReady,
    run_on_log,
)
from agent.signals.intake import Intake
from agent.signals.names import Derivation
from agent.signals.quality.frame_time import Bitrate
from hw import ReplayConfig, SimulatedConfig, SourceEnded, SourceStats, open_source, write_candump
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.errors import SourceError, UnknownSignal, WindowTooLarge
from user_lib.contract.frames import FrameBatch
from user_lib.contract.validation import parse

PATIENCE_S = 20


class Fed:
    """A source that a test fills; it can lose frames, fail and end."""

    def __init__(self, *channels: str, live: bool = True) -> None:
        self.channels, self.live = channels, live
        self.batches: queue.SimpleQueue[FrameBatch | Exception] = queue.SimpleQueue()
        self.dropped = self.reconnects = 0
        self.away: frozenset[str] = frozenset()
        self.closed = False

    def read(self, timeout_s: float) -> FrameBatch:
        try:
            item = self.batches.get_nowait()
        except queue.Empty:
            return FrameBatch.empty()
        if isinstance(item, Exception):
            raise item
        return item

    def stats(self) -> SourceStats:
        return SourceStats(dropped=self.dropped, reconnects=self.reconnects, away=self.away)

    def close(self) -> None:
        self.closed = True


class Holding(Fed):
    """Lets its frames wait, and counts how often it was read."""

    def __init__(self, *channels: str) -> None:
        super().__init__(*channels)
        self.holds = 0
        self.room = True
        self.waiting_ids: list[int] = []

    def put(self, batch: FrameBatch) -> None:
        self.batches.put(batch)
        self.waiting_ids += batch.can_id.tolist()

    def read(self, timeout_s: float) -> FrameBatch:
        self.waiting_ids = []
        parts = []
        while len(part := super().read(timeout_s)):
            parts.append(part)
        return FrameBatch.concatenate(parts)

    def hold(self) -> bool:
        self.holds += 1
        return self.room

    def waiting(self, can_id: int, *, extended: bool) -> int:
        return self.waiting_ids.count(can_id)

    def now_ns(self) -> int:
        return 10 * SECOND

    def wait_for_ticks(self, n: int) -> None:
        reached = self.holds + n
        eventually(lambda: self.holds >= reached)


class Stopped:
    """A clock on which no time passes: so nothing is read only because it has waited long."""

    def monotonic_ns(self) -> int:
        return SECOND

    def unix_ns(self) -> int:
        return SECOND


class Set(Stopped):
    """A clock that a test moves."""

    now_ns = SECOND

    def monotonic_ns(self) -> int:
        return self.now_ns


class Receiver:
    """Collects what a subscription delivers, and may ask for more at once."""

    def __init__(self, *, eager: bool = False) -> None:
        self.items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.subscription: Any = None
        self.eager = eager

    def __call__(self, delivery: Any) -> None:
        if self.eager and isinstance(delivery, WindowReady):
            self.subscription.request()
        self.items.put(delivery)

    def next(self) -> Any:
        return self.items.get(timeout=PATIENCE_S)


def assignment(**keys: Any) -> Assignment:
    base = {"signals": ["Motion.Speed"], "onboard": "mean", "window": {"samples": 10}}
    return parse({**base, **keys})


@pytest.fixture
def opened(car: Any) -> Iterator[Callable[..., SignalHub]]:
    hubs: list[SignalHub] = []

    def open_hub(*sources: Any, start: bool = True, **settings: Any) -> SignalHub:
        hub = SignalHub(car.profile, sources, **{"history_mb": 1.0, "tick_ms": 5.0, **settings})
        hubs.append(hub)
        if start:
            hub.start()
        return hub

    yield open_hub
    for hub in hubs:
        hub.close()


def speeds(car: Any, numbers: range, bus: int = 0) -> FrameBatch:
    return car.batch_of([car.motion(i * 10 * MS, i % 60_000) for i in numbers], bus)


def eventually(holds: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if holds():
            return
        waited.wait(0.01)
    raise AssertionError("it did not become true")


def test_windows_come_one_a_request(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    subscription = hub.subscribe(assignment(), receiver)

    subscription.request()
    source.batches.put(speeds(car, range(25)))
    first = receiver.next()
    assert receiver.items.empty()
    subscription.request()
    second = receiver.next()

    assert np.rint(first.window["Motion.Speed"] * 100).tolist() == list(range(10))
    assert np.rint(second.window["Motion.Speed"] * 100).tolist() == list(range(10, 20))


def test_a_replay_gives_the_windows_of_the_log(car: Any, opened: Any, tmp_path: Path) -> None:
    log = tmp_path / "drive.log"
    batch = speeds(car, range(5000))
    write_candump(log, [batch], ["can0"])
    hub = opened(open_source(ReplayConfig(log=str(log), speed="max")), start=False)
    receiver = Receiver(eager=True)
    receiver.subscription = hub.subscribe(assignment(window={"samples": 100}), receiver)
    receiver.subscription.request()
    hub.start()

    windows = []
    while isinstance(delivery := receiver.next(), WindowReady):
        windows.append(delivery.window)

    assert isinstance(delivery, SourceOver)
    spec = assignment(window={"samples": 100})
    offline = list(run_on_log(spec, car.catalog, [batch], ["can0"]))
    assert [w.start_ns for w in windows] == [w.start_ns for w in offline]
    for one, other in zip(windows, offline, strict=True):
        np.testing.assert_array_equal(one["Motion.Speed"], other["Motion.Speed"])
        assert one.lost_frames == other.lost_frames == 0


def test_frames_that_complete_no_window_wait_in_their_source(car: Any, opened: Any) -> None:
    source = Holding("can0")
    hub = opened(source, clock=Stopped())
    receiver = Receiver()
    receiver.subscription = hub.subscribe(assignment(), receiver)
    source.put(speeds(car, range(1)))
    eventually(lambda: hub.stats()["frames.total"] == 1)
    source.put(speeds(car, range(1, 2)))
    source.wait_for_ticks(3)
    assert hub.stats()["frames.total"] == 1

    receiver.subscription.request()
    source.put(car.batch_of([car.brake(20 * MS, i) for i in range(50)]))
    source.put(speeds(car, range(2, 9)))
    source.wait_for_ticks(3)
    assert hub.stats()["frames.total"] == 1
    source.put(speeds(car, range(9, 10)))

    assert receiver.next().window["Motion.Speed"].tolist() == [i / 100 for i in range(10)]
    source.put(speeds(car, range(10, 30)))
    source.wait_for_ticks(3)
    assert hub.stats()["frames.total"] == 60
    source.room = False
    eventually(lambda: hub.stats()["frames.total"] == 80)


def test_a_window_that_is_complete_when_it_is_asked_for_comes_at_once(
    car: Any, opened: Any
) -> None:
    source = Holding("can0")
    hub = opened(source, tick_ms=60_000)
    receiver = Receiver(eager=True)
    receiver.subscription = hub.subscribe(assignment(), receiver)
    source.put(speeds(car, range(35)))
    receiver.subscription.request()

    seen = [receiver.next().window["Motion.Speed"][0] for _ in range(3)]

    assert seen == [0.0, 0.1, 0.2]


def test_a_log_that_is_over_is_told_again_at_every_request(opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    subscription = hub.subscribe(assignment(), receiver)
    source.batches.put(SourceEnded("the log is over"))

    for _ in range(2):
        subscription.request()
        assert receiver.next() == SourceOver("the log is over")


def test_the_end_of_one_source_is_the_end_for_those_who_count_its_samples(
    car: Any, opened: Any
) -> None:
    ending, going = Fed("can0"), Fed("can1")
    hub, counting, timing = opened(ending, going), Receiver(), Receiver()
    subscriptions = [
        hub.subscribe(assignment(), counting),
        hub.subscribe(assignment(window={"seconds": 1}), timing),
    ]
    ending.batches.put(speeds(car, range(5)))
    ending.batches.put(SourceEnded("over"))
    eventually(lambda: hub.stats()["source.ended"] == 1)
    for subscription in subscriptions:
        subscription.request()
    going.batches.put(speeds(car, range(300), bus=0))

    assert counting.next() == SourceOver("the source of channel 'can0' has ended")
    assert isinstance(timing.next(), WindowReady)


def test_frames_that_a_source_drops_are_in_stats_and_window(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    subscription = hub.subscribe(assignment(), receiver)
    source.batches.put(speeds(car, range(5)))
    eventually(lambda: hub.stats()["frames.total"] == 5)
    source.dropped = 3
    eventually(lambda: hub.stats()["frames.dropped"] == 3)
    source.batches.put(speeds(car, range(5, 20)))
    subscription.request()

    assert receiver.next().window.lost_frames == 3


def test_an_interface_is_away_by_the_clock_while_no_frame_tells_the_time(
    car: Any, opened: Any
) -> None:
    """From the frame before it went, 40 ms, until 2 s after the one that another bus brought."""
    source, clock = Fed("can0", "can1"), Set()
    hub, receiver = opened(source, clock=clock), Receiver()
    subscription = hub.subscribe(assignment(), receiver)
    source.batches.put(speeds(car, range(5)))
    eventually(lambda: hub.stats()["frames.total"] == 5)
    source.away = frozenset({"can0"})
    eventually(lambda: hub.stats()["source.disconnected"] == 1)
    source.batches.put(car.batch_of([car.brake(50 * MS, 1)], 1))
    eventually(lambda: hub.stats()["frames.total"] == 6)

    clock.now_ns += 2 * SECOND
    source.away = frozenset()
    eventually(lambda: hub.stats()["source.disconnected"] == 0)
    source.batches.put(speeds(car, range(300, 320)))
    subscription.request()

    assert receiver.next().window.away_ms == 2010


def test_an_interface_that_was_gone_between_two_looks_was_away(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    subscription = hub.subscribe(assignment(), receiver)
    source.batches.put(speeds(car, range(5)))
    eventually(lambda: hub.stats()["frames.total"] == 5)
    source.reconnects = 1
    eventually(lambda: hub.stats()["source.reconnects"] == 1)
    source.batches.put(speeds(car, range(360_000, 360_020)))
    subscription.request()

    assert 1 <= receiver.next().window.away_ms < 60_000


def test_a_receiver_that_fails_ends_only_its_own_subscription(
    car: Any, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(delivery: Any) -> None:
        raise RuntimeError("no")

    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    failing, fine = hub.subscribe(assignment(), broken), hub.subscribe(assignment(), receiver)
    failing.request()
    fine.request()
    source.batches.put(speeds(car, range(30)))

    assert isinstance(receiver.next(), WindowReady)
    eventually(lambda: hub.stats()["subscriptions"] == 1)
    assert hub.stats()["pump.errors"] == 1
    assert failing.progress() == "has ended"
    fine.request()
    assert isinstance(receiver.next(), WindowReady)


def test_a_subscription_that_cannot_go_on_is_told_why(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source, history_mb=0.1), Receiver()
    spec = assignment(signals=["Body.Door"], window={"samples": 500})
    hub.subscribe(spec, receiver).request()
    for start in range(0, 40_000, 1000):
        frames = [car.body((start + i) * MS, int(i % 1000 != 0), 1) for i in range(1000)]
        source.batches.put(car.batch_of(frames))

    delivery = receiver.next()

    assert isinstance(delivery, SubscriptionFailed)
    assert isinstance(delivery.error, WindowTooLarge)
    assert hub.stats()["subscriptions"] == 0
    assert hub.stats()["subscriptions.failed"] == 1


def test_a_cancelled_subscription_gets_nothing_more(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, gone, stays = opened(source), Receiver(), Receiver()
    cancelled, other = hub.subscribe(assignment(), gone), hub.subscribe(assignment(), stays)
    cancelled.request()
    other.request()
    cancelled.cancel()
    cancelled.cancel()
    source.batches.put(speeds(car, range(30)))

    assert isinstance(stays.next(), WindowReady)
    assert gone.items.empty()
    assert cancelled.progress() == "has ended"


def test_a_receiver_may_subscribe_and_cancel_while_it_is_called(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, second = opened(source), Receiver()
    made: list[Any] = []

    def first(delivery: Any) -> None:
        made[0].cancel()
        made.append(hub.subscribe(assignment(), second))
        made[1].request()

    made.append(hub.subscribe(assignment(), first))
    made[0].request()
    source.batches.put(speeds(car, range(10)))
    eventually(lambda: len(made) == 2)
    source.batches.put(speeds(car, range(10, 30)))

    assert second.next().window.start_ns == 9 * 10 * MS + 1


def test_a_source_that_fails_is_left_out_and_counted(car: Any, opened: Any) -> None:
    bad, good = Fed("can1"), Fed("can0")
    hub, receiver = opened(bad, good), Receiver()
    hub.subscribe(assignment(), receiver).request()
    bad.batches.put(SourceError("the adapter is gone"))
    good.batches.put(speeds(car, range(20)))

    assert isinstance(receiver.next(), WindowReady)
    assert hub.stats()["source.errors"] == 1


def test_check_refuses_what_subscribe_would_refuse(opened: Any) -> None:
    hub = opened(Fed("can0"), start=False)

    with pytest.raises(
        UnknownSignal, match=r"no signal 'Motion\.Sped' .*did you mean Motion\.Speed"
    ):
        hub.check(assignment(signals=["Motion.Sped"]))
    with pytest.raises(
        WindowTooLarge, match=r"needs .* MB of history.*samples would fit"
    ) as caught:
        hub.check(assignment(window={"samples": 200_000}))
    assert caught.value.path == "window.samples"
    with pytest.raises(WindowTooLarge, match=r"s would fit"):
        hub.check(assignment(window={"seconds": 100_000}))
    hub.check(assignment())


def test_what_is_said_to_fit_does_fit(opened: Any) -> None:
    hub = opened(Fed("can0"), start=False)
    with pytest.raises(WindowTooLarge) as caught:
        hub.check(assignment(window={"samples": 200_000}))
    fits = int(str(caught.value).rsplit(" samples would fit", 1)[0].rsplit("; ", 1)[1])

    hub.check(assignment(window={"samples": fits}))
    assert fits > 10_000


def test_room_is_given_back_when_a_subscription_ends(opened: Any) -> None:
    hub = opened(Fed("can0"), start=False)
    large = assignment(window={"samples": 20_000})
    other = assignment(signals=["Brake.Pressure"], window={"samples": 20_000})
    subscription = hub.subscribe(large, Receiver())

    with pytest.raises(WindowTooLarge):
        hub.subscribe(other, Receiver())
    subscription.cancel()
    hub.subscribe(other, Receiver())


def test_progress_says_that_no_bus_speaks(opened: Any) -> None:
    class Later:
        def __init__(self) -> None:
            self.now_ns = 0

        def monotonic_ns(self) -> int:
            return self.now_ns

        def unix_ns(self) -> int:
            return self.now_ns

    clock = Later()
    hub = opened(Fed("can0"), start=False, clock=clock)
    subscription = hub.subscribe(assignment(), Receiver())
    clock.now_ns = 30 * SECOND

    assert subscription.progress() == "waits for the first frame; no frame on any bus for 30 s"


def test_channels_that_no_source_brings_are_said(
    opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    opened(Fed("can7"), start=False)

    assert "databases for channel 'can0', but the sources bring only 'can7'" in caplog.text


def test_the_hash_covers_derived_signals(car: Any) -> None:
    def digest(derived: dict[str, Derivation]) -> str:
        changed = Profile("p", "p", car.profile.databases, derived=derived)
        return SignalHub(changed, [Fed("can0")], history_mb=1).catalog_hash

    assert digest({}) == car.catalog.hash
    assert digest({"A": Derivation("Motion.Speed")}) != digest({"A": Derivation("Motion.Accel")})


def test_the_hash_covers_how_fast_the_buses_are(car: Any) -> None:
    def digest(**bitrates: Bitrate) -> str:
        changed = Profile("p", "p", car.profile.databases, bitrates=bitrates)
        return SignalHub(changed, [Fed("can0")], history_mb=1).catalog_hash

    assert digest(can0=Bitrate()) == car.catalog.hash
    assert len({digest(), digest(can0=Bitrate(250_000)), digest(can1=Bitrate(250_000))}) == 3


def test_stats_are_numbers_by_dotted_name(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub = opened(source)
    unknown = car.batch_of([car.Frame(0, 0x7FF, b"\x00")])
    source.batches.put(unknown)
    source.batches.put(speeds(car, range(40)))
    eventually(lambda: hub.stats()["frames.total"] == 41)

    stats = hub.stats()

    assert stats["frames.unmatched"] == 1
    assert stats["bus.can0.frames"] == 41
    assert 0 < stats["history.mb"] <= 1
    assert stats["history.depth_s"] == pytest.approx(0.39)
    assert {"pump.lag_ms", "history.overwritten", "source.errors", "time.late"} <= set(stats)
    assert all(isinstance(value, int | float) for value in stats.values())


def test_sources_are_merged_by_time_with_their_buses_apart(car: Any) -> None:
    one, other = Fed("can0"), Fed("can1", "can2")
    intake = Intake([one, other])
    one.batches.put(car.batch_of([car.motion(10, 1), car.motion(30, 3)]))
    other.batches.put(car.batch_of([car.motion(20, 2), car.motion(40, 4)], bus=1))

    batch, dropped = intake.read()

    assert intake.channels == ("can0", "can1", "can2")
    assert batch.time_ns.tolist() == [10, 20, 30, 40]
    assert batch.bus.tolist() == [0, 2, 0, 2]
    assert dropped == 0


def test_closing_stops_the_thread_and_the_sources(opened: Any) -> None:
    source = Fed("can0")
    hub = opened(source)

    hub.close()
    hub.close()

    assert source.closed
    assert not any(
        thread.name == "signals" and thread.is_alive() for thread in threading.enumerate()
    )


def test_many_threads_may_use_the_hub_at_once(car: Any, opened: Any) -> None:
    source = Fed("can0", live=False)
    hub = opened(source)
    for start in range(0, 40_000, 500):
        source.batches.put(speeds(car, range(start, start + 500)))
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(10):
                receiver = Receiver()
                subscription = hub.subscribe(assignment(), receiver)
                subscription.request()
                hub.check(assignment(window={"seconds": 1}))
                subscription.progress()
                hub.stats()
                subscription.cancel()
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert not failures
    eventually(lambda: hub.stats()["frames.total"] == 40_000)
    assert hub.stats()["subscriptions"] == 0
    assert hub.stats()["pump.errors"] == 0


def test_the_simulated_cars_give_windows_live() -> None:
    from agent.signals import load_profile

    for model in ("compact", "wagon"):
        profile = load_profile(model)
        hub = SignalHub(profile, [open_source(SimulatedConfig(model=model, seed=3, speed=20))])
        hub.start()
        receiver = Receiver()
        names = ["Vehicle.Speed", "Vehicle.Powertrain.CombustionEngine.Power"]
        spec = parse({"signals": names, "onboard": "mean", "window": {"samples": 100}})
        hub.subscribe(spec, receiver).request()
        delivery = receiver.next()
        hub.close()

        assert isinstance(delivery, WindowReady)
        assert len(delivery.window["Vehicle.Speed"]) == 100
        assert delivery.window.units[names[1]] == "kW"


def test_what_became_of_triggers_is_in_stats_even_after_the_task(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver()
    spec = assignment(window={"seconds": 0.5}, when="Motion.Speed > 5")
    subscription = hub.subscribe(spec, receiver)
    fast_at = {0, 10, 100, 110, 120}  # two windows of half a second; one and two more triggers
    source.batches.put(
        car.batch_of([car.motion(i * 10 * MS, 1000 * (i in fast_at)) for i in range(300)])
    )

    def counted() -> tuple[float, ...]:
        stats = hub.stats()
        return tuple(stats[f"triggers.{word}"] for word in ("fired", "merged", "missed"))

    eventually(lambda: counted() == (5, 3, 0))
    subscription.cancel()
    eventually(lambda: hub.stats()["subscriptions"] == 0)
    assert counted() == (5, 3, 0)


def test_quality_comes_live_as_it_comes_offline(car: Any, opened: Any) -> None:
    source = Fed("can0")
    hub, receiver = opened(source), Receiver(eager=True)
    names = ["@message.Motion.gap_ms", "@bus.can0.load", "@bus.can0.frames"]
    spec = assignment(signals=names, window={"seconds": 0.7})
    receiver.subscription = hub.subscribe(spec, receiver)
    receiver.subscription.request()
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.integers(1, 40, 400)) * MS
    frames = [car.motion(int(t), 7) for t in times]
    for batch in car.split(frames, range(0, 400, 7)):
        source.batches.put(batch)
    source.batches.put(SourceEnded("over"))

    windows = []
    while isinstance(delivery := receiver.next(), WindowReady):
        windows.append(delivery.window)

    offline = list(run_on_log(spec, car.catalog, [car.batch_of(frames)], ["can0"]))
    assert len(windows) == len(offline) > 5
    for one, other in zip(windows, offline, strict=True):
        assert one.lost_frames == other.lost_frames == 0
        for name in names:
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one.times[name], other.times[name])


def test_the_quality_of_a_bus_is_offered_with_the_signals(opened: Any) -> None:
    names = {info.name for info in opened(Fed("can0")).signals()}

    assert {"@bus.can0.load", "@bus.can0.errors", "@message.Motion.gap_ms"} <= names
    assert "@message.Motion.jitter_ms" not in names  # its database gives no cycle time
