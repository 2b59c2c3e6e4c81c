"""The agent as a process on a simulated car, against a scripted cloud over a real socket."""

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from user_lib.contract.code import version_of
from user_lib.contract.messages import (
    Assign,
    Catalog,
    CodeReport,
    Deliver,
    Feedback,
    Heartbeat,
    Hello,
    SendCatalog,
    SendHello,
    Withdraw,
)
from user_lib.contract.validation import parse
from user_lib.wire.keys import create_keys, write_keys

SPEED = "Vehicle.Speed"
ROOT = Path(__file__).parents[2]
SUM = "def custom(xs):\n    return float(sum(xs))\n"
COUNT = "def custom(xs):\n    return len(xs)\n"
BROKEN = "def custom(xs):\n    return 1 / 0\n"


StartAgent = Callable[..., Any]


def assign(name: str = "job-1", *, first: int = 1, **changes: Any) -> Assign:
    plain = {"signals": [SPEED], "onboard": "mean", "window": {"samples": 20}, "iterations": 3}
    spec = parse({**plain, **changes})
    return Assign(assignment_id=name, analyst="ana", spec=spec, first_iteration=first)


def test_an_assignment_is_computed_and_each_result_has_its_receipt(
    cloud: Any, start_agent: StartAgent
) -> None:
    start_agent(tags={"region": "north"})
    hello = cloud.until(lambda: cloud.last(Hello))
    assert (hello.vehicle_id, hello.model, hello.profile) == ("car-1", "compact", "compact")
    assert hello.tags["region"] == "north"

    cloud.send(assign())
    end = cloud.until(lambda: cloud.end("job-1"))

    results = cloud.results("job-1")
    assert [r.iteration for r in results] == [1, 2, 3]
    assert (end.state, end.reason, end.iterations) == ("finished", "iterations", 3)
    for r in results:
        assert (r.status, r.method, r.vehicle_id) == ("ok", "mean", "car-1"), r.detail
        assert (r.epoch, r.dbc_hash, r.samples) == (hello.epoch, hello.dbc_hash, {SPEED: 20})
        assert r.weight == 20
        assert r.window_start_ns < r.window_stop_ns
    assert all(a.window_stop_ns <= b.window_start_ns for a, b in itertools.pairwise(results))


def test_the_catalog_is_sent_when_the_cloud_asks(cloud: Any, start_agent: StartAgent) -> None:
    start_agent()
    hello = cloud.until(lambda: cloud.last(Hello))

    cloud.send(SendCatalog(dbc_hash=hello.dbc_hash))

    catalog = cloud.until(lambda: cloud.last(Catalog))
    assert catalog.dbc_hash == hello.dbc_hash
    assert SPEED in {s.name for s in catalog.signals}


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"signals": ["Vehicle.Sped"]}, "unknown_signal", "signals"),
        ({"onboard": "external:nope"}, "invalid_assignment", "onboard"),
        ({"onboard_params": {"wrong": 1}}, "invalid_assignment", "onboard_params"),
        ({"window": {"samples": 10_000_000}}, "window_too_large", "window"),
        ({"onboard": "max"}, "method_forbidden", "onboard"),
        ({"signals": ["Vehicle.CurrentLocation.Latitude"]}, "signal_forbidden", "signals"),
    ],
)
def test_what_cannot_or_may_not_run_is_refused_for_a_reason(
    cloud: Any, start_agent: StartAgent, changes: Any, reason: str, path: str
) -> None:
    start_agent(
        policy={
            "methods": ["mea*", "custom", "external:*"],
            "forbidden_signals": ["Vehicle.CurrentLocation.*"],
        },
        history_mb=4,
    )
    cloud.until(lambda: cloud.last(Hello))

    cloud.send(assign(**changes))

    end = cloud.until(lambda: cloud.end("job-1"))
    assert (end.state, end.reason) == ("rejected", reason)
    assert end.path.startswith(path)
    if reason == "unknown_signal":
        assert SPEED in end.near


def test_code_is_swapped_while_the_task_runs_and_nothing_restarts(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, SUM), assign(onboard="custom", iterations="forever"))
    cloud.until(lambda: len(cloud.results("job-1")) >= 2)
    before = agent.children()

    cloud.send(set_code(2, COUNT))
    armed = cloud.until(lambda: [r for r in cloud.all(CodeReport) if r.generation == 2])
    assert armed[0].state == "armed"
    cloud.until(lambda: [r for r in cloud.results("job-1") if r.generation == 2][2:])

    results = cloud.results("job-1")
    assert [r.iteration for r in results] == list(range(1, len(results) + 1))
    generations = [r.generation for r in results]
    assert generations == sorted(generations)
    for r in results:
        source = {1: SUM, 2: COUNT}[r.generation]
        assert r.code_version == version_of(source)
        assert (r.value == 20) == (r.generation == 2)
    assert set(before) & set(agent.children()), "the zygote was started again"


def test_a_version_that_fails_its_first_iteration_is_rolled_back(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, COUNT), assign(onboard="custom", iterations="forever"))
    cloud.until(lambda: cloud.results("job-1"))

    cloud.send(set_code(2, BROKEN))
    cloud.until(lambda: [r for r in cloud.all(CodeReport) if r.state == "rolled_back"])
    rolled_back = cloud.until(lambda: [r for r in cloud.results("job-1") if r.rolled_back])[0]
    cloud.until(lambda: cloud.results("job-1")[-1].iteration > rolled_back.iteration + 1)

    assert rolled_back.rolled_back.failed_version == version_of(BROKEN)
    assert "ZeroDivisionError" in rolled_back.rolled_back.detail
    results = cloud.results("job-1")
    assert {(r.status, r.value, r.generation) for r in results} == {("ok", 20, 1)}
    assert [r.iteration for r in results] == list(range(1, len(results) + 1))


def test_code_that_never_worked_ends_its_task_and_no_other(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, BROKEN))
    cloud.send(assign("other", iterations="forever"), assign("job-1", onboard="custom"))

    end = cloud.until(lambda: cloud.end("job-1"))
    assert (end.state, end.reason) == ("failed", "code_failed")
    assert "ZeroDivisionError" in end.detail
    count = len(cloud.results("other"))
    cloud.until(lambda: len(cloud.results("other")) > count + 2)


def test_removed_code_ends_the_tasks_that_need_it(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, COUNT), assign(onboard="custom", iterations="forever"))
    cloud.until(lambda: cloud.results("job-1"))

    cloud.send(set_code(2, ""))

    end = cloud.until(lambda: cloud.end("job-1"))
    assert (end.state, end.reason) == ("failed", "no_code")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os\ndef custom(xs):\n    os._exit(3)\n", "exit"),
        ("def custom(xs):\n    while True: pass\n", "cpu wall"),
        ("def custom(xs):\n    return [0] * 10**9\n", "memory"),
        ("def custom(xs):\n    return float('nan')\n", "result"),
        ("def custom(xs):\n    print('x' * 10**7)\n    return 1\n", ""),
    ],
)
def test_hostile_code_costs_its_own_iteration_only(
    cloud: Any, start_agent: StartAgent, set_code: Any, source: str, reason: str
) -> None:
    imports = ["os", "numpy", "math"]
    start_agent(policy={"imports": imports, "limits": {"cpu_s": 0.5, "wall_s": 2.0}})
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, COUNT), assign("job-1", onboard="custom", iterations="forever"))
    cloud.send(assign("other", iterations="forever"))
    cloud.until(lambda: cloud.results("job-1") and cloud.results("other"))

    cloud.send(set_code(2, source))

    if reason:
        cloud.until(lambda: [r for r in cloud.results("job-1") if r.rolled_back])
        report = cloud.until(lambda: [r for r in cloud.all(CodeReport) if r.generation == 2][-1:])
        last = cloud.until(lambda: [r for r in cloud.all(CodeReport) if r.state == "rolled_back"])
        assert any(word in last[-1].detail for word in reason.split()), last[-1].detail
        assert report
    else:
        found = cloud.until(lambda: [r for r in cloud.results("job-1") if r.generation == 2])
        assert found[0].status == "ok"
        assert len(found[0].prints) < 10**6
    count = len(cloud.results("other"))
    cloud.until(lambda: len(cloud.results("other")) > count)


def test_a_killed_agent_goes_on_by_itself_with_the_next_iteration(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, COUNT), assign("custom", onboard="custom", iterations="forever"))
    cloud.send(assign("mean", iterations="forever"))
    for _ in range(3):
        count = len(cloud.results("custom")) + 1, len(cloud.results("mean")) + 1
        cloud.until(
            lambda c=count: (
                len(cloud.results("custom")) > c[0] and len(cloud.results("mean")) > c[1]
            )
        )
        agent.kill()
        agent.start()

    cloud.until(lambda: len(cloud.results("mean")) > 12)
    assert len({h.epoch for h in cloud.all(Hello)}) == 1
    for name in ("custom", "mean"):
        iterations = [r.iteration for r in cloud.results(name)]
        assert iterations == list(range(1, len(iterations) + 1))


def test_results_wait_for_a_cloud_that_is_away(cloud: Any, start_agent: StartAgent) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.acks = False
    cloud.send(assign(iterations=30, window={"samples": 5}))
    cloud.until(lambda: cloud.results("job-1"))
    cloud.close()
    cloud.heard.clear()
    cloud.delivered.clear()
    cloud.open()
    cloud.acks = True

    cloud.until(lambda: cloud.end("job-1"))
    assert [r.iteration for r in cloud.results("job-1")] == list(range(1, 31))
    cloud.until(lambda: (beat := cloud.last(Heartbeat)) and beat.outbox == 0)
    assert agent.log.count("out of reach") == 1


def test_a_cloud_that_forgot_the_vehicle_is_greeted_again(
    cloud: Any, start_agent: StartAgent
) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Heartbeat))
    count = len(cloud.all(Hello))

    cloud.send(SendHello())

    cloud.until(lambda: len(cloud.all(Hello)) > count)


def test_a_cloud_that_does_not_answer_is_told_of_once(cloud: Any, start_agent: StartAgent) -> None:
    cloud.welcomes = False
    agent = start_agent()

    cloud.until(lambda: len(cloud.all(Hello)) >= 5, timeout_s=40)

    assert agent.log.count("does another machine use the vehicle_id car-1?") == 1
    assert cloud.all(Heartbeat) == []


def test_orders_may_be_repeated(cloud: Any, start_agent: StartAgent, set_code: Any) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    order = assign(onboard="custom")
    for _ in range(3):
        cloud.send(set_code(1, COUNT), order)
    cloud.until(lambda: cloud.end("job-1"))
    cloud.send(order, set_code(1, COUNT), Withdraw(assignment_id="job-1", reason="x"), order)
    beats = len(cloud.all(Heartbeat))
    cloud.until(lambda: len(cloud.all(Heartbeat)) > beats + 2)

    assert [r.iteration for r in cloud.results("job-1")] == [1, 2, 3]
    assert cloud.held("job-1") is None


def test_a_withdrawn_task_ends(cloud: Any, start_agent: StartAgent) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign(window={"seconds": 3000}))
    held = cloud.until(lambda: cloud.held("job-1"))
    assert held.state in ("pending", "gathering")
    cloud.until(lambda: "s of" in cloud.held("job-1").detail or cloud.held("job-1").detail)

    cloud.send(Withdraw(assignment_id="job-1", reason="cancelled"))

    end = cloud.until(lambda: cloud.end("job-1"))
    assert (end.state, end.reason) == ("cancelled", "cancelled")


def test_a_feedback_task_runs_a_round_at_a_time_on_the_pinned_generation(
    cloud: Any, start_agent: StartAgent, set_code: Any
) -> None:
    source = "def custom(data, params):\n    return [params.feedback, params.iteration]\n"
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(set_code(1, source), assign(onboard="custom", feedback=True, iterations=6))
    cloud.send(Feedback(assignment_id="job-1", iteration=1, value="a", generation=1))
    cloud.until(lambda: len(cloud.results("job-1")) == 1)
    cloud.send(set_code(2, source + "# 2\n"))
    cloud.send(Feedback(assignment_id="job-1", iteration=2, value="b", generation=1))
    cloud.until(lambda: len(cloud.results("job-1")) == 2)
    cloud.send(Feedback(assignment_id="job-1", iteration=6, value="c", generation=3))
    cloud.until(lambda: (h := cloud.held("job-1")) and "generation 3" in h.detail)
    cloud.send(set_code(3, source + "# 3\n"))
    cloud.until(lambda: cloud.end("job-1"))

    results = cloud.results("job-1")
    assert [r.detail for r in results] == ["", "", ""]
    assert [(r.iteration, r.generation, r.value) for r in results] == [
        (1, 1, ["a", 1]),
        (2, 1, ["b", 2]),
        (6, 3, ["c", 6]),
    ]


def test_a_full_disk_pauses_the_tasks_and_they_go_on_when_it_is_free(
    cloud: Any, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign(iterations="forever"))
    cloud.until(lambda: cloud.results("job-1"))

    pid = agent.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    cloud.until(lambda: (h := cloud.held("job-1")) and h.state == "paused")
    assert "cannot be written" in cloud.held("job-1").detail
    count = len(cloud.results("job-1"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    cloud.until(lambda: len(cloud.results("job-1")) > count + 2)

    iterations = [r.iteration for r in cloud.results("job-1")]
    assert iterations == list(range(1, len(iterations) + 1))


def test_what_arrived_is_not_sent_again_while_a_full_disk_keeps_it_in_the_outbox(
    cloud: Any, start_agent: StartAgent
) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign(iterations="forever"))
    cloud.until(lambda: cloud.results("job-1"))
    cloud.close()
    deadline = time.monotonic() + 60
    while "the cloud is out of reach" not in agent.log:
        assert time.monotonic() < deadline, agent.log
        time.sleep(0.05)

    pid = agent.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    heard = len(cloud.heard)
    cloud.open()
    beats = sum(isinstance(m, Heartbeat) for m in cloud.heard) + 3
    cloud.until(lambda: sum(isinstance(m, Heartbeat) for m in cloud.heard) >= beats)
    sent = Counter(m.seq for m in cloud.heard[heard:] if isinstance(m, Deliver))
    assert sent
    assert max(sent.values()) == 1

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    cloud.until(lambda: (b := cloud.last(Heartbeat)) and b.outbox <= 1)


def test_bytes_that_are_no_message_are_counted_and_change_nothing(
    cloud: Any, start_agent: StartAgent
) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))
    for frames in ([b""], [b"OD\x03V", b"\xc1"], [b"x"] * 40, [b"OD\x09V", b"\x80"], [b"a" * 9999]):
        cloud.send_raw(*frames)
    cloud.send(assign())

    cloud.until(lambda: cloud.end("job-1"))
    beat = cloud.until(
        lambda: (b := cloud.last(Heartbeat)) and b.stats["link.malformed"] >= 5 and b
    )
    assert beat.stats["link.malformed"] == 5
    assert beat.stats["loop.errors"] == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_with_its_workers(
    cloud: Any, start_agent: StartAgent, set_code: Any, how: int
) -> None:
    agent = start_agent(policy={"limits": {"cpu_s": 60, "wall_s": 60}})
    cloud.until(lambda: cloud.last(Hello))
    hang = "def custom(xs):\n    while True: pass\n"
    limits = {"cpu_s": 60, "wall_s": 60}
    cloud.send(set_code(1, hang), assign(onboard="custom", limits=limits))
    cloud.until(lambda: (h := cloud.held("job-1")) and h.state == "running")
    children = agent.children()
    assert children

    assert agent.stop(how) == 0

    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]
    assert "Traceback" not in agent.log


def test_a_log_that_is_over_ends_its_tasks(cloud: Any, start_agent: StartAgent) -> None:
    source = {"kind": "simulated", "model": "compact", "seed": 1, "speed": 10, "duration_s": 20}
    start_agent(sources=[source])
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign("some", iterations=100_000), assign("all", iterations="forever"))

    assert cloud.until(lambda: cloud.end("some")).state == "failed"
    end = cloud.until(lambda: cloud.end("all"))
    assert (end.state, end.reason) == ("finished", "source_over")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profil: compact\n", "did you mean profile"),
        ("profile: kompact\ninsecure: true\n", "did you mean compact"),
        ("profile: compact\ncloud: nowhere\n", "tcp://HOST:PORT"),
        ("profile: compact\n", "keys: none are given"),
        ("profile: compact\ninsecure: true\ncloud: tcp://10.1.1.1:5570\n", "other machines"),
        ("profile: compact\nkeys: {own: no.key, cloud: c.pub, analysts: a}\n", "no.key"),
    ],
)
def test_a_configuration_that_cannot_hold_ends_with_2_and_says_what_to_do(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text + "state_dir: state\n")
    run = subprocess.run(
        [sys.executable, "-m", "agent", "--config", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 2
    assert words in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_second_agent_on_the_same_state_is_refused(cloud: Any, start_agent: StartAgent) -> None:
    start_agent()
    cloud.until(lambda: cloud.last(Hello))

    second = start_agent()

    assert second.process.wait(20) == 2
    assert "another agent is using it" in second.log


def test_the_shipped_example_configuration_holds(tmp_path: Path) -> None:
    example = ROOT / "systemd" / "agent.example.yaml"
    key = write_keys(create_keys("car-1", "vehicle"), tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "agent", "--config", str(example), "--check-config",
         "--key", str(key)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert "compact" in run.stdout


def test_a_sandbox_that_does_not_come_up_has_an_exit_code_of_its_own(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent(sandbox_socket=str(tmp_path / "nobody"))

    assert agent.process.wait(60) == 3
    assert "the sandbox's zygote" in agent.log
    assert "Traceback" not in agent.log
