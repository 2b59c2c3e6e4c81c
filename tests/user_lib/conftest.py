"""A scripted cloud: a real ROUTER that answers as the test says."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pytest
import zmq

from user_lib.contract.codec import REPLY, REQUEST
from user_lib.contract.messages import (
    Answer,
    Ask,
    Event,
    Events,
    Explain,
    Explanation,
    Group,
    JobInfo,
    ListVehicles,
    MemberInfo,
    Ping,
    Pong,
    PushCode,
    ReadEvents,
    Rejection,
    Reply,
    Request,
    Result,
    RoundClosed,
    Submit,
    Submitted,
    VehicleInfo,
    Vehicles,
)
from user_lib.contract.states import JobState, RoundState, TaskState
from user_lib.contract.validation import parse
from user_lib.fleet import Fleet, connect

Script = Callable[[Ask], Answer | None]
"""None leaves a question without an answer."""


class ScriptedCloud:
    """Answers on a port of its own until closed; `asked` are the requests that came."""

    def __init__(self, script: Script, endpoint: str = "tcp://127.0.0.1:*") -> None:
        self.script = script
        self.asked: list[Request] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.bind(endpoint)
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def asks(self, kind: type[Ask]) -> list[Ask]:
        return [r.ask for r in self.asked if isinstance(r.ask, kind)]

    def close(self) -> None:
        if not self._context.closed:
            self._stopping.set()
            self._thread.join()
            self._router.close()
            self._context.term()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if not self._router.poll(20):
                continue
            peer, *frames = self._router.recv_multipart()
            request = REQUEST.decode(frames)
            self.asked.append(request)
            answer = self.script(request.ask)
            if answer is not None:
                reply = REPLY.encode(Reply(number=request.number, answer=answer))
                self._router.send_multipart([peer, *reply])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.close()


SPEC = {
    "name": "average",
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 100},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": 3,
}


def job_info(state: JobState = JobState.RUNNING, reason: str = "") -> JobInfo:
    return JobInfo(
        assignment_id="job-1",
        analyst="ada",
        spec=parse(SPEC),
        state=state,
        reason=reason,
        created_ns=1,
        ended_ns=None,
        vehicles=("compact-1", "wagon-1"),
        rounds_closed=3,
        results=6,
        last_seq=9,
    )


def result(vehicle: str, iteration: int, value: object, **more: object) -> Result:
    fields: dict[str, object] = {
        "assignment_id": "job-1",
        "vehicle_id": vehicle,
        "epoch": "e",
        "iteration": iteration,
        "status": "ok",
        "value": value,
        "weight": 100.0,
        "method": "mean",
        "dbc_hash": "d",
        "window_start_ns": 0,
        "window_stop_ns": 1,
        "agent_version": "0.1.0",
        "created_ns": 1,
        **more,
    }
    return Result(**fields)  # type: ignore[arg-type]


def round_closed(number: int, value: object, **more: object) -> RoundClosed:
    fields: dict[str, object] = {
        "assignment_id": "job-1",
        "round": number,
        "state": RoundState.COMPLETE,
        "groups": (
            Group(code_version="", vehicles=("compact-1", "wagon-1"), value=value, weight=200.0),
        ),
        "offboard_method": "mean",
        "opened_ns": 1,
        "closed_ns": 2,
        **more,
    }
    return RoundClosed(**fields)  # type: ignore[arg-type]


def vehicle_info(vehicle_id: str, *, online: bool = True) -> VehicleInfo:
    return VehicleInfo(
        vehicle_id=vehicle_id,
        online=online,
        last_seen_ns=1,
        agent_version="0.1.0",
        model="compact",
        profile="compact",
        tags={},
        dbc_hash="d",
        external_methods=(),
        accepts_custom=True,
        sandbox="process",
        tasks=(),
        outbox=0,
        stats={},
    )


class PlayedJob:
    """The script of one job that plays its events in pages and then ends."""

    def __init__(self, events: list[Event], *, page: int = 2, end: JobState | None = None) -> None:
        self.events = events
        self.page = page
        self.end = JobState.FINISHED if end is None else end
        self.pushed: list[PushCode] = []

    def __call__(self, ask: Ask) -> Answer | None:
        match ask:
            case Ping():
                return Pong(cloud_version="0.1.0", vehicles_online=2)
            case ListVehicles():
                return Vehicles(vehicles=(vehicle_info("compact-1"), vehicle_info("wagon-1")))
            case Submit():
                return Submitted(assignment_id="job-1", vehicles=("compact-1", "wagon-1"))
            case Explain(assignment_id="job-1"):
                return Explanation(
                    job=job_info(self.end), members=MEMBERS, open_rounds=(), waiting_for=()
                )
            case ReadEvents(assignment_id="job-1"):
                return self._read(ask)
        return Rejection(reason="unknown_job", message="no such job; oodida jobs lists yours")

    def _read(self, ask: ReadEvents) -> Events:
        kinds = [type(e.item).__struct_config__.tag for e in self.events]
        left = [
            e
            for e, kind in zip(self.events, kinds, strict=True)
            if e.seq > ask.after_seq and kind in ask.kinds
        ]
        page, more = left[: self.page], left[self.page :]
        last = max([e.seq for e in page], default=ask.after_seq)
        return Events(events=tuple(page), next_seq=last, state=self.end, ended=not more)


MEMBERS = (
    MemberInfo(
        vehicle_id="compact-1",
        online=True,
        state=TaskState.GATHERING,
        iteration=2,
        detail="52 of 100 samples of Vehicle.Speed",
        results=1,
    ),
    MemberInfo(vehicle_id="wagon-1", online=False, state=None),
)

EVENTS = [
    Event(seq=1, item=result("compact-1", 1, {"Vehicle.Speed": 60.0})),
    Event(seq=2, item=result("wagon-1", 1, {"Vehicle.Speed": 62.0})),
    Event(seq=3, item=round_closed(1, {"Vehicle.Speed": 61.0})),
    Event(seq=4, item=result("compact-1", 2, {"Vehicle.Speed": 70.0})),
    Event(
        seq=5,
        item=result("wagon-1", 2, None, status="killed", reason="memory", detail="256 MB"),
    ),
    Event(seq=6, item=round_closed(2, {"Vehicle.Speed": 70.0}, failed={"wagon-1": "memory"})),
]


@pytest.fixture
def played() -> PlayedJob:
    return PlayedJob(EVENTS)


@pytest.fixture
def cloud(played: PlayedJob) -> Iterator[ScriptedCloud]:
    with ScriptedCloud(played) as cloud:
        yield cloud


@pytest.fixture
def fleet(cloud: ScriptedCloud) -> Iterator[Fleet]:
    with connect(cloud.endpoint, "ada", insecure=True) as fleet:
        yield fleet


@pytest.fixture
def scripted() -> type[ScriptedCloud]:
    return ScriptedCloud


@pytest.fixture
def play() -> type[PlayedJob]:
    return PlayedJob


class Make:
    """The messages that tests are made of."""

    result = staticmethod(result)
    round_closed = staticmethod(round_closed)
    job_info = staticmethod(job_info)
    vehicle_info = staticmethod(vehicle_info)
    spec = SPEC
    events = EVENTS
    members = MEMBERS


@pytest.fixture
def make() -> type[Make]:
    return Make
