"""The handler of a new assignment is made without reading the ledger, and as a restart would."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.auth import Auth, Peer
from cloud.config import Config
from cloud.ledger import Ledger
from cloud.service import Service
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SystemClock
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST, TO_VEHICLE
from user_lib.contract.messages import Assign, Hello, Request, Submit, Submitted

ANALYST = Peer(b"analyst")
SPEC = {
    "signals": ["S"],
    "onboard": "mean",
    "window": {"samples": 1},
    "start": "2100-01-01T00:00:00Z",
    "iterations": 7,
    "quorum": 0.5,
}


@pytest.mark.parametrize("feedback", [False, True])
def test_a_new_handler_is_what_a_restart_makes(tmp_path: Path, feedback: bool) -> None:
    ledger, service = _service(tmp_path)
    for vehicle in ("here", "gone"):
        _hello(service, vehicle)
    service.unreachable(Peer(b"gone"))
    job_id = _submit(service, {**SPEC, "feedback": feedback})
    new = _job(service, job_id)
    service.finish()
    ledger.close()

    ledger, service = _service(tmp_path)
    _hello(service, "here")
    restored = _job(service, job_id)
    ledger.close()

    assert (new.state, new.members) == (restored.state, restored.members)
    assert {v: m.online for v, m in new.state.members.items()} == {"here": True, "gone": False}


def test_a_new_assignment_goes_to_the_vehicles_that_are_online(tmp_path: Path) -> None:
    ledger, service = _service(tmp_path)
    for vehicle in ("here", "gone"):
        _hello(service, vehicle)
    service.unreachable(Peer(b"gone"))
    service.finish()

    job_id = _submit(service, SPEC)
    mail, _ = service.finish()
    ledger.close()

    orders = [(p, TO_VEHICLE.decode(f)) for p, f in mail if p != ANALYST]
    assert [(p, type(order), order.assignment_id) for p, order in orders] == [  # type: ignore[union-attr]
        (Peer(b"here"), Assign, job_id)
    ]


def _service(folder: Path) -> tuple[Ledger, Service]:
    path = folder / "cloud.db"
    ledger = Ledger(path)
    return ledger, Service(Config(ledger=path), ledger, SystemClock(), "test", Auth(None))


def _hello(service: Service, vehicle: str) -> None:
    hello = Hello(vehicle_id=vehicle, epoch="e", agent_version="1", dbc_hash="d")
    service.receive(Peer(vehicle.encode()), FROM_VEHICLE.encode(hello))


def _submit(service: Service, spec: dict[str, Any]) -> str:
    submit = Submit(spec=msgspec.convert(spec, Assignment), token="t")
    service.receive(ANALYST, REQUEST.encode(Request(user="ada", number=1, ask=submit)))
    mail = [frames for peer, frames in service._context.mail._out if peer == ANALYST]
    answer = REPLY.decode(mail[-1]).answer
    assert isinstance(answer, Submitted), answer
    return answer.assignment_id


def _job(service: Service, job_id: str) -> Any:
    job = service._jobs.get(job_id)
    assert job is not None
    return job
