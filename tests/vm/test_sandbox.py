"""The sandbox on another kernel, with an older Landlock, and as the service manager runs it."""

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def found(run_in_guest: Any) -> dict[str, Any]:
    done = run_in_guest("sandbox_guest.py", timeout_s=1200)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    parts: dict[str, Any] = json.loads(lines[0].removeprefix("FOUND "))
    return parts


def test_the_guest_has_an_older_landlock_and_every_layer(found: dict[str, Any]) -> None:
    held = {name: ok for name, ok, _ in found["layers"]}

    assert 1 <= found["landlock"] < 7
    assert held["Landlock"]
    assert held["user and process namespaces"]
    assert held["system call filter"]


@pytest.mark.parametrize("level", ["full", "no-namespaces"])
def test_hostile_code_meets_a_wall_on_an_older_kernel(found: dict[str, Any], level: str) -> None:
    assert found[level] == []


def test_the_packaged_service_bounds_each_worker_by_a_cgroup(found: dict[str, Any]) -> None:
    service = found["service"]

    assert service["problem"] == ""
    assert service["bounded"] == ["memory", "pids", "cpu"]
    assert service["values"] == list(range(10))
    assert 1 <= service["leaves"] <= 4


def test_processes_that_fill_their_cgroup_together_are_killed_for_memory(
    found: dict[str, Any],
) -> None:
    service = found["service"]

    assert service["hog"][:2] == ["killed", "memory"], service["hog"]
    assert service["hog"][2].startswith("memory limit 32 MB reached")
    assert (service["after"], service["restarts"]) == (1, 0)
