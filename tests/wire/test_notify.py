import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from user_lib.contract.clock import SECOND
from user_lib.wire.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


def told(manager: socket.socket) -> list[str]:
    heard = []
    while True:
        try:
            heard.append(manager.recv(4096).decode())
        except BlockingIOError:
            return heard


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_says_ready_with_a_status_of_one_line(manager: socket.socket) -> None:
    Notifier(environment(manager)).ready("two\nlines")

    assert told(manager) == ["READY=1\nSTATUS=two lines"]


def test_feeds_the_watchdog_four_times_within_its_limit(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager, WATCHDOG_USEC="8000000"))

    for tenth in range(81):
        notifier.alive(tenth * SECOND // 10)

    assert notifier.watched
    assert notifier.limit_ns == 8 * SECOND
    assert told(manager) == ["WATCHDOG=1"] * 5  # at 0, 2, 4, 6 and 8 seconds


def test_a_watchdog_of_another_process_is_not_fed(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager, WATCHDOG_USEC="8000000", WATCHDOG_PID="1"))

    notifier.alive(0)

    assert not notifier.watched
    assert told(manager) == []


def test_a_watchdog_that_names_this_process_is_fed(manager: socket.socket) -> None:
    own = str(os.getpid())
    notifier = Notifier(environment(manager, WATCHDOG_USEC="8000000", WATCHDOG_PID=own))

    notifier.alive(0)

    assert told(manager) == ["WATCHDOG=1"]


def test_reload_carries_the_time_it_began(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager))

    notifier.reloading(5_000_000)
    notifier.ready()
    notifier.stopping()

    assert told(manager) == ["RELOADING=1\nMONOTONIC_USEC=5000", "READY=1", "STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    name = f"oodida-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.setblocking(False)

        Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("works")

        assert told(manager) == ["STATUS=works"]


def test_without_a_service_manager_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000"})

    notifier.ready()
    notifier.alive(0)

    assert not notifier.watched
    assert notifier.unsent == 0


def test_a_manager_that_is_gone_is_counted_not_raised(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    notifier.ready()
    notifier.stopping()

    assert notifier.unsent == 2
