"""A vehicle's owner rules, and the analyst reads which rule it was: all of it real, with keys."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from user_lib.contract.messages import JobChanged
from user_lib.demo.local_fleet import LocalFleet, simulated
from user_lib.fleet import Fleet
from user_lib.wire.audit_reading import check, read

CODE = "def custom(xs):\n    return float(xs.sum())\n"
POLICY = {
    "signals": [
        {"rule": "driving", "match": ["Vehicle.Speed"], "may": "aggregates", "at_least": 20},
        {"rule": "cabin", "match": ["Vehicle.Cabin.*"], "may": "nothing"},
    ],
    "analysts": [
        {"rule": "few", "who": ["bo"], "budget": {"results_per_day": 2}},
        {"rule": "others", "who": ["*"]},
    ],
}
SPEC = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 50}}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    car = simulated("owned-1", "compact", seed=1, speed=10.0)
    car = replace(car, config={"policy": POLICY, "trust_clock": "always"})
    with LocalFleet(tmp_path_factory.mktemp("owned"), [car]) as local:
        local.start()
        with local.connect("ada") as fleet:
            local.wait_online(fleet)
        yield local


def refusal(fleet: Fleet, spec: dict[str, Any]) -> JobChanged:
    job = fleet.assign(spec)
    job.wait(timeout_s=60)
    return next(
        event.item
        for event in job.events_so_far()
        if isinstance(event.item, JobChanged) and event.item.rule
    )


@pytest.mark.parametrize(
    ("changes", "reason", "rule"),
    [
        ({"onboard": "max"}, "raw_forbidden", "driving"),
        ({"window": {"samples": 5}}, "too_few_samples", "driving"),
        ({"when": "Vehicle.Speed > 10"}, "raw_forbidden", "driving"),
        (
            {"signals": ["Vehicle.Cabin.HVAC.AmbientAirTemperature"]},
            "signal_forbidden",
            "cabin",
        ),
    ],
)
def test_a_refusal_reaches_the_analyst_with_the_name_of_the_rule(
    local: LocalFleet, changes: dict[str, Any], reason: str, rule: str
) -> None:
    with local.connect("ada") as fleet:
        job = fleet.assign({**SPEC, **changes})
        job.wait(timeout_s=60)
        told = refusal(fleet, {**SPEC, **changes})

        assert (told.reason, told.rule) == (reason, rule)
        assert f"rule {rule}" in " ".join(job.explain().split())


def test_an_iteration_over_too_few_samples_is_a_result_that_says_so(local: LocalFleet) -> None:
    with local.connect("ada") as fleet:
        job = fleet.assign({**SPEC, "window": {"seconds": 0.1}, "offboard": "collect"})
        job.wait(timeout_s=60)

        (result,) = job.results()
        assert not result.ok
        assert result.error.startswith("too_few_samples: rule driving")


def test_a_task_whose_budget_is_used_up_says_so_in_explain_and_in_the_audit_logs(
    local: LocalFleet,
) -> None:
    with local.connect("bo") as fleet:
        job = fleet.assign({**SPEC, "iterations": 2})
        assert job.wait(timeout_s=60) == "finished"
        waiting = fleet.assign({**SPEC, "iterations": "forever"})

        def told() -> bool:
            return "rule few: 2 results a day" in " ".join(waiting.explain().split())

        deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
        while not told():
            assert dt.datetime.now(dt.UTC) < deadline, waiting.explain()
        waiting.cancel()

        vehicle = list(read(local.folder / "owned-1.state" / "audit"))
        cloud = list(read(local.folder / "ledger.audit"))
    ended = next(e for e in vehicle if e.event == "ended" and e.job == job.id)
    assert (ended.who, ended.results) == ("bo", 2)
    assert ("held_back", "few") in [(e.event, e.rule) for e in vehicle if e.job == waiting.id]
    events = [e.event for e in cloud if e.job == job.id]
    assert events == ["submitted", "ended"]
    for log in (local.folder / "owned-1.state" / "audit", local.folder / "ledger.audit"):
        assert check(log).problems == ()


def test_code_that_has_expired_is_not_armed(local: LocalFleet) -> None:
    with local.connect("ada") as fleet:
        past = fleet.update_code(CODE, not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        assert "was not to begin after 2020-01-01" in past.refused["owned-1"]
        assert fleet.update_code(CODE).refused == {}
