"""What a running agent puts in its audit log, over kills, and what `oodida audit` makes of it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from user_lib.contract.code import version_of
from user_lib.contract.messages import Assign, CodeReport, Hello
from user_lib.contract.validation import parse
from user_lib.wire.audit_entry import EVENTS
from user_lib.wire.audit_reading import check, read

ROOT = Path(__file__).parents[2]
CODE = "def custom(xs):\n    return float(xs.sum())\n"


class Vehicle:
    def __init__(self, folder: Path, cloud: Any, start: Callable[..., Any]) -> None:
        self.folder, self.cloud = folder, cloud
        self.rules({"forbidden_signals": ["Vehicle.Cabin.*"], "budget": {"results_per_day": 4}})
        self.agent = start(policy_file="policy.yaml")
        cloud.until(lambda: cloud.last(Hello))
        self.log = folder / "state" / "audit"

    def rules(self, plain: dict[str, Any]) -> None:
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(plain))

    def assign(self, name: str, analyst: str = "ada", **spec: Any) -> None:
        plain = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"seconds": 1}}
        assignment = parse({**plain, **spec})
        self.cloud.send(Assign(assignment_id=name, analyst=analyst, spec=assignment))

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for an entry, and return it."""

        def found() -> dict[str, Any] | None:
            for entry in self.entries():
                if entry["event"] == event and fields.items() <= entry.items():
                    return entry
            return None

        entry: dict[str, Any] = self.cloud.until(found)
        return entry

    def entries(self) -> list[dict[str, Any]]:
        said = self.cli("--json")
        found = [json.loads(line) for line in said.stdout.splitlines()]
        assert {entry["event"] for entry in found} <= EVENTS  # else nobody can ask for them
        return found

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "user_lib.cli", "audit", str(self.folder / "state")]
        return subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False, cwd=ROOT
        )


@pytest.fixture
def vehicle(tmp_path: Path, cloud: Any, start_agent: Callable[..., Any]) -> Vehicle:
    return Vehicle(tmp_path, cloud, start_agent)


def test_the_log_tells_who_had_what_computed_and_how_much_left(
    vehicle: Vehicle, set_code: Callable[..., Any]
) -> None:
    vehicle.cloud.send(set_code(1, CODE, "bo"))
    vehicle.cloud.until(lambda: vehicle.cloud.last(CodeReport))
    vehicle.assign("job-1", iterations=2)
    vehicle.cloud.until(lambda: vehicle.cloud.end("job-1"))
    vehicle.assign("job-2", "bo", onboard="custom", iterations=1)
    vehicle.cloud.until(lambda: vehicle.cloud.end("job-2"))
    vehicle.assign("job-3", signals=["Vehicle.Cabin.HVAC.AmbientAirTemperature"])
    vehicle.cloud.until(lambda: vehicle.cloud.end("job-3"))

    armed = vehicle.until("code_armed")
    assert (armed["who"], armed["code"]) == ("bo", version_of(CODE))
    accepted = vehicle.until("accepted", job="job-2")
    assert (accepted["who"], accepted["code"]) == ("bo", version_of(CODE))
    assert accepted["signals"] == ["Vehicle.Speed"]
    ended = vehicle.until("ended", job="job-1")
    assert (ended["who"], ended["results"], ended["reason"]) == ("ada", 2, "iterations")
    assert ended["bytes"] > 200
    refused = vehicle.until("refused", job="job-3")
    assert (refused["rule"], refused["reason"]) == ("forbidden_signals", "signal_forbidden")
    shown = vehicle.cli("--analyst", "bo", "--event", "accepted").stdout
    assert "who=bo job=job-2 method=custom signals=Vehicle.Speed" in shown
    assert "ada" not in shown


def test_the_totals_of_a_task_outlive_a_kill_and_the_chain_holds(vehicle: Vehicle) -> None:
    vehicle.assign("job-1", iterations=4)
    vehicle.cloud.until(lambda: len(vehicle.cloud.results("job-1")) >= 2)

    vehicle.agent.kill()
    vehicle.agent.start()
    vehicle.cloud.until(lambda: vehicle.cloud.end("job-1"))

    assert vehicle.until("ended", job="job-1")["results"] == 4
    assert [e["event"] for e in vehicle.entries()].count("started") == 2
    found = check(vehicle.log)
    assert found.problems == ()
    said = vehicle.cli("--check", "--noted", found.chain)
    assert (said.returncode, "unbroken" in said.stdout) == (0, True)


def test_a_changed_log_is_exit_code_1_and_names_the_line(vehicle: Vehicle) -> None:
    vehicle.assign("job-1", iterations=1)
    vehicle.until("ended", job="job-1")
    assert vehicle.agent.stop() == 0
    current = vehicle.log / "audit.jsonl"
    current.write_text(current.read_text().replace('"who":"ada"', '"who":"bo"'))

    said = vehicle.cli("--check")

    assert said.returncode == 1
    assert "entry 2 is not chained to the one before" in said.stdout


def test_a_log_that_was_shortened_while_the_agent_was_stopped_is_exit_code_1(
    vehicle: Vehicle,
) -> None:
    vehicle.assign("job-1", iterations=1)
    vehicle.until("ended", job="job-1")
    assert vehicle.agent.stop() == 0
    current = vehicle.log / "audit.jsonl"
    lines = current.read_bytes().splitlines(keepends=True)
    current.write_bytes(b"".join(lines[:-1]))
    assert vehicle.cli("--check").returncode == 0

    vehicle.agent.start()
    vehicle.until("tail_missing")

    said = vehicle.cli("--check")
    assert said.returncode == 1
    assert f"entries {len(lines)} to {len(lines)} were removed" in said.stdout


def test_new_rules_and_refused_ones_are_in_the_log_by_hash(vehicle: Vehicle) -> None:
    before = vehicle.until("started")["policy"]

    vehicle.rules({"otherwise": "nothin"})
    vehicle.agent.process.send_signal(signal.SIGHUP)
    kept = vehicle.until("rules_kept")
    vehicle.rules({"otherwise": "nothing"})
    vehicle.agent.process.send_signal(signal.SIGHUP)
    fresh = vehicle.until("rules")

    assert kept["policy"] == before
    assert "otherwise" in kept["detail"]
    assert fresh["policy"] != before


def test_a_budget_that_holds_a_task_back_is_in_the_log_once(vehicle: Vehicle) -> None:
    vehicle.assign("job-1", iterations="forever")

    held = vehicle.until("held_back", job="job-1")

    assert (held["rule"], held["reason"]) == ("budget", "budget")
    vehicle.cloud.until(lambda: len(vehicle.cloud.results("job-1")) == 4)
    assert [e.event for e in read(vehicle.log)].count("held_back") == 1
