"""Ready-made assignments, messages and moments for the tests of the agent."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
import zmq

from agent.tasks.task import Now, Position, Task
from tests.agent.service import Service
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND
from user_lib.contract.code import version_of
from user_lib.contract.codec import FROM_VEHICLE, TO_VEHICLE
from user_lib.contract.messages import (
    Ack,
    Deliver,
    FromVehicle,
    Heartbeat,
    Hello,
    Result,
    SetCode,
    TaskEnded,
    TaskHeld,
    ToVehicle,
    Welcome,
)
from user_lib.contract.validation import parse
from user_lib.wire.keys import Keys

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SPEC = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}}


@pytest.fixture
def spec() -> Callable[..., Assignment]:
    """Return an assignment of the mean speed, with changes."""
    return lambda **changes: parse({**SPEC, **changes})


@pytest.fixture
def task(spec: Callable[..., Assignment]) -> Callable[..., Task]:
    """Return a new task, with changes of its assignment."""
    return lambda **changes: Task(
        assignment_id="job-1",
        analyst="ana",
        spec=spec(**changes),
        position=Position(iteration=1),
    )


@pytest.fixture
def at() -> Callable[[float], Now]:
    """Return both clocks so many seconds after the test began."""
    return lambda seconds: Now(int(seconds * SECOND), int((1_800_000_000 + seconds) * SECOND))


@pytest.fixture
def set_code() -> Callable[..., SetCode]:
    """Return the message that arms a source as a generation."""
    return lambda generation, source, analyst="ana": SetCode(
        analyst=analyst,
        generation=generation,
        version=version_of(source) if source else "",
        source=source,
    )


@pytest.fixture
def result() -> Callable[..., Result]:
    """Return a result, with changes."""

    def make(**changes: Any) -> Result:
        plain: dict[str, Any] = {
            "assignment_id": "job-1", "vehicle_id": "car-1", "epoch": "e", "iteration": 1,
            "status": "ok", "value": 1.5, "method": "mean", "dbc_hash": "d",
            "window_start_ns": 0, "window_stop_ns": 1, "agent_version": "0", "created_ns": 0,
        }  # fmt: skip
        return Result(**{**plain, **changes})

    return make


class ScriptedCloud:
    """The cloud's end of the link, scripted by a test: a real ROUTER that speaks the contract.

    It welcomes every Hello; acknowledges what is delivered while ``acks`` is set; the rest is the
    test's to say.
    """

    def __init__(self, lease_s: float = 1.5) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lease_s = lease_s
        self.acks = True
        self.welcomes = True
        self.heard: list[FromVehicle] = []
        self.delivered: dict[int, Result | TaskEnded] = {}
        self.peer: bytes | None = None
        self.endpoint = "tcp://127.0.0.1:*"
        self.open()

    def open(self, keys: Keys | None = None) -> None:
        """Begin to listen, where it listened before if it did; with ``keys`` as the cloud's."""
        self.socket = self.context.socket(zmq.ROUTER)
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.curve_secret)
        self.socket.setsockopt(zmq.LINGER, 0)
        deadline = time.monotonic() + 10
        while not self._bind():
            assert time.monotonic() < deadline, f"{self.endpoint} stays in use"
        self.endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT).decode()

    def _bind(self) -> bool:
        """Bind; False while a socket that was closed is still on its way out."""
        try:
            self.socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                return False
            raise
        return True

    def close(self) -> None:
        """Go away, as a killed cloud does."""
        self.peer = None
        self.socket.close(0)

    def send(self, *messages: ToVehicle) -> None:
        """Say something to the vehicle that spoke last."""
        assert self.peer is not None, "no vehicle has spoken yet"
        for message in messages:
            self.socket.send_multipart([self.peer, *TO_VEHICLE.encode(message)])

    def send_raw(self, *frames: bytes) -> None:
        """Say something that is no message."""
        assert self.peer is not None
        self.socket.send_multipart([self.peer, *frames])

    def until(self, found: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Listen until something holds; return it. Fails, telling what was heard, after a while."""
        deadline = time.monotonic() + timeout_s
        while not (what := found()):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"not in {timeout_s} s; heard last: {self.heard[-8:]}"
            if self.socket.poll(int(min(left_s, 0.2) * 1000)):
                self._hear(self.socket.recv_multipart())
        return what

    def _hear(self, frames: list[bytes]) -> None:
        self.peer, message = frames[0], FROM_VEHICLE.decode(frames[1:])
        self.heard.append(message)
        if isinstance(message, Hello) and self.welcomes:
            self.send(Welcome(lease_s=self.lease_s, cloud_version="0"))
        if isinstance(message, Deliver):
            self.delivered[message.seq] = message.item
            if self.acks:
                self.send(Ack(seqs=(message.seq,)))

    # --- what was heard --------------------------------------------------------------------------

    def all(self, kind: type[T]) -> list[T]:
        """Return all messages of a kind."""
        return [m for m in self.heard if isinstance(m, kind)]

    def last(self, kind: type[T]) -> T | None:
        """Return the latest message of a kind."""
        return next((m for m in reversed(self.heard) if isinstance(m, kind)), None)

    def results(self, assignment_id: str) -> list[Result]:
        """Return what was delivered of a task, in the order of its sequence numbers, each once."""
        items = (self.delivered[seq] for seq in sorted(self.delivered))
        return [i for i in items if isinstance(i, Result) and i.assignment_id == assignment_id]

    def end(self, assignment_id: str) -> TaskEnded | None:
        """Return how a task ended, once it did."""
        items = self.delivered.values()
        ends = [i for i in items if isinstance(i, TaskEnded) and i.assignment_id == assignment_id]
        return ends[0] if ends else None

    def held(self, assignment_id: str) -> TaskHeld | None:
        """Return where a task stands by the latest heartbeat."""
        beat = self.last(Heartbeat)
        tasks = beat.tasks if beat else ()
        return next((t for t in tasks if t.assignment_id == assignment_id), None)


@pytest.fixture
def cloud() -> Iterator[ScriptedCloud]:
    """Return a scripted cloud that listens."""
    cloud = ScriptedCloud()
    yield cloud
    cloud.close()
    cloud.context.term()


class AgentProcess:
    """One agent, started and ended by a test."""

    def __init__(self, config: Path, log: Path) -> None:
        self.config, self._log = config, log
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "agent", "--config", str(self.config)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    @property
    def log(self) -> str:
        """What it has logged over all its lives."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(10)

    def children(self) -> list[int]:
        """Return the process ids of its zygote and workers."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]


@pytest.fixture
def start_agent(tmp_path: Path, cloud: Any) -> Iterator[Callable[..., AgentProcess]]:
    started: list[AgentProcess] = []

    def start(**changes: Any) -> AgentProcess:
        plain = {
            "vehicle_id": "car-1",
            "profile": "compact",
            "cloud": cloud.endpoint,
            "insecure": "keys" not in changes,
            "state_dir": "state",
            "sources": [{"kind": "simulated", "model": "compact", "seed": 3, "speed": 10}],
            "tick_ms": 20,
        }
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump({**plain, **changes}))
        agent = AgentProcess(path, tmp_path / f"agent-{len(started)}.log")
        started.append(agent)
        return agent

    yield start
    for agent in started:
        if agent.process.poll() is None:
            agent.kill()
        sys.stderr.write(agent.log)  # shown when the test fails


@pytest.fixture
def serve(tmp_path: Path, cloud: Any) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(watchdog_s: float = 20.0, **changes: Any) -> Service:
        started.append(Service(tmp_path, cloud.endpoint, watchdog_s, **changes))
        return started[-1]

    yield start
    for service in started:
        service.close()
