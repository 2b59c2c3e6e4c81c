import itertools
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import can
import pytest
import yaml

from agent.__main__ import main
from agent.check import buses, machine
from agent.check.buses import Heard
from agent.check.finding import Finding, screen
from agent.config import AgentConfig
from agent.store import Store
from hw import CanConfig
from user_lib.contract.clock import SECOND
from user_lib.wire.enrolment import enrol
from user_lib.wire.keys import create_keys, write_keys

CAN0 = CanConfig(interface="socketcan", channel="can0")
_ports = itertools.count()


class FakeClock:
    """A clock that stands at a time."""

    def __init__(self, unix_s: float) -> None:
        self._unix_ns = int(unix_s * SECOND)

    def monotonic_ns(self) -> int:
        return 0

    def unix_ns(self) -> int:
        return self._unix_ns


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(**changes: Any) -> Path:
        path = tmp_path / "agent.yaml"
        plain = {"vehicle_id": "car-1", "profile": "compact", "state_dir": "state"}
        plain |= {"insecure": "keys" not in changes}
        path.write_text(yaml.safe_dump({**plain, **changes}))
        return path

    return write


def findings_of(path: Path, capfd: pytest.CaptureFixture[str], seconds: float) -> Any:
    status = main(["check", "--config", str(path), "--json", "--seconds", str(seconds)])
    found = [Finding(**each) for each in json.loads(capfd.readouterr().out)]
    return status, {f.name: f for f in found}


def test_a_vehicle_without_a_cloud_is_told_so_and_the_rest_is_fine(
    write: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, found = findings_of(write(cloud=f"ipc://{tmp_path}/nobody"), capfd, 0.5)

    assert status == 1
    assert found["cloud"].level == "fail"
    assert "oodida-cloud" in found["cloud"].fix
    assert found["coverage"].level == "ok"
    assert found["coverage"].found.startswith("100% of")
    assert found["sandbox"].level != "fail"
    assert {"config", "databases", "bus", "clock", "keys", "disk", "policy", "service"} <= set(
        found
    )


def test_the_keys_are_read_and_the_trusted_analysts_named(
    write: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = write_keys(create_keys("car-1", "vehicle"), tmp_path)
    write_keys(create_keys("cloud", "cloud"), tmp_path)
    enrol(create_keys("ada", "analyst").card, tmp_path / "analysts")
    paths = {"own": str(own), "cloud": str(tmp_path / "cloud.pub"), "analysts": "analysts"}
    config = write(keys=paths, cloud=f"ipc://{tmp_path}/nobody")

    found = findings_of(config, capfd, 0.1)[1]["keys"]
    (tmp_path / "analysts" / "ada.pub").unlink()
    nobody = findings_of(config, capfd, 0.1)[1]["keys"]
    half = tmp_path / "analysts" / "ben.pub"
    half.write_text("name: b")
    torn = findings_of(config, capfd, 0.1)[1]["keys"]

    assert (found.level, found.found) == ("ok", "this vehicle is car-1; it trusts ada")
    assert (torn.level, f"{half}: no card" in torn.found) == ("fail", True)
    assert nobody.level == "warn"
    assert "trusts no analyst" in nobody.found
    assert "oodida keys enrol" in nobody.fix


def test_a_wrong_configuration_is_the_only_finding(
    write: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    status, found = findings_of(write(profile="compct"), capfd, 0.1)

    assert status == 1
    assert list(found) == ["config"]
    assert "did you mean compact" in found["config"].found


def test_a_derived_signal_that_cannot_be_computed_is_a_finding_and_the_rest_goes_on(
    write: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = {
        "channels": {"can0": {"databases": [str(buses.hw.model_databases("compact")[0].path)]}},
        "derived": {"Vehicle.Double": {"expression": "Vehicle.Sped * 2", "unit": "km/h"}},
        "sources": [{"kind": "simulated", "model": "compact"}],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))

    status, found = findings_of(write(profile="own", cloud=f"ipc://{tmp_path}/x"), capfd, 0.1)

    assert status == 1
    assert found["config"].level == "fail"
    assert "derived.Vehicle.Double: " in found["config"].found
    assert "Vehicle.Sped" in found["config"].found
    assert found["config"].fix == "correct derived: in the profile own"
    assert {"databases", "bus", "clock", "disk", "policy", "service"} <= set(found)


def test_the_file_that_is_wrong_is_the_one_to_correct(
    write: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rules, profile = tmp_path / "policy.yaml", tmp_path / "own.yaml"
    rules.write_text("signals: [{match: ['*'], mai: raw}]")
    policy = findings_of(write(policy_file="policy.yaml"), capfd, 0.1)[1]["config"]
    absent = findings_of(write(policy_file="polcy.yaml"), capfd, 0.1)[1]["config"]
    profile.write_text("chanels: {}")
    model = findings_of(write(profile="own"), capfd, 0.1)[1]["config"]

    assert "policy.yaml: signals[0].mai" in policy.found
    assert [f.fix for f in (policy, absent, model)] == [
        f"correct {file}" for file in (rules, tmp_path / "agent.yaml", profile)
    ]


def test_a_live_bus_of_another_car_is_told_by_its_identifiers(
    write: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    channel = f"check-{next(_ports)}"
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(
            {
                "channels": {
                    "can0": {
                        "databases": [str(buses.hw.model_databases("compact")[0].path)],
                        "source": {"kind": "can", "interface": "virtual", "channel": channel},
                    }
                }
            }
        )
    )
    with can.Bus(interface="virtual", channel=channel) as car:
        unknown = can.Message(arbitration_id=0x7E9, data=b"\1\2", is_extended_id=False)
        sending = car.send_periodic(unknown, 0.01)
        status, found = findings_of(write(profile="own", cloud=f"ipc://{tmp_path}/x"), capfd, 0.5)
        sending.stop()

    assert status == 1
    assert found["coverage"].level == "fail"
    assert "7E9" in found["coverage"].found
    assert found["bus"].level == "ok"


def test_an_interface_that_is_absent_or_down_comes_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "NETWORK", tmp_path)

    absent = buses.interface(CAN0, Heard())
    (tmp_path / "can0").mkdir()
    (tmp_path / "can0" / "flags").write_text("0x40080\n")
    down = buses.interface(CAN0, Heard())
    (tmp_path / "can0" / "flags").write_text("0x40081\n")
    silent = buses.interface(CAN0, Heard(seconds=1.0))
    noisy = buses.interface(CAN0, Heard(seconds=2.0, frames=10, errors=3))
    fine = buses.interface(CAN0, Heard(seconds=2.0, frames=10))

    assert [f.level for f in (absent, down, silent, noisy, fine)] == [
        "fail", "fail", "warn", "warn", "ok",
    ]  # fmt: skip
    assert "oodida-can@can0" in absent.fix
    assert "is down" in down.found
    assert "ignition" in silent.fix
    assert "termination" in noisy.fix
    assert fine.found == "can0 up, 5 frames/s"


def test_a_clock_that_was_never_set_fails() -> None:
    found = machine.clock_state(FakeClock(1_000_000))

    assert found.level == "fail"
    assert "1970-01-12" in found.found


def test_a_disk_without_room_for_the_outbox_fails(tmp_path: Path) -> None:
    config = AgentConfig(profile="compact", state_dir=str(tmp_path / "state"), outbox_mb=1e9)

    assert machine.disk(config).level == "fail"


def test_a_state_that_this_agent_would_refuse_fails(tmp_path: Path) -> None:
    config = AgentConfig(profile="compact", state_dir=str(tmp_path), outbox_mb=1)
    Store(tmp_path, outbox_mb=1).close()
    assert machine.disk(config).level == "ok"
    with closing(sqlite3.connect(tmp_path / "state.db")) as raw:
        raw.execute("PRAGMA user_version = 99")

    found = machine.disk(config)

    assert found.level == "fail"
    assert "written by a newer agent (schema 99, this one knows 3)" in found.found
    assert "upgrade this agent" in found.fix


def test_an_absent_sandbox_service_is_named(tmp_path: Path) -> None:
    config = AgentConfig(profile="compact", sandbox_socket=str(tmp_path / "nobody"))

    (found,) = machine.sandbox(config)

    assert found.level == "fail"
    assert "oodida-sandbox.socket" in found.fix


def test_tasks_that_share_a_cgroup_with_all_else_are_told_with_the_reason() -> None:
    """Beside this process, whose cgroup is none that the sandbox could divide."""
    sandbox, tasks = machine.sandbox(AgentConfig(profile="compact"))

    assert sandbox.level != "fail"
    assert (tasks.name, tasks.level) == ("tasks", "warn")
    assert "no cgroup all of them together: " in tasks.found
    assert not tasks.found.endswith("none is delegated")
    assert "oodida-sandbox.socket" in tasks.fix


@pytest.mark.parametrize(
    ("bounded", "why", "level", "found", "fix"),
    [
        (("memory", "pids", "cpu"), "", "ok", "own: memory, pids, cpu", ""),
        (("memory", "pids"), "", "warn", "does not bound cpu", "Delegate=memory pids cpu"),
        ((), "controllers memory are not delegated", "warn", "controllers memory", "Delegate="),
    ],
)
def test_a_service_is_judged_by_the_cgroups_that_its_tasks_get(
    bounded: tuple[str, ...], why: str, level: str, found: str, fix: str
) -> None:
    finding = machine.tasks(bounded, why, in_service=True)

    assert finding.level == level
    assert found in finding.found
    assert fix in finding.fix
    assert bool(fix) == bool(finding.fix)


def test_a_rolled_back_upgrade_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STATE", tmp_path)
    (tmp_path / "rolled-back").write_text("version 2 did not come up healthy; 1 runs\n")

    found = machine.service()

    assert (found.level, found.found) == ("fail", "version 2 did not come up healthy; 1 runs")


def test_the_screen_fits_a_terminal_and_counts_what_is_wrong() -> None:
    text = screen(
        [
            Finding("bus", "ok", "can0 up"),
            Finding("clock", "warn", "not synchronised", "timedatectl"),
            Finding("sandbox", "fail", "word " * 60, "fix " * 40),
        ]
    )

    assert max(map(len, text.splitlines())) <= 100
    assert " ok   bus         can0 up" in text
    assert text.endswith("one thing keeps this vehicle from its work; 1 to look at")


def test_the_command_line_of_the_process_reaches_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["oodida-agent", "check", "--config", "/no/such.yaml"])

    assert main() == 1
    assert "/no/such.yaml" in capfd.readouterr().out
