"""Hostile bytes cost nobody else anything: counted, logged, answered where somebody asks."""

import math
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.app import App
from cloud.auth import Auth, Peer
from cloud.config import Config
from cloud.ledger import Ledger
from cloud.service import Service
from user_lib.contract.clock import SECOND, SystemClock
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST
from user_lib.contract.messages import (
    CodeReport,
    Deliver,
    Heartbeat,
    Hello,
    JobChanged,
    Ping,
    Pong,
    PushCode,
    Reply,
    Request,
    RoundClosed,
    TaskHeld,
)
from user_lib.contract.states import TaskState
from user_lib.wire.socket import dealer

Make = Callable[..., Any]


def test_hostile_frames_are_survived_and_others_are_served(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada, mallory = vehicle("kona-1"), analyst(), analyst("mallory")
    job = ada.submit(iterations=1).assignment_id
    kona.until(lambda: job in kona.tasks)
    dice = random.Random(7)

    good = REQUEST.encode(Request(number=1, user="mallory", ask=Ping()))
    hello = FROM_VEHICLE.encode(kona.hello)
    hostile = [
        [b""],
        [b"", b"", b""],
        [b"OD"],
        [b"OD\x03v"],
        [b"OD\x03v", b""],
        [b"OD\x03v", b"\xc1" * 100],
        [b"OD\x03v", b"\x91" * 100_000],
        [b"OD\x03v", good[1]],
        [b"OD\x03V", hello[1]],
        [b"HTTP", b"GET /"],
        [b"x"] * 500,
    ]
    hostile += [[hello[0], _mutated(hello[1], dice)] for _ in range(300)]
    for frames in hostile:
        mallory.send_frames(frames)

    assert isinstance(ada.ask(Ping()), Pong)
    kona.answer(job, 1, 1.0)
    assert ada.to_end(job)[-1].state == "finished"
    log = cloud.log.read_text()
    assert "malformed message" in log
    assert log.count("malformed message") < 10
    assert "Traceback" not in log


def test_values_that_json_cannot_hold_are_refused_at_the_door(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada, mallory = vehicle("kona-1"), analyst(), analyst("mallory")
    mallory.ask(PushCode(side="onboard", source="def custom(xs):\n    return 1.0\n", token="t"))
    kona.until(lambda: kona.code)
    for value in ({None: 1}, {True: 1}, {(1, 2): 1}, msgspec.msgpack.Ext(1, b"")):
        params = {"weights": value}
        answer = mallory.try_submit(onboard="custom", offboard="collect", onboard_params=params)
        assert (answer.reason, answer.path) == ("invalid", "onboard_params.weights")
        assert "allowed are" in answer.message or "keys are strings" in answer.message

    job = ada.submit(iterations=1, offboard="collect").assignment_id
    kona.until(lambda: job in kona.tasks)
    for value in ({None: 1}, [b"abc"], msgspec.msgpack.Ext(1, b"")):
        kona.send(Deliver(seq=99, item=kona.result(job, 1, value)))
    kona.answer(job, 1, 1.0)
    kona.settle()

    assert ada.to_end(job)[-1].state == "finished"
    log = cloud.log.read_text()
    assert "malformed message" in log
    assert "value: has the key None" in log
    assert "internal error" not in log


def _mutated(body: bytes, dice: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.randint(1, 8)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed[: dice.randint(1, len(changed))])


def test_a_malformed_request_is_answered_under_its_number(analyst: Make) -> None:
    mallory = analyst("mallory")

    body = {"type": "request", "number": 42, "user": "mallory", "ask": {"type": "explode"}}
    mallory.send_frames([REQUEST.header, msgspec.msgpack.encode(body)])
    number, answer = mallory.reply()
    assert (number, answer.reason) == (42, "malformed")

    mallory.send_frames([b"OD\x07a", msgspec.msgpack.encode(body)])
    number, answer = mallory.reply()
    assert "protocol version 7" in answer.message


def test_what_is_not_zeromq_at_all_is_hung_up_on(cloud: Any, analyst: Make) -> None:
    host, port = cloud.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\xff" * 10_000)
        raw.settimeout(20)
        while True:
            try:
                if not raw.recv(4096):
                    break
            except ConnectionResetError:
                break

    assert isinstance(analyst().ask(Ping()), Pong)


def test_a_heartbeat_full_of_unknown_tasks_is_answered_in_bounds(vehicle: Make) -> None:
    kona = vehicle("kona-1")
    tasks = tuple(
        TaskHeld(assignment_id=f"job-{i}", state=TaskState.GATHERING, iteration=1)
        for i in range(5000)
    )

    kona.send(Heartbeat(tasks=tasks))
    kona.until(lambda: kona.withdrawn)

    assert len(kona.withdrawn) <= 1000


def test_more_vehicles_than_allowed_are_refused(make_cloud: Make, vehicle: Make) -> None:
    cloud = make_cloud(bounds={"vehicles": 2})
    first = vehicle("v1", endpoint=cloud.endpoint)
    vehicle("v2", endpoint=cloud.endpoint)
    third = type(first)(cloud.endpoint, "v3")

    assert not third.pump(0.5)
    assert "too many vehicles" in cloud.log.read_text()
    third.close()


_ids = st.text(alphabet="abc-", min_size=1, max_size=4).map(lambda t: f"a{t}")
_messages = st.one_of(
    st.builds(Hello, vehicle_id=_ids, epoch=_ids, agent_version=_ids, dbc_hash=_ids),
    st.builds(
        CodeReport,
        analyst=_ids,
        generation=st.integers(-(2**62), 2**62),
        version=_ids,
        state=st.sampled_from(["armed", "refused", "rolled_back", "removed"]),
    ),
    st.builds(Heartbeat, outbox=st.integers(-5, 5), stats=st.dictionaries(_ids, st.floats())),
)
_frames = st.one_of(
    st.lists(st.binary(max_size=40), max_size=4),
    _messages.map(FROM_VEHICLE.encode),
    st.builds(lambda body: [FROM_VEHICLE.header, body], st.binary(max_size=200)),
    st.builds(lambda body: [REQUEST.header, body], st.binary(max_size=200)),
)


@settings(max_examples=60, deadline=None)
@given(
    traffic=st.lists(st.tuples(st.sampled_from([Peer(b"p1"), Peer(b"p2")]), _frames), max_size=10)
)
def test_no_bytes_whatever_raise_out_of_the_service(
    tmp_path_factory: Any, traffic: list[tuple[Peer, list[bytes]]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "cloud.db"
    ledger = Ledger(path)
    service = Service(Config(ledger=path), ledger, SystemClock(), "test", Auth(None))
    try:
        for peer, frames in traffic:
            service.receive(peer, frames)
            service.finish()
        service.receive(Peer(b"p3"), REQUEST.encode(Request(number=9, user="ada", ask=Ping())))
        mail, _ = service.finish()
        (reply,) = [REPLY.decode(frames) for peer, frames in mail if peer == Peer(b"p3")]
    finally:
        ledger.close()

    assert isinstance(reply, Reply)
    assert isinstance(reply.answer, Pong)
    assert service.complaints.counts["internal error"] == 0


class Ponderous(SystemClock):
    """A clock by which every look takes a tenth of a second."""

    looked = 0

    def monotonic_ns(self) -> int:
        self.looked += 1
        return self.looked * SECOND // 10


def test_questions_that_take_long_are_not_all_answered_before_the_first_answer_leaves(
    tmp_path: Path,
) -> None:
    app = App(Config(bind="tcp://127.0.0.1:*", ledger=tmp_path / "cloud.db"), Ponderous())
    socket = dealer(zmq.Context.instance(), app.endpoint, None)
    try:
        for number in range(10):
            ask = REQUEST.encode(Request(number=number, user="mallory", ask=Ping()))
            socket.send_multipart(ask)
        while not app._router.counts["received"]:
            app._turn()

        assert app._router.counts["received"] == 1
        assert socket.poll(20_000)
    finally:
        socket.close(linger=0)
        app._close()


@pytest.mark.parametrize("weight", [math.inf, -math.inf, math.nan, -1.0])
@pytest.mark.parametrize("offboard", ["mean", "weighted_mean"])
def test_a_weight_that_is_none_fails_its_vehicle_and_nobody_else(
    vehicle: Make, analyst: Make, weight: float, offboard: str
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations=1, offboard=offboard).assignment_id
    for car in (kona, leaf):
        car.until(lambda car=car: job in car.tasks)

    kona.answer(job, 1, 1.0, weight=weight)
    leaf.answer(job, 1, 3.0, weight=2.0)

    items = ada.to_end(job)
    (closed,) = (item for item in items if isinstance(item, RoundClosed))
    (group,) = closed.groups
    assert (group.vehicles, group.value, group.weight, group.error) == (("leaf-1",), 3.0, 2.0, "")
    assert closed.failed == {"kona-1": "weight"}
    (told,) = (i for i in items if isinstance(i, JobChanged) and i.reason == "weight")
    assert told.vehicle_id == "kona-1"
    assert "iteration 1" in told.detail
