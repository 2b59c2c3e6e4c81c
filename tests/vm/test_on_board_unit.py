"""The Debian package on a machine with systemd and vcan, in one boot of a guest: judged here."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.vm import drive
from tests.vm.lab import boot

pytestmark = [pytest.mark.vm, pytest.mark.vcan, pytest.mark.timeout(1200)]

HARDENED = 1.8
FLAT_MB = 8.0


@pytest.fixture(scope="module")
def folder(job: Path) -> Path:
    drive.prepare(job)
    return job


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    done = boot(folder, "python3 on_board.py", timeout_s=900)
    assert done.code == 0, str(done)
    return done.found


def test_the_units_are_sound_and_hardened(found: dict[str, Any]) -> None:
    assert found["units"]["verified"] == ""
    scores = found["units"]["scores"]
    assert scores["oodida-agent.service"] <= HARDENED
    assert scores["oodida-cloud.service"] <= HARDENED


def test_results_of_the_live_bus_equal_those_of_its_log_decoded_offline(
    found: dict[str, Any], folder: Path
) -> None:
    """Every window of the whole drive, in both versions of the code, against cantools."""
    driven, plan = found["drive"], json.loads((folder / "plan.json").read_text())
    first, second = driven["versions"]
    assert driven["sandbox"] == "full"
    for name in (plan["lead"], plan["beside"]):
        expected = drive.values(folder, name)
        got: list[float] = []
        for _, version, lost, value in driven["results"]:
            assert lost == 0
            got += value[name] if version == first else [-x for x in value[name]]
        assert got == pytest.approx(expected[: len(got)], abs=1e-9)
        assert len(got) > len(expected) - plan["samples"]
    order = [version for _, version, _, _ in driven["results"]]
    assert order == sorted(order, key=[first, second].index)
    assert all(b[0] - a[0] == 1 for a, b in pairwise(driven["results"]))


def test_an_interface_that_goes_is_told_and_one_that_comes_is_used(found: dict[str, Any]) -> None:
    seen = found["interfaces"]
    assert "1 interfaces are away" in seen["told"][0]
    assert "1 away" in seen["table"]
    assert seen["reconnects"] >= 2
    gone = [x for x in seen["logged"] if "waiting for it" in x]
    back = [x for x in seen["logged"] if "is up" in x]
    assert (len(gone), len(back)) == (2, 2)
    told = seen["in_results"]
    assert sum(away_ms for _, away_ms, _ in told) >= seen["away_at_least_ms"]
    assert all(away_ms <= window_ms + 1 for _, away_ms, window_ms in told)
    assert seen["last_away_ms"] == 0


def test_fd_and_error_frames_arrive_and_a_flood_is_counted_and_told(found: dict[str, Any]) -> None:
    seen = found["frames"]
    assert seen["fd"]["Wide.Far"]["values"] == [1234.0]
    assert seen["bus_offs"] == 1
    assert seen["lost"] > 0
    assert seen["in_result"] > 0
    for words in ("frames lost", "2 error frames", "1 times bus-off"):
        assert words in seen["table"]
    assert any("vcan1" in x and "frames lost" in x for x in seen["logged"])
    assert any("bus-off" in x for x in seen["logged"])


def test_faults_of_a_replay_are_seen_by_the_vehicle(found: dict[str, Any]) -> None:
    value = found["faulty"]["worst"]
    assert value["@message.EngineData.counter_errors"] == 1
    assert value["@message.EngineData.gap_ms"] > 500
    assert found["faulty"]["played"]["refused"] == 0


def test_a_hungry_task_is_killed_and_the_agent_does_not_grow(found: dict[str, Any]) -> None:
    answers = found["hunger"]["answers"]
    for status, said in answers.values():
        assert status in ("killed", "error")
        assert "memory" in said
    assert answers["cgroup"][0] == "killed"
    before, after = found["hunger"]["rss_mb"]
    assert after - before < FLAT_MB


def test_check_finds_the_vehicle_fit(found: dict[str, Any]) -> None:
    levels = {(one["name"], one["level"]) for one in found["check"]}
    told = {one["name"]: one["found"] for one in found["check"]}
    assert {("sandbox", "ok"), ("keys", "ok"), ("cloud", "ok"), ("disk", "ok")} <= levels
    assert told["sandbox"].startswith("level full, in a service of its own")
    assert told["tasks"] == "each in a cgroup of its own: memory, pids, cpu"
    assert not [one for one in found["check"] if one["level"] == "fail"]


def test_metrics_are_served(found: dict[str, Any]) -> None:
    metrics = found["metrics"]
    assert metrics["oodida_agent_frames_total"] > 0
    assert metrics["oodida_agent_frames_dropped_total"] > 0
    assert metrics['oodida_agent_link{state="up"}'] == 1
    for bus in ("can0", "can1"):
        assert metrics[f'oodida_agent_bus_frames_total{{bus="{bus}"}}'] > 0


def test_the_watchdog_restarts_an_agent_whose_main_loop_hangs(found: dict[str, Any]) -> None:
    assert found["hang"] == {"watchdog": True, "traceback": True}


def test_the_watchdog_restarts_an_agent_whose_pump_hangs_alone(found: dict[str, Any]) -> None:
    assert found["pump"]["watchdog"]
    assert found["pump"]["lag_s"] > 8  # which the main loop, that goes on, could still tell


def test_a_reload_ends_only_what_can_no_longer_run(found: dict[str, Any]) -> None:
    seen = found["reload"]
    assert seen["ended"].startswith("failed: unknown_signal")
    assert seen["refused"].startswith("rejected")
    assert "max" in seen["refused"]
    assert seen["same_process"]


def test_rotated_keys_take_over_by_a_reload(found: dict[str, Any]) -> None:
    assert found["rotate"]["rotated"]
