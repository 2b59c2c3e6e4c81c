"""An owner's policy file on a running agent: refused, reloaded, and kept when it is wrong."""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.store.store import MAX_IN_FLIGHT
from user_lib.contract.messages import Assign, Deliver, Hello, Losses, Result, TaskEnded
from user_lib.contract.states import TaskState
from user_lib.contract.validation import parse
from user_lib.wire.audit_reading import read

ROOT = Path(__file__).parents[3]
SPEED = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"seconds": 1}}
FORBID = {"signals": [{"rule": "speed-is-mine", "match": ["Vehicle.Speed"], "may": "nothing"}]}


class Owner:
    """A vehicle whose owner writes rules."""

    def __init__(self, folder: Path, cloud: Any, start: Callable[..., Any]) -> None:
        self.file, self.cloud, self._start = folder / "policy.yaml", cloud, start

    def begins(self, rules: dict[str, Any]) -> None:
        self.write(rules)
        self.agent = self._start(policy_file="policy.yaml")
        self.cloud.until(lambda: self.cloud.last(Hello))

    def write(self, rules: Any) -> None:
        self.file.write_text(rules if isinstance(rules, str) else yaml.safe_dump(rules))

    def reloads(self, rules: Any) -> None:
        self.write(rules)
        self.agent.process.send_signal(signal.SIGHUP)

    def assign(self, name: str, **spec: Any) -> None:
        assignment = parse({**SPEED, "iterations": "forever", **spec})
        self.cloud.send(Assign(assignment_id=name, analyst="ada", spec=assignment))

    def until_log(self, words: str) -> None:
        """Wait until the agent has logged something."""
        self._until(lambda: words in self.agent.log)

    def until_waiting(self, number: int) -> None:
        """Wait until so many entries are in the outbox."""
        path = self.file.parent / "state" / "state.db"

        def waiting() -> bool:
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                found: int = db.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
            return found >= number

        self._until(waiting)

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, self.agent.log[-2000:]
            time.sleep(0.05)

    def ends(self, name: str) -> TaskEnded:
        end: TaskEnded = self.cloud.until(lambda: self.cloud.end(name))
        return end

    def answers(self, name: str, number: int = 1) -> list[Result]:
        found: list[Result] = self.cloud.until(
            lambda: r if len(r := self.cloud.results(name)) >= number else None
        )
        return found


@pytest.fixture
def owner(tmp_path: Path, cloud: Any, start_agent: Callable[..., Any]) -> Owner:
    return Owner(tmp_path, cloud, start_agent)


def test_a_forbidden_signal_is_refused_by_its_other_name_and_within_what_is_derived(
    owner: Owner,
) -> None:
    profile = owner.file.parent / "own.yaml"
    files = ROOT / "dbc" / "files"
    plain = yaml.safe_load((files / "compact.yaml").read_text())
    for channel in plain["channels"].values():
        channel["databases"] = [str(files / name) for name in channel["databases"]]
    plain["mapping"] = str(files / plain["mapping"])
    plain["derived"] = {"Vehicle.Twice": {"expression": "EngineData.EngineSpeed * 2"}}
    profile.write_text(yaml.safe_dump(plain))
    owner.write(
        {"signals": [{"rule": "rpm", "match": ["EngineData.EngineSpeed"], "may": "nothing"}]}
    )
    owner.agent = owner._start(policy_file="policy.yaml", profile=str(profile))
    owner.cloud.until(lambda: owner.cloud.last(Hello))

    asked = {
        "by-path": "Vehicle.Powertrain.CombustionEngine.Speed",
        "derived": "Vehicle.Twice",
        "measured": "@message.EngineData.gap_ms",
    }
    for name, signal_name in asked.items():
        owner.assign(name, signals=[signal_name])
        end = owner.ends(name)
        assert (end.state, end.reason, end.rule) == (TaskState.REJECTED, "signal_forbidden", "rpm")
    owner.assign("other")
    assert owner.answers("other")[0].status == "ok"


def test_a_grid_of_held_values_is_no_way_to_many_samples(owner: Owner) -> None:
    rule = {"rule": "sums", "match": ["*"], "may": "aggregates", "at_least": 400}
    owner.begins({"signals": [rule]})

    owner.assign("grid", window={"seconds": 0.5}, rate_hz=10_000)

    result = owner.answers("grid")[0]
    assert (result.status, result.reason) == ("refused", "too_few_samples")
    assert "rule sums" in result.detail
    assert result.samples["Vehicle.Speed"] == 5000


def test_a_reload_ends_what_became_forbidden_and_a_mistake_changes_nothing(owner: Owner) -> None:
    owner.begins({"otherwise": "raw"})
    owner.assign("job-1")
    owner.answers("job-1")

    owner.reloads("signals: [{rule: r, match: [Vehicle.Speed], may: nothin}]\n")
    before = len(owner.cloud.results("job-1"))
    owner.answers("job-1", before + 2)
    assert "not reloaded, everything stays as it was" in owner.agent.log
    assert "there are aggregates, nothing, raw" in owner.agent.log

    owner.reloads(FORBID)
    end = owner.ends("job-1")
    assert (end.state, end.reason, end.rule) == ("failed", "signal_forbidden", "speed-is-mine")


def test_a_reload_logs_what_changed_in_the_rules_and_which_of_them_ended_a_task(
    owner: Owner,
) -> None:
    gps = {"rule": "gps", "match": ["Vehicle.*"], "may": "raw"}
    owner.begins({"otherwise": "raw", "signals": [gps]})
    owner.assign("job-1")
    owner.answers("job-1")

    owner.reloads({"otherwise": "raw", "signals": [gps]})
    owner.until_log("policy: unchanged")
    owner.reloads({**FORBID, "max_tasks": 3})
    owner.ends("job-1")

    for words in (
        "policy: signal rule gps removed",
        "policy: signal rule speed-is-mine added",
        "policy: max_tasks 3, was 64",
        "task job-1 ends: signal_forbidden: rule speed-is-mine",
    ):
        assert words in owner.agent.log
    audit = next((owner.file.parent / "state" / "audit").glob("*")).read_text()
    assert "read again: signal rule gps removed; signal rule speed-is-mine added" in audit


@pytest.mark.parametrize("killed", [False, True])
def test_what_became_forbidden_while_the_cloud_was_away_is_told_as_lost_and_never_sent(
    owner: Owner, killed: bool
) -> None:
    owner.begins({"otherwise": "raw"})
    owner.assign("job-1", onboard="collect", window={"samples": 5})
    owner.answers("job-1", 2)
    owner.cloud.close()
    owner.until_log("the cloud is out of reach")
    owner.until_waiting(2 * MAX_IN_FLIGHT)

    if killed:
        owner.agent.kill()
        owner.write(FORBID)
        owner.agent.start()
    else:
        owner.reloads(FORBID)
    owner.until_log("rule speed-is-mine keeps")
    heard = len(owner.cloud.heard)
    owner.cloud.open()
    end = owner.ends("job-1")

    assert (end.reason, end.rule) == ("signal_forbidden", "speed-is-mine")
    items = [m.item for m in owner.cloud.heard[heard:] if isinstance(m, Deliver)]
    records = [i for i in items if isinstance(i, Losses)]
    assert {r.reason for r in records} == {"rule speed-is-mine"}
    lost = [n for r in records for first, last in r.iterations for n in range(first, last + 1)]
    had = [r.iteration for r in owner.cloud.results("job-1")]
    assert len(lost) == len(set(lost)) >= MAX_IN_FLIGHT
    assert set(lost) | set(had) == set(range(1, end.iterations + 1))
    assert [i for i in items if isinstance(i, Result) and i.status == "ok"] == []
    entries = list(read(owner.file.parent / "state" / "audit"))
    kept = sum(e.results for e in entries if e.event == "retracted")
    (ended,) = [e for e in entries if e.event == "ended"]
    assert (ended.retracted, ended.results - ended.retracted) == (kept, end.iterations - len(lost))


def test_an_agent_does_not_start_with_half_a_policy(owner: Owner) -> None:
    owner.write({**FORBID, "otherwize": "nothing"})

    agent = owner._start(policy_file="policy.yaml")

    assert agent.process.wait(20) == 2
    assert "did you mean otherwise" in agent.log


def test_a_budget_is_used_up_once_however_often_the_agent_is_killed(owner: Owner) -> None:
    owner.begins({"budget": {"results_per_day": 3}})
    owner.assign("job-1")
    owner.answers("job-1", 3)

    owner.agent.kill()
    owner.agent.start()

    held = owner.cloud.until(
        lambda: h if (h := owner.cloud.held("job-1")) and "3 results a day" in h.detail else None
    )
    assert "rule budget" in held.detail
    assert len(owner.cloud.results("job-1")) == 3


def test_a_rule_that_matches_nothing_is_told_of(owner: Owner) -> None:
    owner.begins({"forbidden_signals": ["Vehicle.Sped"]})

    assert "Vehicle.Sped matches no signal of this vehicle" in owner.agent.log


def test_a_vehicle_that_was_away_does_not_begin_what_has_expired(
    cloud: Any, start_agent: Callable[..., Any]
) -> None:
    start_agent(trust_clock="always")
    cloud.until(lambda: cloud.last(Hello))
    for name, not_after in (("old", "2020-01-01T00:00:00Z"), ("young", "2120-01-01T00:00:00Z")):
        spec = parse({**SPEED, "not_after": not_after})
        cloud.send(Assign(assignment_id=name, analyst="ada", spec=spec))

    old = cloud.until(lambda: cloud.end("old"))

    assert (old.state, old.reason) == (TaskState.REJECTED, "expired")
    assert cloud.until(lambda: cloud.end("young")).state is TaskState.FINISHED


def test_the_example_is_a_policy() -> None:
    from agent.policy import Policy, check_rules
    from user_lib.wire.config import load_config

    example = ROOT / "systemd" / "policy.example.yaml"
    check_rules(load_config(example, Policy), str(example))
