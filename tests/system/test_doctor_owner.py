"""What an owner's rules do to a job, as its analyst reads it in `explain` and `oodida doctor`."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
    assert told in doctor.links(job.id)["sent"].found
    capfd.readouterr()
    assert main(["results", job.id]) == 0
    assert f"owned-1: {lost} results were dropped (rule no-speed)" in capfd.readouterr().out
