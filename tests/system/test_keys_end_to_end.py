"""The whole platform with keys, which every other test here uses too; and once without."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from user_lib.contract.errors import LinkRefused
from user_lib.demo.local_fleet import LocalFleet, simulated
from user_lib.fleet import connect
from user_lib.wire.keys import create_keys, write_keys

SPEC = {
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 20},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": 1,
}


def test_an_insecure_fleet_says_so_and_works_on_this_machine(tmp_path: Path) -> None:
    with LocalFleet(
        tmp_path, [simulated("c-1", "compact", seed=1, speed=10.0)], insecure=True
    ) as local:
        local.start()
        with local.connect("ada") as fleet:
            local.wait_online(fleet)
            job = fleet.assign(SPEC)
            assert job.wait(timeout_s=60) == "finished"
        assert "INSECURE" in (tmp_path / "cloud.log").read_text()
        assert "INSECURE" in (tmp_path / "c-1.log").read_text()


def test_a_stranger_is_told_that_the_cloud_does_not_know_the_key(
    simulated_world: Any, tmp_path: Path
) -> None:
    local = simulated_world.local
    own = write_keys(create_keys("mallory", "analyst"), tmp_path)
    known = local.keys.for_user("tester")

    with pytest.raises(LinkRefused, match="does not know the key of mallory"):
        connect(local.endpoint, keys={"own": own, "cloud": known["cloud"]})
    with pytest.raises(LinkRefused, match="requires keys"):
        connect(local.endpoint, "tester", insecure=True)


def test_an_operator_sees_the_fleet_on_the_command_line_but_no_jobs(simulated_world: Any) -> None:
    local = simulated_world.local
    paths = local.keys.for_user("oscar", "operator")
    options = ["--cloud", local.endpoint, "--key", paths["own"], "--cloud-key", paths["cloud"]]

    def oodida(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "user_lib.cli", *words, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert "compact-1" in oodida("vehicles").stdout
    refused = oodida("jobs")
    assert refused.returncode == 1
    assert "not for the role operator" in refused.stderr


def test_a_job_of_the_real_platform_verifies_from_the_order_to_the_aggregates(
    simulated_world: Any,
) -> None:
    with simulated_world.local.connect("vera") as fleet:
        fleet.update_code("def custom(xs):\n    return float(len(xs))\n")
        built_in = fleet.assign({**SPEC, "iterations": 2})
        own = fleet.assign({**SPEC, "onboard": "custom", "offboard": "collect"})
        for job in (built_in, own):
            assert job.wait(timeout_s=60) == "finished"
            verified = job.verify()
            assert verified.ok, verified
            assert verified.results == len(job.results()) > 0
            assert verified.aggregates == len(job.closed_rounds())


def test_an_ab_test_a_rollback_and_a_removal_are_signed_too(simulated_world: Any) -> None:
    with simulated_world.local.connect("abby") as fleet:
        fleet.update_code("def custom(xs):\n    return 1\n")
        tested = fleet.update_code("def custom(xs):\n    return 2\n", vehicles=["wagon-1"])
        assert tested.refused == {}
        job = fleet.assign({**SPEC, "onboard": "custom", "offboard": "collect"})
        assert job.wait(timeout_s=60) == "finished"
        assert {r.vehicle: r.value for r in job.results()}["wagon-1"] == 2
        assert job.verify().ok
        assert fleet.rollback_code().refused == {}
        assert fleet.remove_code().refused == {}
        assert fleet.code_status().onboard.version == ""
