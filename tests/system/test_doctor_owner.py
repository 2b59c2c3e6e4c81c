"""What an owner's rules do to a job, as its analyst reads it in `explain` and `oodida doctor`."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.doctor import eventually
from user_lib.cli import main
from user_lib.demo.local_fleet import LocalFleet, simulated

pytestmark = pytest.mark.timeout(180)

SPEC = {"signals": ["Vehicle.Speed"], "onboard": "collect", "window": {"samples": 50}}
OPEN: dict[str, Any] = {"otherwise": "raw"}
FORBID = {"signals": [{"rule": "no-speed", "match": ["Vehicle.Speed"], "may": "nothing"}]}
FEW = {"analysts": [{"rule": "few", "who": ["*"], "budget": {"results_per_day": 2}}]}


class Owner:
    """Of a vehicle; writes rules and has its agent read them."""

    def __init__(self, local: LocalFleet) -> None:
        self.local, self.file = local, local.folder / "policy.yaml"

    def rules(self, rules: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump(rules))
        os.kill(self.local.pid("owned-1"), signal.SIGHUP)

    def until_logged(self, words: str) -> None:
        eventually(lambda: words in self.local.log_tail("owned-1", 50))


def text_of(job: Any) -> str:
    return " ".join(job.explain().split())


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFleet]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump(OPEN))
    car = replace(
        simulated("owned-1", "compact", seed=1, speed=4.0), config={"policy_file": str(policy)}
    )
    with LocalFleet(tmp_path, [car]) as local:
        local.start()
        yield local


@pytest.fixture
def fleet(local: LocalFleet) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        local.wait_online(fleet)
        yield fleet


@pytest.fixture
def owner(local: LocalFleet) -> Owner:
    return Owner(local)


def test_results_that_a_new_rule_keeps_are_told_with_its_name(
    local: LocalFleet, fleet: Any, owner: Owner, doctor: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    job = fleet.assign({**SPEC, "iterations": 8})
    eventually(lambda: job.info.results)
    local.stop("cloud")
    owner.until_logged(f"task {job.id}: finished")
    owner.rules(FORBID)
    owner.until_logged("results here")
    local.start_cloud()
    local.wait_online(fleet)
    eventually(lambda: "results lost" in text_of(job))

    lost = 8 - job.info.results
    told = f"{lost} results lost: rule no-speed of the vehicle's owner keeps them there"
    assert told in text_of(job)
    doctor.text(job.id)
    assert doctor.status == 1
    sent = doctor.links(job.id)["sent"]
    assert (sent.holds, sent.found) == ("no", told)
    assert "owner" in sent.advice
    capfd.readouterr()
    assert main(["results", job.id]) == 0
    assert f"owned-1: {lost} results were dropped (rule no-speed)" in capfd.readouterr().out


def test_a_job_that_a_new_rule_ended_is_broken_by_that_rule(
    fleet: Any, owner: Owner, doctor: Any
) -> None:
    job = fleet.assign({**SPEC, "iterations": "forever"})
    eventually(lambda: job.info.results)

    owner.rules(FORBID)
    assert job.wait(timeout_s=60) == "failed"

    text = doctor.text(job.id)
    assert doctor.status == 1
    assert "=> it ends at: accepted (ended by rule no-speed; " in text
    assert "to do: ask the owner of the vehicle" in text


def test_a_job_that_used_up_its_owners_budget_waits_for_that(
    fleet: Any, owner: Owner, doctor: Any
) -> None:
    owner.rules(FEW)
    owner.until_logged("few")
    job = fleet.assign({**SPEC, "iterations": "forever"})
    eventually(lambda: "are used up" in text_of(job))

    text = doctor.text(job.id)

    assert doctor.status == 0
    assert "=> nothing is broken; it waits at: computed (for the owner's budget it waits: " in text
    assert "goes on in 24.0 h" in text
    assert "waits for the owner's budget" in text_of(job)
    job.cancel()
    assert "=> nothing is broken: the job was cancelled" in doctor.text(job.id)
