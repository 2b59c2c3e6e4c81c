"""What the cloud itself can take: signed results that were made before, sent over real connections.

Each connection is a vehicle with its own keys that says hello and takes its task; its results are
encoded and signed before the clock starts, so that this process only sends bytes. A vehicle has as
many results under way as an agent has, and sends the next ones as the cloud acknowledges.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import zmq

from agent.store.store import MAX_IN_FLIGHT
from user_lib.contract.codec import FROM_VEHICLE, TO_VEHICLE
from user_lib.contract.messages import (
    Ack,
    Assign,
    Deliver,
    Heartbeat,
    Hello,
    Result,
    TaskHeld,
    Welcome,
)
from user_lib.contract.signing import sign_item
from user_lib.contract.states import TaskState
from user_lib.wire.keys import Keys, LinkKeys
from user_lib.wire.socket import dealer, send_frames

PATIENCE_S = 120.0
EPOCH = "replayed"
VALUE_BYTES = 1700
"""With receipt and signature, a result of 2 KB."""


@dataclass(eq=False)
class Vehicle:
    """One connection, and what it has still to send."""

    name: str
    keys: LinkKeys | None
    socket: "zmq.Socket[bytes]"
    todo: deque[list[bytes]] = field(default_factory=deque)

    def send(self, message: Any) -> None:
        send_frames(self.socket, FROM_VEHICLE.encode(message))

    def send_next(self, count: int) -> None:
        for _ in range(min(count, len(self.todo))):
            send_frames(self.socket, self.todo.popleft())


class Replay:
    """Vehicles by name, with keys made from one secret, or without any."""

    def __init__(self, endpoint: str, names: list[str], fleet: LinkKeys | None) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, len(names) + 100)
        self._poller = zmq.Poller()
        self.vehicles: dict[zmq.Socket[bytes], Vehicle] = {}
        for name in names:
            keys = None if fleet is None else LinkKeys(fleet.own.derive(name), fleet.cloud)
            socket = dealer(self._context, endpoint, keys)
            self.vehicles[socket] = Vehicle(name, keys, socket)
            self._poller.register(socket, zmq.POLLIN)

    def come_online(self) -> None:
        """Say hello; return when the cloud knows all."""
        for vehicle in self.vehicles.values():
            assert vehicle.socket.poll(int(PATIENCE_S * 1000), zmq.POLLOUT), vehicle.name
            hello = Hello(
                vehicle_id=vehicle.name, epoch=EPOCH, agent_version="1", dbc_hash="d" * 64
            )
            vehicle.send(hello)
        self._until_each_got(Welcome)

    def take(self, assignment_id: str) -> None:
        """Take the task; return when the cloud has given it to all."""
        self._until_each_got(Assign)
        held = TaskHeld(assignment_id=assignment_id, state=TaskState.GATHERING, iteration=1)
        for vehicle in self.vehicles.values():
            vehicle.send(Heartbeat(tasks=(held,)))

    def make(self, assignment_id: str, each: int) -> int:
        """Make ``each`` results a vehicle, signed and encoded; return the bytes of one."""
        value, size = "x" * VALUE_BYTES, 0
        for vehicle in self.vehicles.values():
            for iteration in range(1, each + 1):
                result = _result(vehicle, assignment_id, iteration, value)
                frames = FROM_VEHICLE.encode(Deliver(seq=iteration, item=result))
                vehicle.todo.append(frames)
                size = len(frames[-1])
        return size

    def send_all(self) -> float:
        """Send what was made; return the seconds until the cloud had acknowledged the last."""
        left = sum(len(v.todo) for v in self.vehicles.values())
        began = time.perf_counter()
        for vehicle in self.vehicles.values():
            vehicle.send_next(MAX_IN_FLIGHT)
        for vehicle, message in self._heard():
            if isinstance(message, Ack):
                left -= len(message.seqs)
                vehicle.send_next(len(message.seqs))
            if not left:
                break
        return time.perf_counter() - began

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _until_each_got(self, kind: type) -> None:
        waiting = {v.name for v in self.vehicles.values()}
        for vehicle, message in self._heard():
            if isinstance(message, kind):
                waiting.discard(vehicle.name)
            if not waiting:
                return

    def _heard(self) -> Iterator[tuple[Vehicle, Any]]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for socket, _ in self._poller.poll(1000):
                vehicle = self.vehicles[socket]
                yield vehicle, TO_VEHICLE.decode(socket.recv_multipart())
        raise TimeoutError("the cloud went silent")


def _result(vehicle: Vehicle, assignment_id: str, iteration: int, value: str) -> Result:
    result = Result(
        assignment_id=assignment_id,
        vehicle_id=vehicle.name,
        epoch=EPOCH,
        iteration=iteration,
        serial=iteration,
        status="ok",
        value=value,
        method="collect",
        dbc_hash="d" * 64,
        window_start_ns=0,
        window_stop_ns=1,
        agent_version="1",
        created_ns=0,
    )
    own: Keys | None = None if vehicle.keys is None else vehicle.keys.own
    return result if own is None else sign_item(result, own.sign)
