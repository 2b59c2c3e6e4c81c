"""`oodida doctor` on real processes: each link of the chain is broken for real, and named."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dbc
from hw import write_candump
from tests.system.doctor import eventually
from user_lib.contract.frames import FrameBatch
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated

pytestmark = pytest.mark.timeout(180)

FILES = Path(dbc.__file__).with_name("files")
SPEED = {"signals": ["Vehicle.Speed"], "window": {"samples": 10}, "onboard": "mean"}
LEASE_S = 30.0
"""Longer than a test holds a process: it is not offline before anyone has asked."""


def silent(folder: Path) -> LocalVehicle:
    """A car whose bus nobody sends on."""
    return _car(folder, "silent", {"kind": "can", "interface": "virtual", "channel": "can0"})


def foreign(folder: Path) -> LocalVehicle:
    """A car on whose bus there is nothing that its databases know."""
    frames = FrameBatch.zeros(200)
    frames.time_ns[:] = range(10**18, 10**18 + 200 * 10**7, 10**7)
    frames.can_id[:] = 0x7A0
    frames.length[:] = 8
    write_candump(folder / "foreign.log", [frames], ["can0"])
    return _car(
        folder, "foreign", {"kind": "replay", "log": str(folder / "foreign.log"), "loop": True}
    )


def _car(folder: Path, name: str, source: dict[str, Any]) -> LocalVehicle:
    profile = folder / f"{name}.yaml"
    channels = {"can0": {"databases": [str(FILES / "compact_powertrain.dbc")]}}
    mapping = str(FILES / "compact.vspec")
    profile.write_text(yaml.safe_dump({"channels": channels, "mapping": mapping}))
    return LocalVehicle(f"{name}-1", str(profile), [source])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    folder = tmp_path_factory.mktemp("doctor")
    driven = simulated("driven-1", "compact", seed=3, speed=5.0)
    policy = {"policy": {"methods": ["mean", "custom"]}}
    driven = LocalVehicle("driven-1", driven.profile, driven.sources, policy)
    cars = [driven, silent(folder), foreign(folder)]
    with LocalFleet(folder, cars, cloud_config={"lease_s": LEASE_S}) as local:
        local.start()
        yield local


@pytest.fixture(scope="module")
def fleet(local: LocalFleet) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        local.wait_online(fleet)
        yield fleet


def test_a_chain_that_holds_is_ok_to_its_end(fleet: Any, doctor: Any) -> None:
    job = fleet.assign(SPEED, vehicles=["driven-1"])
    job.wait(timeout_s=60)

    links = doctor.until(job.id, "")

    assert links["acknowledged"].found == "1 results in the ledger"
    assert all(link.holds == "yes" for link in links.values())
    assert "=> nothing is broken: the job is done" in doctor.text(job.id)


def test_a_vehicle_that_does_not_answer_is_not_assigned(
    local: LocalFleet, fleet: Any, doctor: Any
) -> None:
    os.kill(local.pid("driven-1"), signal.SIGSTOP)
    try:
        job = fleet.assign(SPEED, vehicles=["driven-1"])
        links = doctor.links(job.id)
    finally:
        os.kill(local.pid("driven-1"), signal.SIGCONT)

    assert doctor.broken(links) == "assigned"
    job.wait(timeout_s=60)


@pytest.mark.parametrize(
    ("name", "spec", "vehicle", "words"),
    [
        ("accepted", {"onboard": "max"}, "driven-1", "max"),
        ("accepted", {"signals": ["Vehicle.Sped"]}, "driven-1", "Vehicle.Speed"),
        ("frames seen", {}, "silent-1", "0 frames"),
        ("decoded", {}, "foreign-1", "0%"),
    ],
)
def test_the_first_open_link_is_named_with_its_reason(
    fleet: Any, doctor: Any, name: str, spec: dict[str, Any], vehicle: str, words: str
) -> None:
    job = fleet.assign({**SPEED, **spec}, vehicles=[vehicle])

    links = doctor.until(job.id, name)

    assert words in links[name].found
    assert links[name].advice
    job.cancel()


def test_a_condition_that_is_not_true_yet_is_waited_for(fleet: Any, doctor: Any) -> None:
    job = fleet.assign({**SPEED, "when": "Vehicle.Speed > 900"}, vehicles=["driven-1"])
    eventually(lambda: "0 triggers" in doctor.links(job.id)["condition true"].found)

    text = doctor.text(job.id)

    assert doctor.status == 0
    assert "=> nothing is broken; it waits at: condition true" in text
    assert "to do: wait; " in text
    job.cancel()
    assert "=> nothing is broken: the job was cancelled" in doctor.text(job.id)


def test_code_that_fails_is_not_computed_and_its_error_is_told(fleet: Any, doctor: Any) -> None:
    fleet.update_code("def custom(xs):\n    return 1 / 0\n")
    job = fleet.assign({**SPEED, "onboard": "custom"}, vehicles=["driven-1"])

    links = doctor.until(job.id, "computed")

    assert "ZeroDivisionError" in links["computed"].found
    assert "oodida code try" in links["computed"].advice
    job.cancel()


def test_a_job_whose_code_failed_for_good_is_not_said_to_go_on(fleet: Any, doctor: Any) -> None:
    fleet.update_code("def custom(xs):\n    return 1 / 0\n")
    job = fleet.assign({**SPEED, "onboard": "custom", "iterations": 9}, vehicles=["driven-1"])
    assert job.wait(timeout_s=60) == "failed"

    broken = doctor.until(job.id, "computed")["computed"]

    assert doctor.status == 1
    assert "ZeroDivisionError" in broken.found
    assert broken.advice.endswith("submit it again: this one has ended")


def test_a_vehicle_that_is_off_is_not_online(local: LocalFleet, fleet: Any, doctor: Any) -> None:
    job = fleet.assign(SPEED, vehicles=["silent-1"])
    local.stop("silent-1")

    assert "oodida-agent" in doctor.until(job.id, "online")["online"].advice


def test_after_the_link_that_is_broken_the_rest_is_one_line(fleet: Any, doctor: Any) -> None:
    job = fleet.assign({**SPEED, "onboard": "max"}, vehicles=["driven-1"])
    doctor.until(job.id, "accepted")

    text = doctor.text(job.id)

    lines = text.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == ["online", "assigned", "accepted"]
    assert lines[4].split()[:3] == ["then", "signal", "known"]
    assert lines[5].startswith("  => it ends at: accepted")
    assert lines[6].startswith("     to do: change the assignment")
    assert len(lines) == 7
