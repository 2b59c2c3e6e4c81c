"""Connections are bounded by address, by key and in all; who is refused is told of and counted."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from user_lib.contract.messages import Ping, Pong

Make = Callable[..., Any]
PATIENCE_S = 60.0
STRANGER = "127.0.0.2"


def test_of_a_vehicles_connections_the_oldest_is_hung_up_on_and_the_newest_serves(
    make_cloud: Make, keys: Any, link: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(keys=dict(keys.for_cloud()), bounds={"connections_per_vehicle": 3})
    thief = link("kona-1", "vehicle")

    for _ in range(7):
        one = analyst("kona-1", cloud.endpoint, thief)
        one.post(Ping())
    kona = vehicle("kona-1", endpoint=cloud.endpoint, keys=thief)

    assert "vehicle kona-1 has too many connections" in eventually(cloud, "too many connections")
    ada = analyst(endpoint=cloud.endpoint, keys=link("ada"))
    job = ada.submit(iterations=1).assignment_id
    kona.until(lambda: job in kona.tasks)
    cloud.stop()
    assert "cut.key=5" in cloud.log.read_text()


def test_a_connection_that_says_nothing_is_hung_up_on(
    make_cloud: Make, keys: Any, link: Make, analyst: Make
) -> None:
    cloud = make_cloud(keys=dict(keys.for_cloud()), bounds={"silent_s": 1.0})
    ada = analyst(endpoint=cloud.endpoint, keys=link("ada"))
    assert isinstance(ada.ask(Ping()), Pong)
    mute = analyst("bob", cloud.endpoint, link("bob"))
    assert mute.socket.poll(20_000, 2), "no connection"

    assert "there was no message within" in eventually(cloud, "silent connection")
    assert isinstance(ada.ask(Ping()), Pong)  # on the connection that spoke long ago
    assert isinstance(mute.ask(Ping()), Pong)  # it came back by itself


def test_an_address_that_knocks_without_end_gets_in_no_more_and_others_do(
    make_cloud: Make, analyst: Make
) -> None:
    pace = {"per_s": 1, "at_once": 20}
    cloud = make_cloud(bounds={"newcomers_per_address": pace})
    before = fds(cloud)
    with knocks(cloud) as knock:
        for _ in range(300):
            knock()
        found = eventually(cloud, "too many newcomers")
        until(lambda: fds(cloud) < before + 60)
        ada = analyst(endpoint=cloud.endpoint)
        assert isinstance(ada.ask(Ping()), Pong)

    assert f"{STRANGER} has more connections that say nothing" in found
    cloud.stop()
    assert "cut.address=2" in cloud.log.read_text()


def test_a_flood_of_connections_leaves_descriptors_to_the_ledger_and_room_to_others(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(descriptors=2000)
    with knocks(cloud) as knock:
        for _ in range(5000):
            knock()
        kona, ada = vehicle(endpoint=cloud.endpoint), analyst(endpoint=cloud.endpoint)
        job = ada.submit(iterations=1).assignment_id
        kona.until(lambda: job in kona.tasks)
        kona.answer(job, 1, 1.0)
        assert ada.to_end(job)[-1].state == "finished"
        until(lambda: 900 < fds(cloud) < 1100)

    log = cloud.log.read_text()
    assert "no room" in log
    assert "room for 1000 connections, 1000 vehicles" in log


def test_a_key_that_connects_too_often_is_told_to_come_later(
    make_cloud: Make, keys: Any, link: Make, analyst: Make
) -> None:
    pace = {"per_s": 2, "at_once": 3}
    cloud = make_cloud(keys=dict(keys.for_cloud()), bounds={"handshakes_per_key": pace})
    ada = analyst(endpoint=cloud.endpoint, keys=link("ada"))
    assert isinstance(ada.ask(Ping()), Pong)

    eager = [analyst("bob", cloud.endpoint, link("bob")) for _ in range(12)]

    assert "connects too often" in eventually(cloud, "too many handshakes")
    assert isinstance(ada.ask(Ping()), Pong)
    for each in eager:  # they try again by themselves
        assert isinstance(each.ask(Ping()), Pong)


@contextmanager
def knocks(cloud: Any) -> Iterator[Callable[[], None]]:
    """Yield what opens one more connection that says nothing, from another address."""
    host, port = cloud.endpoint.removeprefix("tcp://").split(":")
    with ExitStack() as held:

        def knock() -> None:
            raw = socket.create_connection(
                (host, int(port)), timeout=20, source_address=(STRANGER, 0)
            )
            held.enter_context(raw)

        yield knock


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def eventually(cloud: Any, words: str) -> str:
    until(lambda: words in cloud.log.read_text())
    return str(cloud.log.read_text())


def fds(cloud: Any) -> int:
    return len(os.listdir(f"/proc/{cloud.process.pid}/fd"))
