"""Who gets in, as whom, and for how long: real keys, real sockets, the real cloud."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from user_lib.contract.codec import REQUEST
from user_lib.contract.ids import new_id
from user_lib.contract.messages import (
    Cancel,
    CodeStatus,
    Explain,
    Hello,
    ListJobs,
    ListSignals,
    ListVehicles,
    Ping,
    Pong,
    PushCode,
    ReadEvents,
    Rejection,
    Request,
    Vehicles,
)
from user_lib.demo.local_keys import LocalKeys
from user_lib.wire.audit_reading import check, read
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.keys import LinkKeys, create_keys
from user_lib.wire.monitor import events
from user_lib.wire.socket import HANDSHAKE_EVENTS, dealer, refusal

Make = Callable[..., Any]
PATIENCE_S = 20.0


@pytest.fixture
def metrics_socket(tmp_path: Path) -> str:
    return str(tmp_path / "m.sock")


@pytest.fixture
def cloud(make_cloud: Make, keys: LocalKeys, metrics_socket: str) -> Any:
    return make_cloud(keys=dict(keys.for_cloud()), metrics_socket=metrics_socket)


@pytest.fixture
def knock(cloud: Any) -> Iterator[Callable[[LinkKeys | None], str]]:
    """Return what a handshake comes to: empty, or why it was refused."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def knock(keys: LinkKeys | None) -> str:
        watch = HANDSHAKE_EVENTS | zmq.EVENT_HANDSHAKE_SUCCEEDED
        with (
            dealer(context, cloud.endpoint, keys, watch=watch) as socket,
            socket.get_monitor_socket() as monitor,
        ):
            assert monitor.poll(int(PATIENCE_S * 1000))
            event = next(events(monitor))
            socket.disable_monitor()
        return refusal(event, keys) if event.kind & HANDSHAKE_EVENTS else ""

    yield knock
    context.term()


def directory(keys: LocalKeys) -> Path:
    return Path(keys.for_cloud()["authorized"])


def test_vehicles_and_analysts_with_keys_work_together(
    vehicle: Make, analyst: Make, link: Make
) -> None:
    kona = vehicle("kona-1", keys=link("kona-1", "vehicle"))
    ada = analyst("ada", keys=link("ada"))

    job = ada.submit(iterations=1).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 2.5)

    assert ada.to_end(job)[-1].state == "finished"


def test_an_unknown_key_is_refused_and_logged_once(cloud: Any, link: Make, knock: Make) -> None:
    known = link("ada")
    stranger = LinkKeys(create_keys("ada", "analyst"), known.cloud)

    for _ in range(20):
        assert "the cloud does not know the key of ada" in knock(stranger)

    assert knock(known) == ""
    log = cloud.log.read_text()
    assert log.count("unknown key: ") == 1
    assert stranger.own.card.curve in log


def test_a_key_is_known_as_soon_as_it_is_enrolled(link: Make, knock: Make) -> None:
    for i in range(3):
        assert knock(link(f"ada-{i}")) == ""


def test_who_has_no_keys_or_expects_another_cloud_is_refused(link: Make, knock: Make) -> None:
    assert "requires keys" in knock(None)
    known = link("ada")
    other = LinkKeys(known.own, create_keys("cloud", "cloud").card)
    assert "it has another key than the card" in knock(other)


def test_a_client_with_keys_does_not_talk_to_a_cloud_without(
    make_cloud: Make, link: Make, cloud: Any, knock: Make
) -> None:
    insecure = make_cloud()
    cloud.endpoint = insecure.endpoint

    assert "without keys" in knock(link("ada"))


def test_a_name_that_is_not_the_keys_is_refused(
    cloud: Any, vehicle: Make, analyst: Make, link: Make
) -> None:
    eve = analyst("ada", keys=link("eve"))
    answer = eve.ask(Ping())
    assert (answer.reason, "not that of ada" in answer.message) == ("unknown_user", True)

    kona = vehicle("kona-1", keys=link("kona-1", "vehicle"))
    liar = type(kona)(cloud.endpoint, "kona-1", keys=link("kona-2", "vehicle"))
    assert not liar.pump(0.5)
    kona.beat()
    assert not [m for m in kona.heard if type(m).__name__ == "SendHello"]
    liar.close()
    log = cloud.log.read_text()
    assert "may not speak for kona-1" in log
    assert "may not ask as ada" in log


def test_a_vehicles_key_asks_nothing_and_an_analysts_is_no_vehicle(
    cloud: Any, vehicle: Make, analyst: Make, link: Make
) -> None:
    spy = analyst("kona-1", keys=link("kona-1", "vehicle"))
    assert spy.ask(ListVehicles()).reason == "forbidden_role"

    good = vehicle("kona-2", keys=link("kona-2", "vehicle"))
    fake = type(good)(cloud.endpoint, "ada", keys=link("ada"))
    assert not fake.pump(0.5)
    fake.close()


def test_operators_see_the_fleet_and_engineers_its_signals_but_no_data(
    vehicle: Make, analyst: Make, link: Make
) -> None:
    kona = vehicle("kona-1", keys=link("kona-1", "vehicle"))
    kona.beat()
    kona.until(lambda: any(type(m).__name__ == "SendCatalog" for m in kona.heard))
    job = analyst("ada", keys=link("ada")).submit().assignment_id
    oscar = analyst("oscar", keys=link("oscar", "operator"))
    erin = analyst("erin", keys=link("erin", "engineer"))

    for one in (oscar, erin):
        assert isinstance(one.ask(Ping()), Pong)
        assert isinstance(one.ask(ListVehicles()), Vehicles)
        refused = (
            ReadEvents(assignment_id=job),
            Explain(assignment_id=job),
            Cancel(assignment_id=job),
            ListJobs(),
            CodeStatus(),
            PushCode(side="onboard", source="def custom(xs): return 1", token=new_id("token")),
        )
        for ask in refused:
            assert one.ask(ask).reason == "forbidden_role", ask
        assert one.try_submit().reason == "forbidden_role"
    assert oscar.ask(ListSignals(vehicle_id="kona-1")).reason == "forbidden_role"
    assert not isinstance(erin.ask(ListSignals(vehicle_id="kona-1")), Rejection)


def test_an_analyst_sees_and_cancels_only_own_jobs(
    vehicle: Make, analyst: Make, link: Make
) -> None:
    vehicle("kona-1", keys=link("kona-1", "vehicle"))
    ada, eve = analyst("ada", keys=link("ada")), analyst("eve", keys=link("eve"))
    job = ada.submit().assignment_id

    for ask in (
        ReadEvents(assignment_id=job),
        Explain(assignment_id=job),
        Cancel(assignment_id=job),
    ):
        assert eve.ask(ask).reason == "not_yours"
    assert eve.ask(ListJobs()).jobs == ()


def test_a_revoked_analyst_is_neither_heard_nor_answered_from_the_next_message_on(
    cloud: Any, keys: LocalKeys, vehicle: Make, analyst: Make, link: Make
) -> None:
    vehicle("kona-1", keys=link("kona-1", "vehicle"))
    ada = analyst("ada", keys=link("ada"))
    job = ada.submit().assignment_id
    ada.post(ReadEvents(assignment_id=job, after_seq=1000, wait_s=3.0))  # an answer is due later

    revoke("ada", directory(keys))
    _until_logged(cloud, "revoked key", lambda: ada.post(Ping()))
    ada.post(Cancel(assignment_id=job))

    assert _drained(ada, 4.0, after=ada.number - 1) == []
    assert isinstance(analyst("eve", keys=link("eve")).ask(Ping()), Pong)


def test_a_revoked_vehicle_is_offline_and_gets_nothing_any_more(
    make_cloud: Make, keys: LocalKeys, vehicle: Make, analyst: Make, link: Make
) -> None:
    cloud = make_cloud(keys=dict(keys.for_cloud()), lease_s=600)
    kona = vehicle("kona-1", keys=link("kona-1", "vehicle"), endpoint=cloud.endpoint)
    ada = analyst("ada", keys=link("ada"), endpoint=cloud.endpoint)

    revoke("kona-1", directory(keys))
    deadline = time.monotonic() + PATIENCE_S
    while ada.ask(ListVehicles()).vehicles[0].online:
        assert time.monotonic() < deadline
    while kona.pump(0.2):
        pass
    ada.submit()
    kona.send(kona.hello)
    kona.beat()

    assert not kona.pump(1.0)
    assert "kona-1: its key was revoked" in cloud.log.read_text()


def test_a_rotated_key_speaks_for_the_same_vehicle(
    cloud: Any, keys: LocalKeys, vehicle: Make, analyst: Make, link: Make
) -> None:
    first = vehicle("kona-1", keys=link("kona-1", "vehicle"), epoch="e1")
    job = analyst("ada", keys=link("ada")).submit().assignment_id
    first.until(lambda: job in first.tasks)
    new = create_keys("kona-1", "vehicle")
    enrol(new.card, directory(keys))
    revoke(link("kona-1", "vehicle").own.card.fingerprint, directory(keys))

    again = vehicle("kona-1", keys=LinkKeys(new, link("ada").cloud), epoch="e1")

    again.until(lambda: job in again.tasks)


def test_no_message_that_came_without_a_key_is_ever_handled(cloud: Any) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with dealer(context, cloud.endpoint, None) as socket:
        socket.setsockopt(zmq.IMMEDIATE, 0)
        for _ in range(5):
            with suppress(zmq.Again):
                request = Request(number=1, user="ada", ask=Ping())
                socket.send_multipart(REQUEST.encode(request), zmq.NOBLOCK)
        assert not socket.poll(1000)
    context.term()
    assert cloud.stop() == 0
    assert "received=" not in cloud.log.read_text()


def test_who_came_went_and_was_turned_away_is_in_the_audit_log(
    cloud: Any, keys: LocalKeys, analyst: Make, link: Make, knock: Make
) -> None:
    known = link("ada")
    stranger = LinkKeys(create_keys("eve", "analyst"), known.cloud)
    for _ in range(3):
        knock(stranger)
    ada = analyst("ada", keys=known)
    ada.ask(Ping())
    revoke("ada", directory(keys))
    _until_logged(cloud, "revoked key", lambda: ada.post(Ping()))
    log = cloud.ledger.with_suffix(".audit")

    assert ("enrolled", "ada") in [(e.event, e.who) for e in read(log)]
    assert ("revoked", "ada") in [(e.event, e.who) for e in read(log)]
    (refused,) = [e for e in read(log) if e.event == "refused"]
    assert refused.reason == "unknown_key"
    assert stranger.own.card.curve in refused.detail
    assert check(log).problems == ()


def test_who_was_turned_away_and_what_was_refused_is_in_the_metrics(
    metrics_socket: str, analyst: Make, link: Make, knock: Make
) -> None:
    known = link("oscar", "operator")
    for _ in range(3):
        knock(LinkKeys(create_keys("eve", "analyst"), known.cloud))
    oscar = analyst("oscar", keys=known)
    for ask in (ListJobs(), ListJobs(), CodeStatus()):
        assert oscar.ask(ask).reason == "forbidden_role"
    oscar.user = "ada"
    assert oscar.ask(Ping()).reason == "unknown_user"

    least = {  # a link that is refused may knock again by itself
        'oodida_cloud_complaints_total{kind="unknown key"}': 3,
        'oodida_cloud_complaints_total{kind="refused user"}': 1,
        'oodida_cloud_refused_total{reason="unknown_key"}': 3,
        'oodida_cloud_refused_total{reason="unknown_user"}': 1,
        'oodida_cloud_refused_total{reason="forbidden_role"}': 3,
    }
    deadline = time.monotonic() + PATIENCE_S
    while any((found := _metrics(metrics_socket)).get(k, 0) < n for k, n in least.items()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def _metrics(path: str) -> dict[str, float]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with client.makefile() as answer:
            split = (line.rpartition(" ") for line in answer if line.startswith("oodida_"))
            return {name: float(value) for name, _, value in split}


def test_secrets_are_in_no_log_and_no_process_list(
    cloud: Any, keys: LocalKeys, vehicle: Make, link: Make
) -> None:
    held = link("kona-1", "vehicle").own
    vehicle("kona-1", keys=link("kona-1", "vehicle"))
    own = Path(keys.for_cloud()["own"]).read_text()
    secrets = [line.split(": ")[1] for line in own.splitlines() if "_secret:" in line]
    secrets += [held.secrets()["curve_secret"], held.secrets()["sign_secret"]]
    process = Path(f"/proc/{cloud.process.pid}")
    seen = cloud.log.read_text()
    seen += (process / "cmdline").read_text() + (process / "environ").read_text()

    assert len(secrets) == 4
    assert [s for s in secrets if s.strip("'") in seen] == []


def _until_logged(cloud: Any, words: str, act: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while words not in cloud.log.read_text():
        assert time.monotonic() < deadline, cloud.log.read_text()
        act()
        time.sleep(0.05)


def _drained(analyst: Any, quiet_s: float, *, after: int) -> list[int]:
    """Return the numbers of late answers, above ``after``, until it was quiet for a while."""
    found = []
    while analyst.socket.poll(int(quiet_s * 1000)):
        number, _ = analyst.reply()
        if number >= after:
            found.append(number)
    return found


def test_hello_of_another_name_changes_nothing_for_its_owner(
    cloud: Any, vehicle: Make, link: Make
) -> None:
    kona = vehicle("kona-1", keys=link("kona-1", "vehicle"))
    other = vehicle("kona-2", keys=link("kona-2", "vehicle"))
    other.send(
        Hello(vehicle_id="kona-1", epoch="e9", agent_version="1", dbc_hash="d" * 64, model="fake")
    )
    other.beat()
    kona.beat()

    assert "may not speak for kona-1" in _eventually(cloud, "may not speak")


def _eventually(cloud: Any, words: str) -> str:
    _until_logged(cloud, words, lambda: None)
    return str(cloud.log.read_text())
