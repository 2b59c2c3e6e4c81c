"""The real cloud as a process, and scripted vehicles and analysts that speak to it."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import zmq

from user_lib.contract.assignment import Assignment
from user_lib.contract.card import Role
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST, TO_VEHICLE
from user_lib.contract.ids import new_id
from user_lib.contract.messages import (
    Ack,
    Answer,
    Ask,
    Assign,
    Catalog,
    CodeReport,
    Deliver,
    Event,
    Events,
    Feedback,
    FromVehicle,
    Heartbeat,
    Hello,
    ModuleHeld,
    ReadEvents,
    Rejection,
    Request,
    Result,
    SendCatalog,
    SendHello,
    SetCode,
    SignalInfo,
    Submit,
    Submitted,
    TaskEnded,
    TaskHeld,
    ToVehicle,
    Withdraw,
)
from user_lib.contract.states import TaskState
from user_lib.demo.local_keys import LocalKeys
from user_lib.signed_orders import sign_submit
from user_lib.wire.keys import LinkKeys, read_link_keys
from user_lib.wire.socket import dealer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
"""Longer than all waits of the cloud itself: a sandbox that hangs is replaced after 20 s."""
T = TypeVar("T")


class CloudProcess:
    """One oodida-cloud on a port of its own; `restart` keeps port and ledger."""

    def __init__(self, folder: Path, *, descriptors: int = 0, **settings: Any) -> None:
        self.folder, self.descriptors = folder, descriptors
        self.ledger = folder / "cloud.db"
        self.log = folder / "cloud.log"
        self.config = folder / "cloud.yaml"
        self.config.write_bytes(
            msgspec.json.encode({"lease_s": 10.0, **_open(settings), **settings})
        )
        self.endpoint = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.start("tcp://127.0.0.1:*")

    def start(self, bind: str) -> None:
        ready_r, ready_w = os.pipe()
        command = [sys.executable, "-m", "cloud", "--config", str(self.config), "--bind", bind]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ledger", str(self.ledger), "--ready-fd", str(ready_w)],
                cwd=ROOT,
                stderr=log,
                pass_fds=[ready_w],
                preexec_fn=self._limit if self.descriptors else None,
            )
        os.close(ready_w)
        with os.fdopen(ready_r) as pipe:
            self.endpoint = pipe.readline().strip()
        assert self.endpoint, self.log.read_text()

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.start(self.endpoint)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def _open(settings: dict[str, Any]) -> dict[str, bool]:
    """Return what lets scripted peers in by their names, unless the test has keys."""
    return {} if "keys" in settings else {"insecure": True}


class Peer:
    """A DEALER with a deadline on everything."""

    def __init__(self, endpoint: str, keys: LinkKeys | None = None) -> None:
        self.endpoint = endpoint
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.socket = dealer(self.context, endpoint, keys)

    def send_frames(self, frames: list[bytes]) -> None:
        assert self.socket.poll(int(PATIENCE_S * 1000), zmq.POLLOUT), "no connection"
        self.socket.send_multipart(frames)

    def receive_frames(self, timeout_s: float) -> list[bytes] | None:
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        return self.socket.recv_multipart()

    def close(self) -> None:
        self.socket.close(linger=0)


class Vehicle(Peer):
    """A vehicle as the protocol wants it, computing nothing: the test says what it answers."""

    def __init__(self, endpoint: str, vehicle_id: str, **hello: Any) -> None:
        super().__init__(endpoint, hello.pop("keys", None))
        self.hello = Hello(
            vehicle_id=vehicle_id,
            epoch=hello.pop("epoch", new_id("life")),
            agent_version="1.0",
            dbc_hash=hello.pop("dbc_hash", "d" * 64),
            **hello,
        )
        self.tasks: dict[str, TaskHeld] = {}
        self.code: dict[str, SetCode] = {}
        self.reports_code = True
        self.outbox: dict[int, Deliver] = {}
        self.feedback: list[Feedback] = []
        self.withdrawn: list[Withdraw] = []
        self.assigned: list[Assign] = []
        self.heard: list[ToVehicle] = []
        self.send(self.hello)

    @property
    def name(self) -> str:
        return self.hello.vehicle_id

    def send(self, message: FromVehicle) -> None:
        self.send_frames(FROM_VEHICLE.encode(message))

    def beat(self) -> None:
        code = tuple(
            ModuleHeld(analyst=c.analyst, generation=c.generation, version=c.version)
            for c in self.code.values()
            if c.version
        )
        self.send(Heartbeat(tasks=tuple(self.tasks.values()), code=code, outbox=len(self.outbox)))

    def pump(self, timeout_s: float = 0.0) -> bool:
        """Handle one message; False when none came in time."""
        frames = self.receive_frames(timeout_s)
        if frames is None:
            return False
        message = TO_VEHICLE.decode(frames)
        self.heard.append(message)
        self._handle(message)
        return True

    def _handle(self, message: ToVehicle) -> None:
        match message:
            case SendHello():
                self.send(self.hello)
                self.beat()
                for entry in list(self.outbox.values()):
                    self.send(entry)
            case SendCatalog(dbc_hash=dbc_hash):
                signals = (SignalInfo(name="Vehicle.Speed", unit="km/h"),)
                self.send(Catalog(dbc_hash=dbc_hash, signals=signals))
            case Ack(seqs=seqs):
                for seq in seqs:
                    self.outbox.pop(seq, None)
            case _:
                self._order(message)

    def _order(self, message: ToVehicle) -> None:
        match message:
            case Assign(assignment_id=job, first_iteration=first):
                self.assigned.append(message)
                if job not in self.tasks:
                    self.hold(job, first)
            case Withdraw(assignment_id=job):
                self.withdrawn.append(message)
                self.tasks.pop(job, None)
            case SetCode():
                self.code[message.analyst] = message
                if self.reports_code:
                    self.report(message, "armed" if message.source else "removed")
            case Feedback():
                self.feedback.append(message)

    def hold(
        self, job: str, iteration: int, state: TaskState = TaskState.GATHERING, detail: str = ""
    ) -> None:
        self.tasks[job] = TaskHeld(
            assignment_id=job, state=state, iteration=iteration, detail=detail
        )

    def report(self, code: SetCode, state: Any, detail: str = "") -> None:
        self.send(
            CodeReport(
                analyst=code.analyst,
                generation=code.generation,
                version=code.version,
                state=state,
                detail=detail,
            )
        )

    def until(self, done: Callable[[], T]) -> T:
        """Handle messages, with heartbeats between, until ``done`` is true; return its value."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := done()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} waited in vain; it heard {self.heard[-5:]}")
            if not self.pump(0.2):
                self.beat()
        return value

    def deliver(self, item: Result | TaskEnded) -> None:
        seq = len(self.outbox) + 1 if not self.outbox else max(self.outbox) + 1
        self.outbox[seq] = Deliver(seq=seq, item=item)
        self.send(self.outbox[seq])

    def answer(self, job: str, iteration: int, value: Any, **more: Any) -> Result:
        """Put the result of an iteration into the outbox and send it."""
        result = self.result(job, iteration, value, **more)
        self.deliver(result)
        if job in self.tasks:
            self.hold(job, iteration + 1)
        return result

    def result(self, job: str, iteration: int, value: Any, **more: Any) -> Result:
        fields: dict[str, Any] = {
            "assignment_id": job,
            "epoch": self.hello.epoch,
            "iteration": iteration,
            "status": "ok",
            "value": value,
            "weight": 10.0,
            "method": "mean",
            "dbc_hash": self.hello.dbc_hash,
            "window_start_ns": 0,
            "window_stop_ns": 1,
            "agent_version": "1.0",
            "created_ns": 0,
        }
        return Result(**{**fields, **more})

    def end(self, job: str, state: TaskState, **more: Any) -> None:
        self.tasks.pop(job, None)
        self.deliver(TaskEnded(assignment_id=job, epoch=self.hello.epoch, state=state, **more))

    def settle(self) -> None:
        """Wait until everything in the outbox is acknowledged."""
        self.until(lambda: not self.outbox)


class Analyst(Peer):
    """An analyst that asks and reads."""

    def __init__(self, endpoint: str, user: str, keys: LinkKeys | None = None) -> None:
        super().__init__(endpoint, keys)
        self.user, self.keys = user, keys
        self.number = 0

    def post(self, ask: Ask) -> int:
        """Send a request without waiting."""
        self.number += 1
        self.send_frames(REQUEST.encode(Request(number=self.number, user=self.user, ask=ask)))
        return self.number

    def reply(self, timeout_s: float = PATIENCE_S) -> tuple[int, Answer]:
        frames = self.receive_frames(timeout_s)
        assert frames is not None, "no answer"
        reply = REPLY.decode(frames)
        return reply.number, reply.answer

    def ask(self, ask: Ask) -> Any:
        number = self.post(ask)
        answered, answer = self.reply()
        assert answered == number
        return answer

    def submit(self, **spec: Any) -> Submitted:
        answer = self.try_submit(**spec)
        assert isinstance(answer, Submitted), answer
        return answer

    def try_submit(self, **spec: Any) -> Submitted | Rejection:
        return self.ask(self.signed_submit(**spec))

    def signed_submit(self, **spec: Any) -> Submit:
        """Return the question, signed if there are keys."""
        plain: dict[str, Any] = {
            "signals": ["Vehicle.Speed"],
            "onboard": "mean",
            "offboard": "mean",
            "window": {"samples": 10},
            **spec,
        }
        token = plain.pop("token", None) or new_id("token")
        assignment = msgspec.convert(plain, Assignment)
        if self.keys is not None:
            return sign_submit(assignment, token, self.keys.own, 1)
        return Submit(spec=assignment, token=token)

    def events(self, job: str) -> list[Event]:
        """Return all events so far."""
        return self.read(job, lambda events: True)

    def read(self, job: str, enough: Callable[[list[Event]], bool]) -> list[Event]:
        """Follow a job until ``enough``; checks that numbers have no gaps."""
        found: list[Event] = []
        after, deadline = 0, time.monotonic() + PATIENCE_S
        while True:
            page = self.ask(ReadEvents(assignment_id=job, after_seq=after, wait_s=0.5))
            assert isinstance(page, Events), page
            found += page.events
            after = page.next_seq
            assert [e.seq for e in found] == list(range(1, len(found) + 1))
            if enough(found) and not page.events:
                return found
            if enough(found):
                continue
            assert time.monotonic() < deadline, [e.item for e in found]

    def to_end(self, job: str) -> list[Any]:
        """Follow a job to its end and return its items."""
        found, after, deadline = [], 0, time.monotonic() + PATIENCE_S
        while True:
            page = self.ask(ReadEvents(assignment_id=job, after_seq=after, wait_s=1.0))
            found += [e.item for e in page.events]
            after = page.next_seq
            if page.ended:
                return found
            assert time.monotonic() < deadline, found


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeys:
    return LocalKeys(tmp_path / "keys")


@pytest.fixture
def link(keys: LocalKeys) -> Callable[..., LinkKeys]:
    """Return the keys of a peer of a cloud that has these ``keys``."""

    def link(name: str, role: Role = "analyst") -> LinkKeys:
        paths = keys.for_vehicle(name) if role == "vehicle" else keys.for_user(name, role)
        return read_link_keys(Path(paths["own"]), Path(paths["cloud"]))

    return link


@pytest.fixture
def make_cloud(tmp_path: Path) -> Iterator[Callable[..., CloudProcess]]:
    clouds: list[CloudProcess] = []

    def make(**settings: Any) -> CloudProcess:
        folder = tmp_path / f"cloud{len(clouds)}"
        folder.mkdir()
        clouds.append(CloudProcess(folder, **settings))
        return clouds[-1]

    yield make
    for each in clouds:
        if each.process is not None and each.process.poll() is None:
            each.kill()


@pytest.fixture
def cloud(make_cloud: Callable[..., CloudProcess]) -> CloudProcess:
    return make_cloud()


@pytest.fixture
def vehicle(cloud: CloudProcess) -> Iterator[Callable[..., Vehicle]]:
    made: list[Vehicle] = []

    def make(vehicle_id: str = "kona-1", **hello: Any) -> Vehicle:
        endpoint = hello.pop("endpoint", cloud.endpoint)
        made.append(Vehicle(endpoint, vehicle_id, **hello))
        made[-1].until(lambda: any(type(m).__name__ == "Welcome" for m in made[-1].heard))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def analyst(cloud: CloudProcess) -> Iterator[Callable[..., Analyst]]:
    made: list[Analyst] = []

    def make(
        user: str = "ada", endpoint: str | None = None, keys: LinkKeys | None = None
    ) -> Analyst:
        made.append(Analyst(endpoint or cloud.endpoint, user, keys))
        return made[-1]

    yield make
    with suppress(zmq.ZMQError):
        for each in made:
            each.close()
