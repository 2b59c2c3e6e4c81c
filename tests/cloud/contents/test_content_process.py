"""Contents at a real router, with scripted vehicles and analysts: who may give and get what."""

import hashlib
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq

from user_lib.contract import messages as m
from user_lib.contract.content import (
    CHUNK_BYTES,
    Content,
    ResultBody,
    content_of,
    pack,
    unpack_body,
)
from user_lib.wire import transfer as pull

BODY = pack(ResultBody(random.Random(1).randbytes(600_000).hex()))
LARGE = content_of(BODY)


def chunk_at(ask: m.SendChunk, body: bytes = BODY) -> m.Chunk:
    data = body[ask.offset : ask.offset + CHUNK_BYTES]
    return m.Chunk(digest=ask.digest, offset=ask.offset, data=data)


def heard(vehicle: Any, kind: type) -> list[Any]:
    return [message for message in vehicle.heard if isinstance(message, kind)]


def give_all(vehicle: Any, body: bytes = BODY) -> int:
    """Answer every question for chunks until the outbox is empty; return how many there were."""
    answered = 0

    def done() -> bool:
        nonlocal answered
        asks = heard(vehicle, m.SendChunk)
        for ask in asks[answered:]:
            vehicle.send(chunk_at(ask, body))
        answered = len(asks)
        return not vehicle.outbox

    vehicle.until(done)
    return answered


def put(analyst: Any, body: bytes) -> Content:
    content = content_of(body)
    for offset in range(0, len(body), CHUNK_BYTES):
        data = body[offset : offset + CHUNK_BYTES]
        held = analyst.ask(m.PutChunk(content=content, offset=offset, data=data))
        assert held.have == offset + len(data), held
    return content


def read(analyst: Any, job: str, content: Content) -> Any:
    data = b""
    while len(data) < content.size:
        ask = m.ReadChunk(assignment_id=job, digest=content.digest, offset=len(data))
        answer = analyst.ask(ask)
        if not isinstance(answer, m.Chunk):
            return answer
        data += answer.data
    return data


def contents_in(cloud: Any) -> list[str]:
    with closing(sqlite3.connect(f"file:{cloud.ledger}?mode=ro", uri=True)) as connection:
        return [digest for (digest,) in connection.execute("SELECT digest FROM contents")]


def start(vehicle: Any, analyst: Any, **spec: Any) -> str:
    job: str = analyst.submit(**spec).assignment_id
    vehicle.until(lambda: job in vehicle.tasks)
    return job


def test_a_result_counts_and_is_acknowledged_once_its_content_is_here(
    vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, ada = vehicle(), analyst()
    job = start(car, ada, offboard="collect")
    car.answer(job, 1, None, payload=LARGE)
    car.until(lambda: len(heard(car, m.SendChunk)) == 2)  # the credit
    assert car.outbox
    assert not [e for e in ada.events(job) if isinstance(e.item, m.Result)]

    assert give_all(car) == 5

    events = [e.item for e in ada.read(job, lambda found: any(_is_round(e) for e in found))]
    (result,) = [item for item in events if isinstance(item, m.Result)]
    (closed,) = [item for item in events if isinstance(item, m.RoundClosed)]
    assert result.payload == LARGE
    assert not result.late
    assert read(ada, job, LARGE) == BODY
    body = unpack_body(BODY).value
    whole = read(ada, job, closed.groups[0].payload)
    assert body.encode() in whole


def _is_round(event: m.Event) -> bool:
    return isinstance(event.item, m.RoundClosed)


def test_a_repeat_of_a_large_result_is_acknowledged_without_its_bytes(
    vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, ada = vehicle(), analyst()
    job = start(car, ada, iterations=5)
    result = car.answer(job, 1, None, payload=LARGE)
    asked = give_all(car)

    car.deliver(result)
    car.settle()

    assert len(heard(car, m.SendChunk)) == asked
    assert len([e for e in ada.events(job) if isinstance(e.item, m.Result)]) == 1


def test_nothing_is_pulled_for_a_task_that_the_vehicle_was_not_given(
    cloud: Any, vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, other, ada = vehicle("kona-1"), vehicle("kona-2"), analyst()
    job = start(car, ada, vehicles=["kona-1"])
    other.answer(job, 1, None, payload=LARGE)
    other.answer("job-none", 1, None, payload=LARGE)

    other.settle()

    assert not heard(other, m.SendChunk)
    assert contents_in(cloud) == []


def test_wrong_bytes_are_not_kept_and_are_asked_for_again(
    vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, ada = vehicle(), analyst()
    job = start(car, ada)
    car.answer(job, 1, None, payload=LARGE)

    def lied() -> bool:
        asks = heard(car, m.SendChunk)
        for ask in asks[lied.told :]:  # type: ignore[attr-defined]
            car.send(chunk_at(ask, BODY[:-1] + b"?"))
        lied.told = len(asks)  # type: ignore[attr-defined]
        return len(asks) >= 5

    lied.told = 0  # type: ignore[attr-defined]
    car.until(lied)
    car.until(lambda: [a.offset for a in heard(car, m.SendChunk)[5:7]] == [0, CHUNK_BYTES])
    assert car.outbox

    for ask in heard(car, m.SendChunk)[5:7]:
        car.send(chunk_at(ask))
    answered = 7

    def done() -> bool:
        nonlocal answered
        for ask in heard(car, m.SendChunk)[answered:]:
            answered += 1
            car.send(chunk_at(ask))
        return not car.outbox

    car.until(done)
    assert read(ada, job, LARGE) == BODY


def test_a_content_too_large_for_the_cloud_is_told_and_the_round_goes_on(
    make_cloud: Callable[..., Any], vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    cloud = make_cloud(contents={"largest_mb": 0.5})
    car = vehicle(endpoint=cloud.endpoint)
    ada = analyst(endpoint=cloud.endpoint)
    job = start(car, ada)
    car.answer(job, 1, None, payload=LARGE)
    car.settle()

    items = [e.item for e in ada.read(job, lambda found: any(_is_round(e) for e in found))]

    assert not heard(car, m.SendChunk)
    (told,) = [
        i for i in items if isinstance(i, m.JobChanged) and i.vehicle_id and not i.task_state
    ]
    assert told.reason == "content_too_large"
    assert "1.2 MB" in told.detail
    assert "contents.largest_mb" in told.detail
    (closed,) = [i for i in items if isinstance(i, m.RoundClosed)]
    assert closed.failed == {"kona-1": "content_too_large"}
    assert read(ada, job, LARGE).reason == "unknown_content"


def test_without_room_a_result_waits_on_its_vehicle(
    make_cloud: Callable[..., Any], vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    cloud = make_cloud(contents={"store_mb": 1})
    car = vehicle(endpoint=cloud.endpoint)
    ada = analyst(endpoint=cloud.endpoint)
    job = start(car, ada)
    car.answer(job, 1, None, payload=LARGE)

    car.until(lambda: "contents.store_mb allows 1.0 MB" in cloud.log.read_text())

    assert car.outbox
    assert not heard(car, m.SendChunk)


# --- what vehicles are given ---------------------------------------------------------------------


def test_a_vehicle_gets_what_its_task_names_and_nothing_else(
    vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, other, ada = vehicle("kona-1"), vehicle("kona-2"), analyst()
    params = put(ada, pack({"text": "x" * 400_000}))
    secret = put(ada, pack({"text": "y" * 400_000}))
    job = start(car, ada, vehicles=["kona-1"], onboard_content={
        "digest": params.digest, "size": params.size
    })  # fmt: skip
    asks = [
        (car, m.Fetch(assignment_id=job, digest=params.digest, offset=CHUNK_BYTES)),
        (car, m.Fetch(assignment_id=job, digest=secret.digest, offset=0)),
        (other, m.Fetch(assignment_id=job, digest=params.digest, offset=0)),
    ]
    for who, ask in asks:
        who.send(ask)
    car.until(lambda: heard(car, m.Chunk) and heard(car, m.NoContent))
    other.until(lambda: heard(other, m.NoContent))

    (chunk,) = heard(car, m.Chunk)
    assert (chunk.digest, chunk.offset, len(chunk.data)) == (
        params.digest, CHUNK_BYTES, params.size - CHUNK_BYTES,
    )  # fmt: skip
    assert [none.digest for none in heard(car, m.NoContent)] == [secret.digest]
    assert not heard(other, m.Chunk)


def test_params_are_gone_once_no_assignment_needs_them_and_results_stay(
    cloud: Any, vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, ada = vehicle(), analyst()
    params = put(ada, pack({"text": "x" * 400_000}))
    job = start(car, ada, iterations=2, onboard_content={
        "digest": params.digest, "size": params.size
    })  # fmt: skip
    car.answer(job, 1, None, payload=LARGE)
    give_all(car)
    ada.ask(m.Cancel(assignment_id=job))

    refused = read(ada, job, params)
    assert refused.reason == "unknown_content"
    assert read(ada, job, LARGE) == BODY


# --- what analysts give --------------------------------------------------------------------------


def test_knowing_a_hash_is_not_having_the_content(
    analyst: Callable[..., Any], vehicle: Any
) -> None:
    vehicle()
    ada, eve = analyst("ada"), analyst("eve")
    params = put(ada, b"x" * 400_000)
    named = {"digest": params.digest, "size": params.size}

    refused = eve.try_submit(onboard_content=named)
    guess = eve.ask(m.PutChunk(content=params, data=b"y" * CHUNK_BYTES))

    assert refused.reason == "unknown_content"
    assert guess.reason == "damaged"
    assert eve.ask(m.PutChunk(content=params)).have == 0
    assert put(eve, b"x" * 400_000) == params
    assert isinstance(eve.try_submit(onboard_content=named), m.Submitted)


def test_an_upload_goes_on_where_it_was_after_the_cloud_was_killed(
    cloud: Any, analyst: Callable[..., Any]
) -> None:
    ada = analyst()
    data = random.Random(3).randbytes(700_000)
    content = content_of(data)
    assert ada.ask(m.PutChunk(content=content, data=data[:CHUNK_BYTES])).have == CHUNK_BYTES

    cloud.kill()
    cloud.restart()
    again = analyst()

    assert again.ask(m.PutChunk(content=content)).have == CHUNK_BYTES


def test_an_analyst_reads_only_what_own_assignments_name(
    vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    car, ada, eve = vehicle(), analyst("ada"), analyst("eve")
    job = start(car, ada)
    other = start(car, eve)
    car.answer(job, 1, None, payload=LARGE)
    give_all(car)

    assert read(eve, job, LARGE).reason == "not_yours"
    assert read(eve, other, LARGE).reason == "unknown_content"


@pytest.mark.parametrize("size", [64_000_001, 2**40])
def test_a_content_too_large_is_refused_with_size_cap_and_key(
    analyst: Callable[..., Any], size: int
) -> None:
    refused = analyst().ask(m.PutChunk(content=Content("a" * 64, size)))

    assert refused.reason == "content_too_large"
    assert "64.0 MB" in refused.message
    assert "contents.largest_mb" in refused.message


# --- many at once --------------------------------------------------------------------------------


def peak_mb(cloud: Any) -> float:
    """Return the most memory that the cloud ever had."""
    status = Path(f"/proc/{cloud.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1.024e-3


class Puller:
    """A vehicle's end of one transfer, as an agent's is."""

    def __init__(self, vehicle: Any, job: str, content: Content) -> None:
        self.vehicle, self.job = vehicle, job
        self.transfer = pull.begin(content, 0)
        self.seen = hashlib.sha256()

    def ask(self) -> None:
        self.transfer, offsets = pull.poll(self.transfer, time.monotonic_ns())
        for offset in offsets:
            digest = self.transfer.content.digest
            self.vehicle.send(m.Fetch(assignment_id=self.job, digest=digest, offset=offset))

    def hear(self) -> None:
        self.vehicle.pump()
        chunk = self.vehicle.heard.pop()
        if isinstance(chunk, m.Chunk):
            before, size = self.transfer, len(chunk.data)
            self.transfer = pull.arrived(before, chunk.offset, size, time.monotonic_ns())
            if self.transfer is not before:
                self.seen.update(chunk.data)


def test_ten_megabytes_to_twenty_vehicles_do_not_fill_the_routers_memory(
    cloud: Any, vehicle: Callable[..., Any], analyst: Callable[..., Any]
) -> None:
    cars, ada = [vehicle(f"kona-{i}") for i in range(20)], analyst()
    params = put(ada, pack({"text": random.Random(2).randbytes(5_000_000).hex()}))
    named = {"digest": params.digest, "size": params.size}
    job = ada.submit(onboard_content=named).assignment_id
    before = peak_mb(cloud)

    pullers = {car.socket: Puller(car, job, params) for car in cars}
    poller = zmq.Poller()
    for socket in pullers:
        poller.register(socket, zmq.POLLIN)
    while not all(p.transfer.whole for p in pullers.values()):
        for puller in pullers.values():
            puller.ask()
        for socket, _ in poller.poll(1000):
            pullers[socket].hear()

    assert {p.seen.hexdigest() for p in pullers.values()} == {params.digest}
    assert peak_mb(cloud) - before < 60  # all of it at once would be 200
