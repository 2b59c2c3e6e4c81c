"""The SocketCAN source on sockets that every machine has: datagrams with a CAN frame in each."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hw import CanConfig, open_source
from hw.socketcan.can_socket import CanSocket
from hw.socketcan.source import SocketCanSource
from hw.source import HoldingSource, Source, SourceEnded
from tests.hw.socketcan.datagram_link import Link
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import SourceError

S = 1_000_000_000


@pytest.fixture
def opened() -> Iterator[Callable[..., SocketCanSource]]:
    sources = []

    def open_one(link: Any, clock: Any = None) -> SocketCanSource:
        source = SocketCanSource([link], ["body"], clock or SystemClock())
        sources.append(source)
        return source

    yield open_one
    for source in sources:
        source.close()


def test_frames_come_in_order_with_the_times_of_their_arrival(opened: Any) -> None:
    link = Link()
    source = opened(link)
    before_ns = SystemClock().unix_ns()
    link.send(*range(1500))
    frames = source.read(0)
    after_ns = SystemClock().unix_ns()

    assert isinstance(source, Source)
    assert source.live
    assert source.channels == ("body",)
    assert frames.can_id.tolist() == list(range(1500))
    assert frames.data[:, 0].tolist() == [i & 0xFF for i in range(1500)]
    assert (frames.time_ns[1:] >= frames.time_ns[:-1]).all()
    assert before_ns - S <= frames.time_ns[0] <= frames.time_ns[-1] <= after_ns + S
    assert source.stats().frames == 1500
    assert source.stats().dropped == 0


def test_several_interfaces_are_one_stream_by_time() -> None:
    links = [Link() for _ in range(3)]
    source = SocketCanSource(links, ["a", "b", "c"], SystemClock())
    for i in range(600):
        links[i % 2].send(i)
    first = source.read(0)
    links[1].remove()
    links[2].send(7)
    second = source.read(0)
    source.close()

    assert source.channels == ("a", "b", "c")
    assert first.can_id.tolist() == list(range(600))
    assert first.bus.tolist() == [0, 1] * 300
    assert (first.time_ns[1:] >= first.time_ns[:-1]).all()
    assert (second.can_id.tolist(), second.bus.tolist()) == ([7], [2])
    assert not source.stats().connected


def test_what_is_held_comes_with_the_next_read() -> None:
    links = [Link() for _ in range(3)]
    source = SocketCanSource(links, ["a", "b", "c"], SystemClock())
    for part in range(3):
        for i in range(100 * part, 100 * part + 100):
            links[i % 3].send(i)
        assert source.hold()
    links[0].send(300)
    frames = source.read(0)
    source.close()

    assert isinstance(source, HoldingSource)
    assert frames.can_id.tolist() == list(range(301))
    assert frames.bus.tolist() == [i % 3 for i in range(301)]
    assert frames.time_ns.max() <= source.now_ns()
    assert source.stats().frames == 301
    assert source.stats().dropped == 0


def test_never_fewer_frames_are_said_to_be_waiting_than_there_are(opened: Any) -> None:
    link = Link()
    source = opened(link)
    ids = [0, 0x100, 1, 0x10001, 0x1010101, 0x80000001, 0x10, 0x1000, 0, 0, 0x1010101, 1]
    for i, can_id in enumerate(ids):
        link.send(can_id)
        if i % 5 == 0:
            assert source.hold()
    assert source.hold()

    for can_id in set(ids):
        extended, number = bool(can_id >> 31), can_id & 0x1FFFFFFF
        assert source.waiting(number, extended=extended) >= ids.count(can_id)
    assert source.waiting(0x123, extended=False) == 0
    source.read(0)
    assert source.waiting(1, extended=False) == 0


def test_a_source_asks_to_be_read_before_it_has_no_room(opened: Any) -> None:
    link = Link(capacity_frames=16_384)
    source = opened(link)
    asked = False
    for _ in range(8):
        link.send(*range(500))
        asked = asked or not source.hold()

    assert asked
    assert len(source.read(0)) == 4000
    assert source.hold()


def test_a_source_asks_to_be_read_while_an_interface_is_away_and_once_closed(opened: Any) -> None:
    link = Link()
    source = opened(link)
    link.send(1)
    assert source.hold()
    assert source.read(60).can_id.tolist() == [1]  # at once
    link.send(1)
    assert source.hold()
    link.remove()
    assert not source.hold()
    assert source.read(0).can_id.tolist() == [1]
    regain(source, link)
    assert source.hold()

    source.close()

    assert not source.hold()


def test_what_the_kernel_had_no_room_for_is_counted(opened: Any) -> None:
    link = Link(capacity_frames=64)
    source = opened(link)
    link.send(*range(1000))
    kept = len(source.read(0))
    link.send(1)  # the count comes with the next frame
    source.read(0)

    assert 0 < kept < 1000
    assert source.stats().dropped == 1000 - kept
    assert source.stats().frames == kept + 1


def test_what_was_lost_and_a_bus_off_is_logged_once_for_all(
    opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(capacity_frames=64)
    source = opened(link)
    for _ in range(3):
        link.send(*range(1000))
        source.read(0)
    link.send(0x2000_0040, 0x2000_0040)
    source.read(0)

    (lost,) = [r for r in caplog.messages if "frames lost" in r]
    assert lost.startswith("CAN interface can9: ")
    (off,) = [r for r in caplog.messages if "bus-off" in r]
    assert "2 times (can9)" in off


def test_a_read_waits_for_the_first_frame_and_no_longer_than_told(opened: Any) -> None:
    link = Link()
    source = opened(link)

    assert len(source.read(0.01)) == 0
    timer = threading.Timer(0.05, link.send, [7])
    timer.start()
    assert source.read(60).can_id.tolist() == [7]
    timer.join()


class Jumped(SystemClock):
    """An operator sets the wall clock back by an hour; the kernel's stamps follow."""

    by_ns = 0

    def unix_ns(self) -> int:
        return super().unix_ns() - self.by_ns


def test_times_follow_the_monotonic_clock_when_the_wall_clock_is_set(opened: Any) -> None:
    # The stamps stay; so setting the clock that the source reads is the same step the other way.
    clock, link = Jumped(), Link()
    source = opened(link, clock)
    link.send(1)
    first = source.read(1)
    clock.by_ns = 3600 * S
    source.read(0)
    link.send(2)
    second = source.read(1)

    assert 0 <= second.time_ns[0] - first.time_ns[0] < 60 * S


def test_frames_that_waited_keep_their_times_when_the_wall_clock_is_set(opened: Any) -> None:
    clock, link = Jumped(), Link()
    source = opened(link, clock)
    link.send(*range(1500))
    clock.by_ns = 3600 * S
    frames = source.read(0)

    assert len(frames) == 1500
    assert len(set(frames.time_ns.tolist())) > 1400  # and not all of them the time of the read
    assert (frames.time_ns[1:] >= frames.time_ns[:-1]).all()


def test_an_interface_that_is_down_keeps_its_socket(
    opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link()
    link.up = False
    with caplog.at_level(logging.INFO, "hw.socketcan"):
        source = opened(link)
        assert not source.stats().connected
        assert len(source.read(0.25)) == 0
        link.up = True
        link.send(5)
        frames = source.read(60)

    assert frames.can_id.tolist() == [5]
    assert len(link.opened) == 1
    assert source.stats().connected
    said = [record.message for record in caplog.records]
    assert said == [
        "CAN interface can9: the interface is down; waiting for it",
        "CAN interface can9 is up",
    ]


def test_frames_left_from_before_it_went_down_do_not_make_it_up(opened: Any) -> None:
    link = Link()
    link.up = False
    source = opened(link)
    link.send(5)

    assert source.read(0).can_id.tolist() == [5]
    assert not source.stats().connected


def lose(source: SocketCanSource, link: Link) -> None:
    """Remove the interface, and see that the source takes note."""
    link.remove()
    while source.stats().connected:
        source.read(0.01)


def regain(source: SocketCanSource, link: Link) -> None:
    link.there = True
    while not source.stats().connected:
        source.read(0.01)


def test_an_interface_that_is_removed_is_opened_again(
    opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link()
    source = opened(link)
    lose(source, link)
    assert len(source.read(0.25)) == 0

    regain(source, link)
    link.send(6)

    assert source.read(60).can_id.tolist() == [6]
    assert len(link.opened) == 2
    assert source.stats().reconnects == 1
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_the_count_of_losses_goes_on_with_a_new_socket(opened: Any) -> None:
    link = Link(capacity_frames=64)
    source = opened(link)
    kept = 0
    for _ in range(2):
        link.send(*range(1000))
        kept += len(source.read(0))
        link.send(1)
        assert len(source.read(0)) == 1
        lose(source, link)
        regain(source, link)

    assert source.stats().dropped == 2000 - kept


def test_losses_before_frames_that_were_held_are_counted_once(opened: Any) -> None:
    link = Link(capacity_frames=64)
    source = opened(link)
    link.send(*range(1000))
    assert source.hold()
    link.send(1)
    assert source.hold()  # with the count of what was lost
    link.remove()
    kept = 0
    while source.stats().connected:
        kept += len(source.read(0.01))
    regain(source, link)
    link.send(*range(1000))
    kept += len(source.read(0))
    link.send(1)
    kept += len(source.read(0))

    assert source.stats().dropped == 2002 - kept


def test_of_several_interfaces_those_that_are_away_are_named() -> None:
    links = [Link(), Link()]
    source = SocketCanSource(links, ["a", "b"], SystemClock())
    lose(source, links[1])
    lost = source.stats().away
    regain(source, links[1])
    regained = source.stats().away
    source.close()

    assert (lost, regained, source.stats().away) == ({"b"}, set(), {"a", "b"})


def test_an_interface_that_is_absent_at_first_is_waited_for(opened: Any) -> None:
    link = Link()
    link.there = False
    source = opened(link)
    assert not source.stats().connected

    regain(source, link)

    assert source.stats().reconnects == 0


def test_closing_ends_a_read_that_waits(opened: Any) -> None:
    source = opened(Link())
    threading.Timer(0.05, source.close).start()

    with pytest.raises(SourceEnded, match="can9 was closed"):
        source.read(60)
    source.close()
    assert source.stats().ended
    with pytest.raises(SourceEnded):
        source.read(0)


def test_nothing_is_left_open(opened: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = opened(Link())
    source.close()

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CanConfig(interface="socketcan", channel="can0", options={"fd": 1}), "options: fd"),
        (
            CanConfig(interface="socketcan", channel="a-name-too-long-for-it"),
            "no name of a network",
        ),
        (CanConfig(interface="socketcan", channel=""), "no name of a network"),
        (CanConfig(interface="socketcan", channel="can0", exclude_ids=("zz",)), "no identifier"),
    ],
)
def test_what_cannot_be_is_refused_at_once(config: CanConfig, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(config)


def test_a_kernel_without_can_is_named() -> None:
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError:
        with pytest.raises(SourceError, match="modprobe can-raw"):
            CanSocket("can0", 64).open()
    else:
        pytest.skip("this kernel has SocketCAN")
