"""Numbers and records that the ledger cannot hold or read stop no more than what brought them."""

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from user_lib.contract.codec import FROM_VEHICLE, REQUEST
from user_lib.contract.messages import Heartbeat, ListJobs, ModuleHeld, PushCode

Make = Callable[..., Any]
CODE = "def custom(xs):\n    return {}\n"


def test_an_assignment_that_cannot_be_read_ends_and_the_cloud_starts(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    vehicle("kona-1").settle()
    ada = analyst()
    broken = ada.submit(iterations=1).assignment_id
    good = ada.submit(iterations=1).assignment_id
    cloud.kill()
    with sqlite3.connect(cloud.ledger) as ledger:
        ledger.execute(
            "UPDATE assignments SET spec = json_set(spec, '$.deadline_s', NULL)"
            " WHERE assignment_id = ?",
            (broken,),
        )
    ledger.close()

    cloud.restart()

    jobs = {j.assignment_id: j.state for j in ada.ask(ListJobs()).jobs}
    assert jobs == {good: "running"}
    assert f"{broken} cannot be read" in cloud.log.read_text()


def test_an_assignment_that_fails_at_every_start_ends_alone(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    vehicle("kona-1").settle()
    ada = analyst()
    broken = ada.submit(iterations=1, feedback=True).assignment_id
    good = ada.submit(iterations=1).assignment_id
    cloud.kill()
    with sqlite3.connect(cloud.ledger) as ledger:
        ledger.execute("UPDATE assignments SET feedback = x'c1' WHERE assignment_id = ?", (broken,))
    ledger.close()

    cloud.restart()

    states = {j.assignment_id: j.state for j in ada.ask(ListJobs()).jobs}
    assert states == {good: "running", broken: "failed"}
    assert ada.to_end(broken)[-1].reason == "internal"


BEYOND = [
    {"type": "deliver", "seq": 1, "item": {"iteration": 2**63}},
    {"type": "deliver", "seq": 2**63, "item": {}},
    {"type": "deliver", "seq": 1, "item": {"lost_frames": 2**64 - 1}},
    {"type": "heartbeat", "outbox": 2**64 - 1},
    {"type": "code_report", "analyst": "ada", "generation": 2**63, "state": "armed"},
]


@pytest.mark.parametrize("beyond", BEYOND)
def test_a_vehicle_that_says_numbers_beyond_64_bits_is_not_understood(
    cloud: Any, vehicle: Make, analyst: Make, beyond: dict[str, Any]
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=1).assignment_id
    kona.until(lambda: job in kona.tasks)
    result = {
        "type": "result",
        "assignment_id": job,
        "epoch": "e",
        "iteration": 1,
        "status": "ok",
        "method": "mean",
        "dbc_hash": "d",
        "window_start_ns": 0,
        "window_stop_ns": 1,
        "agent_version": "1",
        "created_ns": 1,
    }
    message = dict(beyond, version="a" * 64)
    if "item" in beyond:
        message["item"] = {**result, **beyond["item"]}
    kona.send_frames([FROM_VEHICLE.header, msgspec.msgpack.encode(message)])
    kona.answer(job, 1, 1.0)

    assert ada.to_end(job)[-1].state == "finished"
    log = cloud.log.read_text()
    assert "malformed message" in log
    assert "Traceback" not in log


def test_an_analyst_that_asks_beyond_64_bits_is_told(cloud: Any, analyst: Make) -> None:
    ada = analyst()
    ask = {"type": "read_events", "assignment_id": "job-1", "after_seq": 2**63}
    request = {"type": "request", "number": 1, "user": "ada", "ask": ask}
    ada.send_frames([REQUEST.header, msgspec.msgpack.encode(request)])

    number, answer = ada.reply()
    assert (number, answer.reason) == (1, "malformed")
    assert "Traceback" not in cloud.log.read_text()


def test_a_vehicle_cannot_use_up_the_generations_of_a_slot(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    kona.settle()
    first = ada.ask(PushCode(side="onboard", source=CODE.format(1), token="1"))
    held = ModuleHeld(analyst="ada", generation=2**53, version="a" * 64)
    kona.send(Heartbeat(code=(held,)))
    kona.settle()

    second = ada.ask(PushCode(side="onboard", source=CODE.format(2), token="2"))

    assert first.generation < second.generation < 2**40
