"""Who may ask and say what: every kind of message, by every role, of own and of others' things.

Against the real router with real keys. A new kind of message has to be put into the tables.
"""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from user_lib.contract import messages as m
from user_lib.contract.card import Role
from user_lib.contract.codec import TO_VEHICLE
from user_lib.contract.content import content_of
from user_lib.contract.states import TaskState
from user_lib.demo.local_keys import LocalKeys
from user_lib.signed_orders import sign_cancel, sign_change
from user_lib.wire.keys import LinkKeys

Make = Callable[..., Any]
CONTENT = content_of(b"abc")
SOURCE = "def custom(xs):\n    return 1\n"
ROLES: dict[str, Role] = {
    "ada": "analyst",
    "eve": "analyst",
    "erin": "engineer",
    "oscar": "operator",
    "kona-2": "vehicle",
}


@pytest.fixture
def cloud(make_cloud: Make, keys: LocalKeys) -> Any:
    return make_cloud(keys=dict(keys.for_cloud()))


@pytest.fixture
def keyed(link: Make) -> Callable[[str], LinkKeys]:
    return lambda name: link(name, ROLES.get(name, "vehicle"))


NOBODY = "forbidden_role"
FLEET = {"ada": "", "eve": "", "erin": "", "oscar": "", "kona-2": NOBODY}
SIGNALS = {**FLEET, "oscar": NOBODY}
OWN = {"ada": "", "eve": "", "erin": NOBODY, "oscar": NOBODY, "kona-2": NOBODY}
ADAS = {**OWN, "eve": "not_yours"}
SIGNED_BY_ADA = {**OWN, "eve": "bad_signature"}
ASKS: dict[type[Any], dict[str, str]] = {
    m.Ping: FLEET,
    m.ListVehicles: FLEET,
    m.ListSignals: SIGNALS,
    m.Submit: SIGNED_BY_ADA,
    m.ListJobs: OWN,
    m.ReadEvents: ADAS,
    m.Explain: ADAS,
    m.Prove: ADAS,
    m.CodeStatus: OWN,
    m.PushCode: SIGNED_BY_ADA,
    m.RollbackCode: {**SIGNED_BY_ADA, "ada": "no_previous"},
    m.RemoveCode: SIGNED_BY_ADA,
    m.PutChunk: OWN,
    m.ReadChunk: {**ADAS, "ada": "unknown_content"},
    m.Cancel: ADAS,
}
"""By question: the reason with which each is refused; empty where it is answered."""


def test_every_question_is_answered_to_those_it_is_for_and_to_nobody_else(
    vehicle: Make, analyst: Make, keyed: Make
) -> None:
    kona = vehicle("kona-1", keys=keyed("kona-1"))
    kona.beat()
    kona.until(lambda: any(isinstance(x, m.SendCatalog) for x in kona.heard))
    peers = {name: analyst(name, keys=keyed(name)) for name in ROLES}
    job = peers["ada"].submit(vehicles=["kona-1"]).assignment_id
    adas = peers["ada"].keys.own

    assert set(ASKS) == set(get_args(m.Ask))
    wrong = []
    for kind, expected in ASKS.items():
        # others first: what is refused to them must change nothing for its owner
        for name in sorted(ROLES, reverse=True):
            answer = peers[name].ask(question(kind, job, peers["ada"], adas))
            reason = answer.reason if isinstance(answer, m.Rejection) else ""
            if reason != expected[name]:
                wrong.append((kind.__name__, name, reason, expected[name]))
    assert wrong == []


def question(kind: type[Any], job: str, ada: Any, adas: Any) -> Any:
    """Return a question as ada would ask it, whoever asks."""
    if kind in (m.PushCode, m.RollbackCode, m.RemoveCode):
        slot = ada.ask(m.CodeStatus()).onboard
        plain = {"side": "onboard", "token": f"{kind.__name__}-{slot.generation}"}
        ask = m.PushCode(source=SOURCE, **plain) if kind is m.PushCode else kind(**plain)
        return sign_change(ask, slot, adas, 1)
    match kind:
        case m.ListSignals:
            return m.ListSignals(vehicle_id="kona-1")
        case m.Submit:
            return ada.signed_submit()
        case m.Cancel:
            return sign_cancel(job, adas, 1)
        case m.PutChunk:
            return m.PutChunk(content=CONTENT, data=b"abc")
        case m.ReadChunk:
            return m.ReadChunk(assignment_id=job, digest=CONTENT.digest, offset=0)
        case m.ReadEvents | m.Explain | m.Prove:
            return kind(assignment_id=job)
        case _:
            return kind()


def test_a_vehicle_answers_only_tasks_that_it_was_given_and_in_its_own_epoch(
    cloud: Any, vehicle: Make, analyst: Make, keyed: Make
) -> None:
    kona, other = (vehicle(name, keys=keyed(name), epoch="e1") for name in ("kona-1", "kona-2"))
    ada = analyst("ada", keys=keyed("ada"))
    job = ada.submit(vehicles=["kona-1"], iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)

    other.answer(job, 1, 99.0)
    other.deliver(m.Losses(assignment_id=job, epoch="e1", iterations=((1, 2),)))
    other.deliver(m.TaskEnded(assignment_id=job, epoch="e1", state=TaskState.FAILED))
    other.answer("job-of-nobody", 1, 99.0)
    other.until(lambda: not other.outbox)
    kona.answer(job, 1, 98.0, epoch="e0")
    kona.answer(job, 1, 97.0, vehicle_id="kona-2")
    kona.answer(job, 2, 2.0)

    items = ada.to_end(job)
    results = [i for i in items if isinstance(i, m.Result)]
    assert [(r.vehicle_id, r.iteration, r.value) for r in results] == [
        ("kona-1", 1, 97.0),
        ("kona-1", 2, 2.0),
    ]
    assert not [i for i in items if getattr(i, "vehicle_id", "") == "kona-2"]
    explained = ada.ask(m.Explain(assignment_id=job))
    assert [(x.vehicle_id, x.lost_results) for x in explained.members] == [("kona-1", 0)]
    log = cloud.log.read_text()
    assert "which it was not given" in log
    assert "other epoch" in log


VEHICLES_SAY: dict[type[Any], Any] = {
    m.Hello: m.Hello(vehicle_id="ada", epoch="e", agent_version="1", dbc_hash="d"),
    m.Heartbeat: m.Heartbeat(),
    m.Catalog: m.Catalog(dbc_hash="d" * 64, signals=()),
    m.Deliver: m.Deliver(
        seq=1,
        item=m.TaskEnded(assignment_id="job-1", epoch="e", state=TaskState.FAILED),
    ),
    m.CodeReport: m.CodeReport(analyst="ada", generation=1, version="v", state="armed"),
    m.Fetch: m.Fetch(assignment_id="job-1", digest=CONTENT.digest, offset=0),
    m.Chunk: m.Chunk(digest=CONTENT.digest, offset=0, data=b"abc"),
}


@pytest.mark.parametrize("name", ["ada", "erin", "oscar"])
def test_who_is_no_vehicle_says_nothing_as_one(
    cloud: Any, vehicle: Make, analyst: Make, keyed: Make, name: str
) -> None:
    kona = vehicle("kona-1", keys=keyed("kona-1"))
    liar = type(kona)(cloud.endpoint, name, keys=keyed(name))

    assert VEHICLES_SAY.keys() == set(get_args(m.FromVehicle))
    for message in VEHICLES_SAY.values():
        liar.send(message)
    heard = []
    while (frames := liar.receive_frames(0.5)) is not None:
        heard.append(TO_VEHICLE.decode(frames))

    assert {type(message) for message in heard} == {m.SendHello}
    listed = analyst("eve", keys=keyed("eve")).ask(m.ListVehicles()).vehicles
    assert [v.vehicle_id for v in listed] == ["kona-1"]
    liar.close()
