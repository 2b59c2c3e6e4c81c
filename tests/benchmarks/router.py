"""The router under load: fan-out of an assignment, durable results a second, CPU per result.

Starts one oodida-cloud process with a ledger on disk, and scripted vehicles on real TCP sockets in
this process. Run it with ``python tests/benchmarks/router.py --vehicles 1000``. Each figure is
printed with what it stands for; every result counted here was on disk before its acknowledgement.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import zmq

from user_lib.contract.assignment import parse
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST, TO_VEHICLE
from user_lib.contract.messages import (
    Ack,
    Assign,
    Deliver,
    Heartbeat,
    Hello,
    Request,
    Result,
    Submit,
    Submitted,
    TaskHeld,
    Welcome,
)
from user_lib.contract.states import TaskState
from user_lib.wire.socket import dealer

ROOT = Path(__file__).resolve().parents[2]
SPEC = parse(
    {
        "signals": ["Vehicle.Speed"],
        "onboard": "collect",
        "window": {"samples": 10},
        "iterations": "forever",
        "deadline_s": 60,
    }
)
IN_FLIGHT = 4
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Cloud:
    """The process under test."""

    def __init__(self, folder: str) -> None:
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "cloud", "--bind", "tcp://127.0.0.1:*"]
        self.process = subprocess.Popen(
            [*command, "--ledger", f"{folder}/cloud.db", "--ready-fd", str(write_fd)],
            cwd=ROOT,
            pass_fds=[write_fd],
            stderr=subprocess.DEVNULL,
        )
        os.close(write_fd)
        with os.fdopen(read_fd) as pipe:
            self.endpoint = pipe.readline().strip()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Fleet:
    """Many DEALER sockets served by one poller."""

    def __init__(self, endpoint: str, count: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, count + 100)
        self.poller = zmq.Poller()
        self.names: dict[zmq.Socket[bytes], str] = {}
        for i in range(count):
            socket = dealer(self.context, endpoint, None)
            self.names[socket] = f"v{i:05}"
            self.poller.register(socket, zmq.POLLIN)

    def send(self, socket: "zmq.Socket[bytes]", message: object) -> None:
        socket.poll(10_000, zmq.POLLOUT)
        socket.send_multipart(FROM_VEHICLE.encode(message))  # type: ignore[arg-type]

    def hello(self) -> None:
        for socket, name in self.names.items():
            self.send(
                socket, Hello(vehicle_id=name, epoch="e", agent_version="1", dbc_hash="d" * 64)
            )

    def until_each(self, kind: type, *, timeout_s: float = 120.0) -> float:
        """Wait until every vehicle got a message of a kind; return the seconds it took."""
        began = time.perf_counter()
        waiting = set(self.names)
        while waiting:
            if time.perf_counter() - began > timeout_s:
                raise SystemExit(f"{len(waiting)} vehicles got no {kind.__name__}")
            for socket, _ in self.poller.poll(1000):
                message = TO_VEHICLE.decode(socket.recv_multipart())
                if isinstance(message, kind):
                    waiting.discard(socket)
        return time.perf_counter() - began

    def beat(self, job: str) -> None:
        held = TaskHeld(assignment_id=job, state=TaskState.GATHERING, iteration=1)
        for socket in self.names:
            self.send(socket, Heartbeat(tasks=(held,)))

    def deliver(self, job: str, total: int, size: int) -> float:
        """Send results, a few in flight a vehicle, until all are acknowledged."""
        each = max(1, total // len(self.names))
        value = "x" * size
        todo = {s: deque(range(1, each + 1)) for s in self.names}
        open_acks = each * len(self.names)
        began = time.perf_counter()
        for socket in self.names:
            for _ in range(min(IN_FLIGHT, each)):
                self._next(socket, job, todo[socket], value)
        while open_acks:
            for socket, _ in self.poller.poll(1000):
                message = TO_VEHICLE.decode(socket.recv_multipart())
                if not isinstance(message, Ack):
                    continue
                open_acks -= len(message.seqs)
                for _ in message.seqs:
                    self._next(socket, job, todo[socket], value)
        return time.perf_counter() - began

    def _next(self, socket: "zmq.Socket[bytes]", job: str, todo: "deque[int]", value: str) -> None:
        if not todo:
            return
        iteration = todo.popleft()
        result = Result(
            assignment_id=job,
            epoch="e",
            iteration=iteration,
            status="ok",
            value=value,
            method="collect",
            dbc_hash="d" * 64,
            window_start_ns=0,
            window_stop_ns=1,
            agent_version="1",
            created_ns=0,
        )
        self.send(socket, Deliver(seq=iteration, item=result))


def submit(fleet: Fleet, endpoint: str) -> str:
    analyst = dealer(fleet.context, endpoint, None)
    analyst.poll(10_000, zmq.POLLOUT)
    ask = Submit(spec=SPEC, token="benchmark")
    analyst.send_multipart(REQUEST.encode(Request(number=1, user="bench", ask=ask)))
    answer = REPLY.decode(analyst.recv_multipart()).answer
    if not isinstance(answer, Submitted):
        raise SystemExit(f"not submitted: {answer}")
    analyst.close(linger=0)
    return answer.assignment_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=200)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(folder)
        try:
            report(cloud, options.vehicles, options.results, options.bytes)
        finally:
            cloud.process.terminate()
            cloud.process.wait(20)


def report(cloud: Cloud, vehicles: int, results: int, size: int) -> None:
    say = sys.stdout.write
    empty_mb = cloud.rss_mb()
    fleet = Fleet(cloud.endpoint, vehicles)
    fleet.hello()
    joined_s = fleet.until_each(Welcome)
    say(f"vehicles                      {vehicles:10}\n")
    say(f"all welcomed                  {joined_s:10.3f} s\n")
    say(f"router memory a vehicle       {1000 * (cloud.rss_mb() - empty_mb) / vehicles:10.1f} KB\n")
    began = time.perf_counter()
    job = submit(fleet, cloud.endpoint)
    fleet.until_each(Assign)
    say(f"submitted until all assigned  {time.perf_counter() - began:10.3f} s\n")
    fleet.beat(job)
    before_s = cloud.cpu_s()
    took_s = fleet.deliver(job, results, size)
    count = max(1, results // vehicles) * vehicles
    cpu_us = 1e6 * (cloud.cpu_s() - before_s) / count
    say(f"durable results of {size} bytes   {count / took_s:10.0f} /s\n")
    say(f"router CPU a result           {cpu_us:10.0f} us\n")
    say(f"router memory at the end      {cloud.rss_mb():10.1f} MB\n")
    fleet.context.destroy(linger=0)


if __name__ == "__main__":
    main()
