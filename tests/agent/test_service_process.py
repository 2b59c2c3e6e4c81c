"""The agent as a service: what it tells a service manager, what its metrics answer."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from user_lib.contract.assignment import parse
from user_lib.contract.messages import Assign, Hello
from user_lib.contract.states import TaskState

ROOT = Path(__file__).parents[2]
FILES = ROOT / "dbc" / "files"
PATIENCE_S = 60
SPEED, BODY = "Vehicle.Speed", "Vehicle.Chassis.SteeringWheel.Angle"


class Manager:
    """What a service manager is to the agent: a socket that is told things."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(PATIENCE_S)
        self.told: list[str] = []

    def until(self, words: str) -> None:
        """Wait until something is told."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(words in line for line in self.told):
            assert time.monotonic() < deadline, f"{words} was not told, but {self.told}"
            self.told += self._socket.recv(4096).decode().splitlines()

    def forget(self) -> None:
        """Forget what was told so far, and what waits."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            self._socket.settimeout(PATIENCE_S)
        self.told.clear()

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing is told for so long."""
        return not select.select([self._socket], [], [], seconds)[0]

    def close(self) -> None:
        self._socket.close()


class Service:
    """An agent under a manager."""

    def __init__(self, folder: Path, endpoint: str, watchdog_s: float) -> None:
        self.folder, self.manager = folder, Manager(folder / "notify.sock")
        self.metrics_socket = str(folder / "metrics.sock")
        self.config = {
            "vehicle_id": "car-1",
            "profile": "own",
            "cloud": endpoint,
            "insecure": True,
            "state_dir": "state",
            "sources": [{"kind": "simulated", "model": "compact", "seed": 3, "speed": 10}],
            "tick_ms": 20,
            "metrics_socket": self.metrics_socket,
        }
        self.write_profile("compact_powertrain.dbc", "compact_body.dbc")
        self.write_config()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self.manager.path,
            "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
        }
        self._log = (folder / "agent.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "--config", str(folder / "agent.yaml")],
            cwd=ROOT, stderr=self._log, env=environment,
        )  # fmt: skip

    def write_config(self, **changes: Any) -> None:
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump({**self.config, **changes}))

    def write_profile(self, *databases: str) -> None:
        """Write a profile that knows the buses of the databases given."""
        channels = {
            f"can{i}": {"databases": [str(FILES / name)]} for i, name in enumerate(databases)
        }
        profile = {
            "model": "compact",
            "channels": channels,
            "mapping": str(FILES / "compact.vspec"),
        }
        (self.folder / "own.yaml").write_text(yaml.safe_dump(profile))

    def reload(self) -> None:
        self.manager.forget()
        self.process.send_signal(signal.SIGHUP)
        self.manager.until("RELOADING=1")
        self.manager.until("READY=1")

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(self.metrics_socket)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b""
            while part := client.recv(1 << 16):
                answer += part
        lines = answer.partition(b"\r\n\r\n")[2].decode().splitlines()
        split = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in split}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()
        self.manager.close()
        sys.stderr.write(self.log)  # shown when the test fails


@pytest.fixture
def serve(tmp_path: Path, cloud: Any) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(watchdog_s: float = 20.0) -> Service:
        started.append(Service(tmp_path, cloud.endpoint, watchdog_s))
        return started[-1]

    yield start
    for service in started:
        service.close()


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
