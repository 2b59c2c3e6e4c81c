"""A real agent with keys against a scripted cloud that has the cloud's key and lies."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec.structs import replace
from zmq.auth.thread import ThreadAuthenticator

from user_lib.contract.code import version_of
from user_lib.contract.messages import (
    Assign,
    CodeReport,
    Heartbeat,
    Hello,
    Result,
    SetCode,
    Withdraw,
)
from user_lib.contract.signed import CancelOrder, Signed, SlotOrder, assignment_id_of, order_of
from user_lib.contract.signing import seal, verify_item
from user_lib.contract.validation import parse
from user_lib.demo.local_keys import LocalKeys
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.keys import Keys, create_keys, load_keys

pytestmark = pytest.mark.timeout(180)

SPEED = "Vehicle.Speed"
COUNT = "def custom(xs):\n    return len(xs)\n"
STEAL = "def custom(xs):\n    return -1\n"
EVE = create_keys("eve", "analyst")


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeys:
    return LocalKeys(tmp_path / "keys")


@pytest.fixture
def ada(keys: LocalKeys) -> Keys:
    return load_keys(Path(keys.for_user("ada")["own"]))


@pytest.fixture
def kona(keys: LocalKeys) -> Keys:
    return load_keys(Path(keys.for_vehicle("car-1")["own"]))


@pytest.fixture
def router(cloud: Any, keys: LocalKeys, kona: Keys) -> Iterator[Any]:
    """Return the scripted cloud, on the cloud's real key, letting everybody in."""
    own = load_keys(Path(keys.for_cloud()["own"]))
    authenticator = ThreadAuthenticator(cloud.context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
    cloud.close()
    cloud.open(own)
    yield cloud
    authenticator.stop()


@pytest.fixture
def agent(router: Any, keys: LocalKeys, start_agent: Any) -> Any:
    running = start_agent(keys=dict(keys.for_vehicle("car-1")))
    router.until(lambda: router.last(Hello))
    return running


def order(signer: Keys, name: str = "t", **spec: object) -> Assign:
    plain = {"signals": [SPEED], "onboard": "mean", "window": {"samples": 20}, "iterations": 2}
    parsed = parse({**plain, **spec})
    who = signer.card.name
    signed = seal(order_of(who, name, parsed, 1), signer.sign)
    return Assign(assignment_id=assignment_id_of(who, name), analyst=who, signed=signed)


def code(signer: Keys, generation: int, source: str) -> SetCode:
    version = version_of(source) if source else ""
    name = signer.card.name
    slot = SlotOrder(
        analyst=name, side="onboard", generation=generation, version=version, created_ns=1
    )
    signed = seal(slot, signer.sign)
    return SetCode(
        analyst=name, generation=generation, version=version, source=source, signed=signed
    )


def test_signed_orders_run_and_results_are_signed(
    router: Any, agent: Any, ada: Keys, kona: Keys
) -> None:
    good = order(ada, vehicles=["car-1"])
    router.send(good)

    router.until(lambda: len(router.results(good.assignment_id)) == 2)
    for result in router.results(good.assignment_id):
        assert verify_item(result, [kona.card]) == kona.card


def test_forged_assignments_are_refused_and_real_ones_go_on(
    router: Any, agent: Any, ada: Keys
) -> None:
    real = order(ada, iterations="forever")
    forged = [
        order(EVE, "1"),
        replace(order(EVE, "2"), analyst="ada"),
        replace(order(ada, "3"), assignment_id="job-again"),
        replace(order(ada, "4"), signed=None, spec=parse({"signals": [SPEED], "onboard": "mean",
                                                           "window": {"samples": 5}})),
        order(ada, "5", vehicles=["car-2"]),
    ]  # fmt: skip
    router.send(real, *forged)

    for bad in forged:
        ended = router.until(lambda bad=bad: router.end(bad.assignment_id))
        assert ended.state == "rejected"
        assert ended.reason in ("untrusted", "bad_signature", "unsigned")
    router.until(lambda: len(router.results(real.assignment_id)) >= 3)
    assert all(not router.results(bad.assignment_id) for bad in forged)


def test_a_refused_forgery_does_not_keep_the_real_order_out(
    router: Any, agent: Any, ada: Keys
) -> None:
    real = order(ada)
    router.send(replace(real, signed=order(EVE).signed))
    assert router.until(lambda: router.end(real.assignment_id)).reason == "bad_signature"

    router.send(real)

    router.until(lambda: router.results(real.assignment_id))


def test_an_assignment_that_ended_is_not_begun_again_even_after_a_restart(
    router: Any, agent: Any, ada: Keys, keys: LocalKeys, start_agent: Any
) -> None:
    done = order(ada)
    router.send(done)
    router.until(lambda: router.end(done.assignment_id))
    before = router.results(done.assignment_id)
    agent.kill()
    router.heard.clear()
    start_agent(keys=dict(keys.for_vehicle("car-1")))
    router.until(lambda: router.last(Hello))
    router.delivered.clear()
    later = order(ada, "later")
    router.send(done, later)
    router.until(lambda: router.end(later.assignment_id))

    # what was not acknowledged before the kill is sent again, but nothing is computed anew
    assert all(r in before for r in router.results(done.assignment_id))


def test_a_task_ends_by_its_analysts_word_or_says_that_it_was_the_clouds(
    router: Any, agent: Any, ada: Keys, kona: Keys
) -> None:
    jobs = [order(ada, name, iterations="forever") for name in ("1", "2")]
    router.send(*jobs)
    router.until(lambda: all(router.results(j.assignment_id) for j in jobs))
    first, second = (j.assignment_id for j in jobs)

    router.send(
        Withdraw(assignment_id=first, reason="cancelled"),
        Withdraw(assignment_id=first, reason="cancelled", signed=cancelled(EVE, first)),
        Withdraw(assignment_id=first, reason="cancelled", signed=cancelled(ada, second)),
        Withdraw(assignment_id=second, reason="its time is over"),
    )
    taken = router.until(lambda: router.end(second))
    seen = len(router.results(first))
    router.until(lambda: len(router.results(first)) > seen + 3)
    assert router.end(first) is None
    router.until(lambda: router.last(Heartbeat).stats["orders.refused"] == 3)
    router.send(Withdraw(assignment_id=first, reason="cancelled", signed=cancelled(ada, first)))
    asked = router.until(lambda: router.end(first))

    assert (taken.state, taken.reason) == ("cancelled", "withdrawn")
    assert taken.detail == "its time is over"
    assert (asked.state, asked.reason) == ("cancelled", "cancelled")
    for ended in (taken, asked):
        assert verify_item(ended, [kona.card]) == kona.card
    serials = [r.serial for r in router.results(first)]
    assert sorted(set(serials)) == list(range(1, asked.iterations + 1))


def cancelled(signer: Keys, job: str) -> Signed:
    return seal(CancelOrder(analyst=signer.card.name, assignment_id=job, created_ns=1), signer.sign)


def test_forged_or_old_code_never_takes_over(
    router: Any, agent: Any, ada: Keys, keys: LocalKeys, start_agent: Any
) -> None:
    job = order(ada, onboard="custom", iterations="forever")
    router.send(code(ada, 5, COUNT), job)
    router.until(lambda: router.results(job.assignment_id))
    fresh = code(ada, 6, COUNT + "# newer\n")
    router.send(fresh)
    router.until(lambda: any(r.generation == 6 for r in router.results(job.assignment_id)))
    forged = [
        code(EVE, 7, STEAL),
        replace(code(EVE, 7, STEAL), analyst="ada"),
        replace(code(ada, 7, COUNT), source=STEAL, version=version_of(STEAL)),
        replace(code(ada, 7, COUNT), source=STEAL),
        replace(code(ada, 4, COUNT), generation=9),
        replace(code(ada, 7, COUNT), source=""),
        code(ada, 5, COUNT),
        code(ada, 1, STEAL),
    ]
    router.heard.clear()
    router.send(*forged)
    router.until(lambda: [r for r in router.all(CodeReport) if r.state == "refused"])
    agent.kill()
    start_agent(keys=dict(keys.for_vehicle("car-1")))
    router.heard.clear()
    router.until(lambda: router.last(Hello))
    router.send(*forged)
    router.delivered.clear()
    router.until(lambda: len(router.results(job.assignment_id)) >= 3)

    results: list[Result] = router.results(job.assignment_id)
    assert {r.value for r in results if r.status == "ok"} == {20}
    held = router.until(lambda: [m for m in router.last(Heartbeat).code if m.analyst == "ada"])
    assert held[0].version != version_of(STEAL)


def test_tasks_end_when_the_owner_no_longer_trusts_their_analyst(
    router: Any, agent: Any, ada: Keys, keys: LocalKeys
) -> None:
    job = order(ada, iterations="forever")
    router.send(job)
    router.until(lambda: router.results(job.assignment_id))

    revoke("ada", Path(keys.for_vehicle("car-1")["analysts"]))

    ended = router.until(lambda: router.end(job.assignment_id))
    assert ended.reason == "untrusted"
    assert "no longer trusts ada" in ended.detail


def test_an_analyst_whom_the_owner_trusts_now_gets_in_without_a_restart(
    router: Any, agent: Any, keys: LocalKeys
) -> None:
    enrol(EVE.card, Path(keys.for_vehicle("car-1")["analysts"]))
    job = order(EVE)
    router.send(job)

    router.until(lambda: router.results(job.assignment_id))


def test_a_flood_of_forgeries_costs_a_bounded_number_of_answers(
    router: Any, agent: Any, ada: Keys
) -> None:
    signed = order(EVE).signed
    for i in range(2000):
        router.send(Assign(assignment_id=f"job-{i}", analyst="eve", signed=signed))
        if i % 100 == 0:
            time.sleep(0.01)
    real = order(ada)
    router.send(real)
    router.until(lambda: router.end(real.assignment_id), timeout_s=60)

    assert router.results(real.assignment_id)
    refused = [i for i in router.delivered.values() if getattr(i, "reason", "") == "untrusted"]
    assert 0 < len(refused) <= 256
