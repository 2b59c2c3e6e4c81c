"""The agent as a service: what it tells a service manager, what its metrics answer."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.agent.service import PATIENCE_S, Service
from user_lib.contract.messages import Assign, Hello
from user_lib.contract.states import TaskState
from user_lib.contract.validation import parse

SPEED, BODY = "Vehicle.Speed", "Vehicle.Chassis.SteeringWheel.Angle"


def test_it_is_ready_and_alive_and_says_when_it_ends(serve: Callable[..., Service]) -> None:
    service = serve(watchdog_s=1.0)

    service.manager.until("READY=1")
    service.manager.until("STATUS=car-1, profile own")
    service.manager.forget()
    service.manager.until("WATCHDOG=1")
    service.process.send_signal(signal.SIGTERM)
    service.manager.until("STOPPING=1")

    assert service.process.wait(PATIENCE_S) == 0
    assert not os.path.exists(service.metrics_socket)


def test_a_stopped_process_feeds_no_watchdog(serve: Callable[..., Service]) -> None:
    service = serve(watchdog_s=0.4)
    service.manager.until("WATCHDOG=1")

    service.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, service.process.pid, os.WSTOPPED)
    service.manager.forget()
    assert service.manager.silent_for(1.0)
    service.process.send_signal(signal.SIGCONT)

    service.manager.until("WATCHDOG=1")


def assign(name: str, signal_name: str, **changes: Any) -> Assign:
    plain = {"signals": [signal_name], "onboard": "mean", "window": {"samples": 20}}
    spec = parse({**plain, "iterations": "forever", **changes})
    return Assign(assignment_id=name, analyst="ana", spec=spec)


def test_a_reload_goes_on_by_other_databases_and_ends_what_lost_its_signal(
    serve: Callable[..., Service], cloud: Any
) -> None:
    service = serve()
    service.manager.until("READY=1")
    before = cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign("stays", SPEED), assign("goes", BODY))
    cloud.until(lambda: cloud.results("stays") and cloud.results("goes"))

    service.write_profile("compact_powertrain.dbc")
    service.reload()

    after = cloud.until(lambda: [h for h in cloud.all(Hello) if h.dbc_hash != before.dbc_hash])[0]
    ended = cloud.until(lambda: cloud.end("goes"))
    assert (ended.state, ended.reason) == (TaskState.FAILED, "unknown_signal")
    assert BODY in ended.detail
    cloud.until(lambda: cloud.results("stays")[-1].dbc_hash == after.dbc_hash)
    iterations = [r.iteration for r in cloud.results("stays")]
    assert iterations == list(range(1, len(iterations) + 1))
    assert cloud.end("stays") is None


def test_a_reload_takes_the_owners_new_rules_over(
    serve: Callable[..., Service], cloud: Any
) -> None:
    service = serve()
    service.manager.until("READY=1")
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign("stays", SPEED), assign("goes", BODY))
    cloud.until(lambda: cloud.results("stays") and cloud.results("goes"))

    policy = {"forbidden_signals": [BODY], "accepts_custom": False}
    service.write_config(policy=policy, history_mb=32, tags={"region": "north"})
    service.reload()

    ended = cloud.until(lambda: cloud.end("goes"))
    assert (ended.state, ended.reason) == (TaskState.FAILED, "signal_forbidden")
    hello = cloud.until(lambda: [h for h in cloud.all(Hello) if h.tags.get("region") == "north"])[0]
    assert not hello.accepts_custom
    so_far = len(cloud.results("stays"))
    cloud.until(lambda: len(cloud.results("stays")) > so_far)
    assert "a restart is needed for the change of history_mb" in service.log


def test_a_reload_that_cannot_be_done_changes_nothing(
    serve: Callable[..., Service], cloud: Any
) -> None:
    service = serve()
    service.manager.until("READY=1")
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign("stays", SPEED))
    cloud.until(lambda: cloud.results("stays"))

    service.write_profile("absent.dbc")
    service.reload()

    so_far = len(cloud.results("stays"))
    cloud.until(lambda: len(cloud.results("stays")) > so_far)
    assert "not reloaded, everything stays as it was" in service.log
    assert "absent.dbc" in service.log


def test_the_metrics_follow_a_task_to_its_end(serve: Callable[..., Service], cloud: Any) -> None:
    service = serve()
    service.manager.until("READY=1")
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(assign("job-1", SPEED, iterations=3))
    cloud.until(lambda: len(cloud.delivered) == 4)

    deadline = time.monotonic() + PATIENCE_S
    while (found := service.metrics())["oodida_agent_iterations_committed_total"] < 3:
        assert time.monotonic() < deadline, found
    assert found['oodida_agent_jobs_total{reason="",status="ok"}'] == 3
    assert found['oodida_agent_link{state="up"}'] == 1
    assert found["oodida_agent_frames_total"] > 100
    assert found['oodida_agent_bus_frames_total{bus="can0"}'] > 0
    assert found["oodida_agent_pump_busy_seconds_total"] > 0
    for part in ("agent", "zygote"):
        assert found[f'oodida_process_resident_bytes{{part="{part}"}}'] > 1e6
