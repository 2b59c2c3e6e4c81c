"""Live interfaces, with python-can's in-process bus and one that goes away when told to."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import can
import pytest

from hw.exclusion import excluded_keys
from hw.interface import InterfaceSource
from hw.source import Source, SourceEnded
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, EXTENDED, FD, REMOTE, FrameBatch

S = 1_000_000_000


def read_frames(source: Source, n: int) -> FrameBatch:
    """Read until ``n`` frames have come; the test's own timeout is the limit."""
    batches: list[FrameBatch] = []
    while sum(map(len, batches)) < n:
        batches.append(source.read(1.0))
    return FrameBatch.concatenate(batches)


@pytest.fixture
def opened() -> Iterator[Callable[..., InterfaceSource]]:
    sources = []

    def open_one(capacity: int = 4096, clock: Any = None, **options: Any) -> InterfaceSource:
        source = InterfaceSource(options, "can0", clock or SystemClock(), capacity_frames=capacity)
        sources.append(source)
        return source

    yield open_one
    for source in sources:
        source.close()


@pytest.fixture
def sender() -> Iterator[can.BusABC]:
    with can.Bus(interface="virtual", channel="hw-test", ignore_config=True) as bus:
        yield bus


def test_frames_of_every_kind_arrive_in_order(opened: Any, sender: can.BusABC) -> None:
    source = opened(interface="virtual", channel="hw-test")
    before_ns = SystemClock().unix_ns()
    sender.send(can.Message(arbitration_id=0x118, is_extended_id=False, data=[1, 2]))
    sender.send(can.Message(arbitration_id=0x118, is_extended_id=True, data=b""))
    sender.send(can.Message(arbitration_id=5, is_extended_id=False, is_remote_frame=True, dlc=4))
    sender.send(
        can.Message(
            arbitration_id=6,
            is_extended_id=False,
            is_fd=True,
            bitrate_switch=True,
            data=bytes(range(64)),
        )
    )

    frames = read_frames(source, 4)

    assert isinstance(source, Source)
    assert source.live
    assert source.channels == ("can0",)
    assert frames.can_id.tolist() == [0x118, 0x118, 5, 6]
    assert frames.flags.tolist() == [0, EXTENDED, REMOTE, FD | BRS]
    assert frames.length.tolist() == [2, 0, 4, 64]
    assert frames.data[3].tolist() == list(range(64))
    assert abs(frames.time_ns - before_ns).max() < 60 * S
    assert source.stats().frames == 4
    assert source.stats().connected


def test_nothing_arrives_within_the_timeout(opened: Any) -> None:
    source = opened(interface="virtual", channel="hw-quiet")

    assert len(source.read(0.01)) == 0
    assert len(source.read(0)) == 0


def test_what_a_full_buffer_drops_is_counted(opened: Any, sender: can.BusABC) -> None:
    source = opened(capacity=64, interface="virtual", channel="hw-test")
    for i in range(200):
        sender.send(can.Message(arbitration_id=i, is_extended_id=False))
    while source.stats().dropped < 136:
        threading.Event().wait(0.01)

    frames = source.read(0)

    assert frames.can_id.tolist() == list(range(64))
    assert source.stats().dropped == 136
    assert source.stats().frames == 64


def test_excluded_identifiers_are_not_seen(sender: can.BusABC) -> None:
    options = {"interface": "virtual", "channel": "hw-test"}
    excluded = excluded_keys([0x118])
    source = InterfaceSource(options, "can0", SystemClock(), capacity_frames=64, excluded=excluded)
    for extended, can_id in ((False, 0x118), (True, 0x118), (False, 0x119)):
        sender.send(can.Message(arbitration_id=can_id, is_extended_id=extended))
    frames = read_frames(source, 2)
    source.close()

    assert list(zip(frames.can_id.tolist(), frames.flags.tolist(), strict=True)) == [
        (0x118, EXTENDED),
        (0x119, 0),
    ]


def test_times_follow_the_monotonic_clock_when_the_wall_clock_is_set(
    opened: Any, sender: can.BusABC
) -> None:
    class Jumped(SystemClock):
        """An operator has set the wall clock back by an hour since the source was opened."""

        by_ns = 0

        def unix_ns(self) -> int:
            return super().unix_ns() + self.by_ns

    clock = Jumped()
    source = opened(clock=clock, interface="virtual", channel="hw-test")
    sender.send(can.Message(arbitration_id=1))
    first = read_frames(source, 1)
    clock.by_ns = -3600 * S
    sender.send(can.Message(arbitration_id=2))
    second = read_frames(source, 1)

    assert 0 <= second.time_ns[0] - first.time_ns[0] < 60 * S


class Flaky(can.BusABC):
    """A bus that is there or not as the test says."""

    there = threading.Event()
    openings = 0

    def __init__(self, channel: Any = None, **_: Any) -> None:
        if not Flaky.there.is_set():
            raise can.CanInitializationError("no such device")
        Flaky.openings += 1
        self.channel_info = str(channel)
        super().__init__(channel)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not Flaky.there.is_set():
            raise can.CanOperationError("network is down")
        threading.Event().wait(0.001)
        return can.Message(arbitration_id=Flaky.openings), False

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        raise AssertionError("the agent never sends")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    module = ModuleType("flaky_can")
    module.Flaky = Flaky  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flaky_can", module)
    monkeypatch.setitem(can.interfaces.BACKENDS, "flaky", ("flaky_can", "Flaky"))
    Flaky.there.set()
    Flaky.openings = 0
    return Flaky


def test_an_interface_that_goes_away_is_reopened_and_said_once(
    opened: Any, flaky: type[Flaky], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hw.interface"):
        source = opened(interface="flaky", channel="x")
        read_frames(source, 3)
        flaky.there.clear()
        while source.stats().connected:
            threading.Event().wait(0.01)
        assert source.stats().away == {"can0"}
        while len(source.read(0.05)):
            pass
        flaky.there.set()
        frames = read_frames(source, 3)

    assert frames.can_id[-1] == 2
    assert source.stats().reconnects == 1
    assert source.stats().connected
    said = [record.message for record in caplog.records]
    assert len([s for s in said if "went away" in s]) == 1
    assert len([s for s in said if "is back" in s]) == 1


def test_an_interface_that_is_absent_at_first_is_waited_for(
    opened: Any, flaky: type[Flaky]
) -> None:
    flaky.there.clear()
    source = opened(interface="flaky", channel="x")
    assert not source.stats().connected

    flaky.there.set()

    assert len(read_frames(source, 1)) >= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interface": "soketcan", "channel": "0"}, "soketcan.*did you mean socketcan"),
        ({"interface": "udp_multicast", "channel": "not-an-address"}, "udp_multicast"),
    ],
)
def test_a_wrong_interface_is_refused_at_once(
    opened: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        opened(**options)


def test_a_closed_source_ends(opened: Any) -> None:
    source = opened(interface="virtual", channel="hw-quiet")
    source.close()
    source.close()

    with pytest.raises(SourceEnded):
        source.read(0.01)
    assert source.stats().ended
