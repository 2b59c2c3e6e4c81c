"""Peers that send too much, too long, or never read: it costs them, and nobody else."""

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from user_lib.contract.codec import REQUEST
from user_lib.contract.messages import (
    Heartbeat,
    Hello,
    ListVehicles,
    Ping,
    Pong,
    ReadEvents,
    Rejection,
    Request,
)

Make = Callable[..., Any]
PATIENCE_S = 60.0
SLOW = {"analyst_rate": {"messages_per_s": 20, "mb_per_s": 1, "burst_s": 1}}


def test_who_asks_too_much_is_told_and_the_others_are_answered(
    make_cloud: Make, analyst: Make
) -> None:
    cloud = make_cloud(bounds=SLOW)
    ada, mallory = analyst(endpoint=cloud.endpoint), analyst("mallory", cloud.endpoint)

    numbers = [mallory.post(Ping()) for _ in range(2000)]
    assert isinstance(ada.ask(Ping()), Pong)
    answers = drained(mallory)

    refused = [a for a in answers if isinstance(a, Rejection)]
    assert 0 < len(answers) < len(numbers) / 2
    assert {r.reason for r in refused} == {"too_fast"}
    assert "ask again in" in refused[0].message
    assert len(refused) < 40
    assert "sends more than its rate allows" in cloud.log.read_text()
    until(lambda: isinstance(mallory.ask(Ping()), Pong))


def test_a_vehicle_that_sends_too_much_is_cut_and_others_results_count(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    rate = {"messages_per_s": 50, "mb_per_s": 1, "burst_s": 1}
    cloud = make_cloud(bounds={"vehicle_rate": rate})
    loud, kona = vehicle("loud", endpoint=cloud.endpoint), vehicle(endpoint=cloud.endpoint)
    ada = analyst(endpoint=cloud.endpoint)
    job = ada.submit(iterations=1, vehicles=["kona-1"]).assignment_id
    kona.until(lambda: job in kona.tasks)

    for _ in range(3000):
        loud.send(Heartbeat())
    kona.answer(job, 1, 1.0)

    assert ada.to_end(job)[-1].state == "finished"
    assert "sends more than its rate allows" in eventually(cloud, "too fast")


def test_who_floods_is_hung_up_on_and_kept_out_for_a_while(
    make_cloud: Make, keys: Any, link: Make, analyst: Make
) -> None:
    cloud = make_cloud(keys=dict(keys.for_cloud()), bounds=SLOW)
    ada = analyst(endpoint=cloud.endpoint, keys=link("ada"))
    mallory = analyst("mallory", cloud.endpoint, link("mallory"))

    numbers = [mallory.post(Ping()) for _ in range(8000)]
    assert isinstance(ada.ask(Ping()), Pong)
    text = eventually(cloud, "hung up on")
    answers = drained(mallory)

    assert "flood: analyst mallory sends so much beyond its rate" in text
    assert len(answers) < len(numbers) / 10
    until(lambda: isinstance(mallory.ask(Ping()), Pong))
    cloud.stop()
    assert "cut.flood=1" in cloud.log.read_text()


def test_a_vehicle_is_told_its_rate(make_cloud: Make, vehicle: Make) -> None:
    cloud = make_cloud(bounds={"vehicle_rate": {"messages_per_s": 50, "mb_per_s": 2}})
    kona = vehicle(endpoint=cloud.endpoint)

    (welcome,) = [m for m in kona.heard if type(m).__name__ == "Welcome"]
    assert (welcome.messages_per_s, welcome.mb_per_s) == (50, 2)


def test_one_connection_is_one_vehicle(cloud: Any, vehicle: Make, analyst: Make) -> None:
    kona = vehicle("kona-1")
    for i in range(200):
        kona.send(Hello(vehicle_id=f"made-up-{i}", epoch="e", agent_version="1", dbc_hash="d" * 64))
    kona.beat()

    assert "is another already" in eventually(cloud, "vehicle id taken")
    listed = analyst().ask(ListVehicles()).vehicles
    assert [(v.vehicle_id, v.online) for v in listed] == [("kona-1", True)]


def test_a_message_that_never_ends_is_hung_up_on(cloud: Any, analyst: Make) -> None:
    ada = analyst()
    assert isinstance(ada.ask(Ping()), Pong)
    before = resident_mb(cloud)
    with zmtp(cloud.endpoint) as endless:
        frame = b"\x03" + struct.pack(">Q", 1_000_000) + b"x" * 1_000_000
        sent = 0
        deadline = time.monotonic() + PATIENCE_S
        while not is_cut(endless, frame) and time.monotonic() < deadline:
            sent += 1
            time.sleep(0.01)

    assert sent < 1000
    assert isinstance(ada.ask(Ping()), Pong)
    assert resident_mb(cloud) - before < 250


def test_many_messages_without_an_end_are_bounded_all_together(
    make_cloud: Make, analyst: Make
) -> None:
    cloud = make_cloud(bounds={"unread_mb": 100})
    ada = analyst(endpoint=cloud.endpoint)
    assert isinstance(ada.ask(Ping()), Pong)
    before = resident_mb(cloud)
    with ExitStack() as stack:
        endless = [stack.enter_context(zmtp(cloud.endpoint)) for _ in range(30)]
        frame = b"\x03" + struct.pack(">Q", 1_000_000) + bytes(1_000_000)
        most, cut = 0.0, set[int]()
        for _ in range(15):  # of each, less than the largest message there is
            cut.update(i for i, raw in enumerate(endless) if i not in cut and is_cut(raw, frame))
            most = max(most, resident_mb(cloud))
            assert isinstance(ada.ask(Ping()), Pong)
        log = eventually(cloud, "unread message")
        until(lambda: resident_mb(cloud) - before < 250)

    assert "a connection from 127.0.0.1 sent" in log
    assert "hung up on" in log
    assert cut
    assert most - before < 350
    assert isinstance(ada.ask(Ping()), Pong)


def test_a_message_of_countless_frames_is_hung_up_on(cloud: Any, analyst: Make) -> None:
    ada = analyst()
    with zmtp(cloud.endpoint) as raw:
        raw.sendall(b"\x01\x00" * 5000 + b"\x00\x00")
        raw.settimeout(PATIENCE_S)
        while raw.recv(4096):
            pass

    assert isinstance(ada.ask(Ping()), Pong)
    cloud.stop()
    assert "cut.frames=1" in cloud.log.read_text()


def test_a_peer_that_never_reads_holds_a_bounded_number_of_bytes(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    fast = {"messages_per_s": 5000, "mb_per_s": 100}
    cloud = make_cloud(bounds={"queued_mb_per_peer": 8, "vehicle_rate": fast, "analyst_rate": fast})
    kona, ada = vehicle(endpoint=cloud.endpoint), analyst(endpoint=cloud.endpoint)
    mallory = analyst("mallory", cloud.endpoint)
    job = mallory.submit(iterations="forever", onboard="collect", offboard="collect").assignment_id
    kona.until(lambda: job in kona.tasks)
    for i in range(1, 5):
        kona.answer(job, i, "x" * 900_000)
    kona.until(lambda: not kona.outbox)
    before = resident_mb(cloud)

    for number in range(200):  # 3.6 MB are asked for each time, and nothing is read
        ask = ReadEvents(assignment_id=job, kinds=("result",))
        mallory.send_frames(REQUEST.encode(Request(number=number, user="mallory", ask=ask)))
        if number % 20 == 0:
            assert isinstance(ada.ask(Ping()), Pong)
    assert isinstance(ada.ask(Ping()), Pong)

    assert resident_mb(cloud) - before < 120
    cloud.stop()
    assert "dropped.slow=" in cloud.log.read_text()


def test_many_connections_of_one_peer_have_one_backlog(
    make_cloud: Make, keys: Any, link: Make, vehicle: Make, analyst: Make
) -> None:
    fast = {"messages_per_s": 5000, "mb_per_s": 100}
    cloud = make_cloud(
        keys=dict(keys.for_cloud()),
        bounds={"queued_mb_per_peer": 8, "vehicle_rate": fast, "analyst_rate": fast},
    )
    kona = vehicle(endpoint=cloud.endpoint, keys=link("kona-1", "vehicle"))
    ada = analyst(endpoint=cloud.endpoint, keys=link("ada"))
    job = ada.submit(iterations="forever", onboard="collect", offboard="collect").assignment_id
    kona.until(lambda: job in kona.tasks)
    for i in range(1, 5):
        kona.answer(job, i, "x" * 900_000)
    kona.until(lambda: not kona.outbox)
    before = resident_mb(cloud)

    greedy = [analyst("ada", cloud.endpoint, link("ada")) for _ in range(60)]
    for each in greedy:  # 3.6 MB are asked for by each, and nothing is read
        each.post(ReadEvents(assignment_id=job, kinds=("result",)))
    bob = analyst("bob", cloud.endpoint, link("bob"))
    assert isinstance(bob.ask(Ping()), Pong)

    assert resident_mb(cloud) - before < 120
    cloud.stop()
    assert "dropped.slow=" in cloud.log.read_text()


def test_connections_that_never_shake_hands_are_closed_and_cost_no_service(
    cloud: Any, analyst: Make
) -> None:
    ada = analyst()
    host, port = cloud.endpoint.removeprefix("tcp://").split(":")
    before = fds(cloud)
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(500)]
    until(lambda: fds(cloud) > before + 400)

    until(lambda: isinstance(ada.ask(Ping()), Pong) and fds(cloud) < before + 50)
    for each in idle:
        each.close()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def drained(analyst: Any) -> list[Any]:
    found = []
    while analyst.socket.poll(1000):
        found.append(analyst.reply()[1])
    return found


def eventually(cloud: Any, words: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while words not in (text := cloud.log.read_text()):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return str(text)


def resident_mb(cloud: Any) -> float:
    pages = int(Path(f"/proc/{cloud.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fds(cloud: Any) -> int:
    return len(os.listdir(f"/proc/{cloud.process.pid}/fd"))


def zmtp(endpoint: str) -> socket.socket:
    """Return a connection that shook hands as a DEALER without keys, and may say anything."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    raw = socket.create_connection((host, int(port)), timeout=10)
    raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    ready += b"\x08Identity" + struct.pack(">I", 0)
    raw.sendall(bytes([4, len(ready)]) + ready)
    with raw.makefile("rb") as told:  # who speaks before the other is ready too, is hung up on
        told.read(64)
        size = told.read(2)[1]
        assert told.read(size).startswith(b"\x05READY")
    return raw


def is_cut(raw: socket.socket, data: bytes) -> bool:
    try:
        raw.sendall(data)
    except OSError:
        return True
    return False
