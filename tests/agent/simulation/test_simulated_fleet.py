"""A fleet of light vehicles against a real cloud: jobs, code, a killed cloud, a clean end."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from user_lib.contract.states import JobState
from user_lib.demo.local_fleet import LocalFleet

ROOT = Path(__file__).resolve().parents[3]
VEHICLES = 20
MEAN = {"signals": ["Vehicle.Speed"], "window": {"seconds": 1}, "onboard": "mean"}

pytestmark = pytest.mark.timeout(120)


COMMAND = [sys.executable, "-m", "agent", "--simulate-fleet", str(VEHICLES)]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path, []) as local:
        local.start()
        yield local


@pytest.fixture
def keys(local: LocalFleet) -> list[str]:
    """What the simulator is given; the vehicles' cards are where the cloud looks for them."""
    assert local.keys is not None
    files = local.keys.for_vehicle("simulated")
    authorized = local.keys.for_cloud()["authorized"]
    write = [*COMMAND, "--key", files["own"], "--write-cards", authorized]
    subprocess.run(write, cwd=ROOT, check=True)
    own, cloud, analysts = files["own"], files["cloud"], files["analysts"]
    return ["--key", own, "--cloud-key", cloud, "--analysts", analysts]


@pytest.fixture
def simulator(local: LocalFleet, keys: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--speed", "5", "--cloud", local.endpoint, *keys],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def fleet(local: LocalFleet, simulator: object) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        eventually(lambda: sum(v.online for v in fleet.vehicles()) == VEHICLES)
        yield fleet


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_simulated_vehicle_works_and_takes_code(fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations=3)
    slot = fleet.update_code("def custom(xs):\n    return 1\n")

    assert job.wait(timeout_s=60) is JobState.FINISHED
    assert [len(r.vehicles) for r in job.closed_rounds()] == [VEHICLES] * 3
    assert {s.state for s in slot.vehicles} == {"armed"}


def test_every_result_is_signed_by_a_vehicle_of_its_own(fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations=2)
    job.wait(timeout_s=60)

    verdict = job.verify()
    assert verdict.ok, verdict
    assert verdict.results == 2 * VEHICLES


def test_without_keys_nothing_is_simulated_unless_it_is_said() -> None:
    run = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 2
    assert "insecure" in run.stderr


def test_a_fleet_that_nobody_answers_says_what_may_be_wrong() -> None:
    command = [*COMMAND, "--insecure", "--cloud", "tcp://127.0.0.1:9"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "got through" in line)
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0
    assert "--write-cards" in said
    assert "tcp://127.0.0.1:9" in said


def test_custom_code_is_refused_saying_so(fleet: Any) -> None:
    fleet.update_code("def custom(xs):\n    return 1\n")
    job = fleet.assign(MEAN, onboard="custom")

    assert job.wait(timeout_s=60) is JobState.FAILED
    assert {r.receipt.status for r in job.results()} == {"refused"}
    assert "built-in methods only" in job.results()[0].error


def test_a_killed_cloud_gets_what_the_fleet_did_meanwhile(local: Any, fleet: Any) -> None:
    job = fleet.assign(MEAN, iterations=20)
    next(job.rounds())
    local.kill("cloud")
    local.start_cloud()

    assert job.wait(timeout_s=60) is JobState.FINISHED
    seen = [(r.vehicle, r.iteration) for r in job.results()]
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 20 * VEHICLES


def test_it_ends_when_asked(fleet: Any, simulator: Any) -> None:
    simulator.send_signal(signal.SIGTERM)

    _, errors = simulator.communicate(timeout=20)
    assert simulator.returncode == 0, errors
    eventually(lambda: not any(v.online for v in fleet.vehicles()))
