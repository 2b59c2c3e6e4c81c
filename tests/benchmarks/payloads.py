"""Large contents to many vehicles: ``python -m tests.benchmarks.payloads``.

A real cloud with keys and a durable ledger is given parameters of so many MB for vehicles in a
process of their own, which pull them over CURVE sockets, as agents do, and verify them. Meanwhile
another analyst asks the cloud for a sign of life, again and again: the longest answer is the delay
that the transfer costs others. The same bytes are then pushed, whole and at once, by a bare ROUTER
with the same keys, which has nothing else to do.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zmq

from agent.simulation import write_cards
from agent.simulation.identities import Identities, name_of
from user_lib.connection import Connection
from user_lib.contract.clock import SystemClock
from user_lib.contract.codec import FROM_VEHICLE, TO_VEHICLE
from user_lib.contract.messages import (
    Assign,
    Chunk,
    Fetch,
    FromVehicle,
    Heartbeat,
    Hello,
    Ping,
    Pong,
    TaskHeld,
    ToVehicle,
    Withdraw,
)
from user_lib.contract.signed import AssignmentOrder
from user_lib.contract.states import TaskState
from user_lib.demo.local_fleet import LocalFleet
from user_lib.wire import transfer as pull
from user_lib.wire.keys import LinkKeys, load_keys, read_link_keys
from user_lib.wire.socket import dealer
from user_lib.wire.transfer import Transfer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150.0
PROBE_S = 0.005
SAMPLE_S = 0.01


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Client:
    """A vehicle's end of one transfer."""

    def __init__(self, socket: "zmq.Socket[bytes]", name: str) -> None:
        self.socket, self.name = socket, name
        self.job = ""
        self.transfer: Transfer | None = None
        self.hash = hashlib.sha256()
        self.done = False

    def say(self, message: FromVehicle) -> None:
        self.socket.send_multipart(FROM_VEHICLE.encode(message))

    def hear(self, message: ToVehicle, now_ns: int) -> None:
        match message:
            case Assign(signed=signed) if signed is not None and self.transfer is None:
                order = msgspec.msgpack.decode(signed.body, type=AssignmentOrder)
                assert order.spec.onboard_content is not None
                self.job = message.assignment_id
                self.transfer = pull.begin(order.spec.onboard_content, 0)
            case Chunk() if self.transfer is not None:
                self.take(self.transfer, message, now_ns)
            case Withdraw():
                self.job = ""
            case _:
                pass
        self.ask(now_ns)

    def take(self, before: Transfer, chunk: Chunk, now_ns: int) -> None:
        self.transfer = pull.arrived(before, chunk.offset, len(chunk.data), now_ns)
        if self.transfer is not before:
            self.hash.update(chunk.data)
            if self.transfer.whole:
                assert self.hash.hexdigest() == before.content.digest
                self.done = True

    def ask(self, now_ns: int) -> None:
        if self.transfer is not None:
            self.transfer, offsets = pull.poll(self.transfer, now_ns)
            digest = self.transfer.content.digest
            for offset in offsets:
                self.say(Fetch(assignment_id=self.job, digest=digest, offset=offset))

    def beat(self) -> None:
        held = TaskHeld(assignment_id=self.job, state=TaskState.GATHERING, iteration=1)
        self.say(Heartbeat(tasks=(held,) if self.job else ()))


def sockets(args: argparse.Namespace) -> Iterator[tuple[str, "zmq.Socket[bytes]"]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, args.vehicles + 100)
    fleet = read_link_keys(args.own, args.cloud, "vehicle")
    identities = Identities(fleet, None)  # type: ignore[arg-type]
    for number in range(args.vehicles):
        name = name_of(number)
        socket = dealer(context, args.endpoint, identities.keys_of(name))
        assert socket.poll(60_000, zmq.POLLOUT), f"{name} finds no cloud"
        yield name, socket


def be_clients(args: argparse.Namespace) -> None:
    """Pull what is assigned, say so, and stay."""
    clock = SystemClock()
    clients = {socket: Client(socket, name) for name, socket in sockets(args)}
    poller = zmq.Poller()
    for socket, client in clients.items():
        poller.register(socket, zmq.POLLIN)
        client.say(Hello(vehicle_id=client.name, epoch="e", agent_version="1", dbc_hash="d" * 64))
    say("ready")
    beat_ns = told = 0
    while True:
        now_ns = clock.monotonic_ns()
        for socket, _ in poller.poll(200):
            clients[socket].hear(TO_VEHICLE.decode(socket.recv_multipart()), now_ns)
        if now_ns >= beat_ns:
            beat_ns = now_ns + 2_000_000_000
            for client in clients.values():
                client.beat()
                client.ask(now_ns)
        done = sum(client.done for client in clients.values())
        if done > told:
            told = done
            say(f"done {done}")


def be_sinks(args: argparse.Namespace) -> None:
    """Take one large message each."""
    poller = zmq.Poller()
    for _, socket in sockets(args):
        socket.setsockopt(zmq.MAXMSGSIZE, -1)
        socket.send(b"here")
        poller.register(socket, zmq.POLLIN)
    say("ready")
    done = 0
    while True:
        for socket, _ in poller.poll(200):
            done += len(socket.recv()) > 1000
            say(f"done {done}")


def be_pusher(args: argparse.Namespace) -> None:
    """A bare ROUTER: echoes, and pushes to all at once when told to."""
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, load_keys(args.own, "cloud").curve_secret)
    socket.bind("tcp://127.0.0.1:*")
    say(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    data = random.Random(1).randbytes(args.mb * 1_000_000)
    sinks: list[bytes] = []
    while True:
        route, body = socket.recv_multipart()
        if body == b"here":
            sinks.append(route)
        elif body == b"go":
            for sink in sinks:
                socket.send_multipart([sink, bytearray(data)])  # each message its own copy
        else:
            socket.send_multipart([route, body])


class Watch:
    """The longest answer and the highest memory while something happens."""

    def __init__(self, pid: int, ask: Callable[[], object]) -> None:
        self._status, self._ask = Path(f"/proc/{pid}/status"), ask
        self._over = threading.Event()
        self.idle_s = max(self._asked() for _ in range(100))
        self.before_mb = self.most_mb = self._rss_mb()
        self.worst_s = 0.0
        self._threads = [threading.Thread(target=f) for f in (self._probe, self._sample)]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _asked(self) -> float:
        began = time.perf_counter()
        self._ask()
        return time.perf_counter() - began

    def _probe(self) -> None:
        while not self._over.wait(PROBE_S):
            self.worst_s = max(self.worst_s, self._asked())

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.most_mb = max(self.most_mb, self._rss_mb())

    def _rss_mb(self) -> float:
        return int(self._status.read_text().partition("VmRSS:")[2].split()[0]) * 1.024e-3


class Child:
    """This module in another process, in another part."""

    def __init__(self, part: str, args: argparse.Namespace, *more: str) -> None:
        sizes = ["--vehicles", str(args.vehicles), "--mb", str(args.mb)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.payloads", "--be", part, *sizes, *more],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the other process ended"
        return line

    def all_done(self, vehicles: int, began: float) -> float:
        while self.line() != f"done {vehicles}":
            assert time.perf_counter() - began < PATIENCE_S
        return time.perf_counter() - began

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


def report(what: str, args: argparse.Namespace, took_s: float, watch: Watch) -> None:
    say(
        f"{what}: {args.mb} MB to {args.vehicles} vehicles in {took_s:.1f} s "
        f"({args.mb * args.vehicles / took_s:.0f} MB/s), router memory "
        f"+{watch.most_mb - watch.before_mb:.0f} MB, longest answer to another peer "
        f"{watch.worst_s:.3f} s (idle {watch.idle_s:.3f} s)"
    )


def pulled(args: argparse.Namespace, local: LocalFleet, keys: list[str]) -> None:
    text = random.Random(1).randbytes(args.mb * 500_000).hex()
    with (
        local.connect("bench") as fleet,
        Connection(local.connect("other")._connection.settings) as other,
        Child("clients", args, "--endpoint", local.endpoint, *keys) as clients,
    ):
        assert clients.line() == "ready"
        while other.ask(Ping(), Pong).vehicles_online < args.vehicles:
            time.sleep(0.05)
        fleet.update_code("def custom(data, params):\n    return 1\n", wait=False)
        with Watch(local.pid("cloud"), lambda: other.ask(Ping(), Pong)) as watch:
            began = time.perf_counter()
            spec = {"signals": ["Vehicle.Speed"], "onboard": "custom", "window": {"samples": 10}}
            job = fleet.assign(spec, onboard_params={"text": text})
            took_s = clients.all_done(args.vehicles, began)
        report("pulled by hash, from the durable ledger", args, took_s, watch)
        job.cancel()


def pushed(args: argparse.Namespace, cloud_key: str, link: LinkKeys, keys: list[str]) -> None:
    with Child("pusher", args, "--own", cloud_key) as pusher:
        endpoint = pusher.line()
        socket = dealer(zmq.Context.instance(), endpoint, link)
        assert socket.poll(10_000, zmq.POLLOUT)

        def echo() -> None:
            socket.send(b"?")
            assert socket.poll(int(PATIENCE_S * 1000))
            socket.recv()

        with Child("sinks", args, "--endpoint", endpoint, *keys) as sinks:
            assert sinks.line() == "ready"
            echo()
            with Watch(pusher.process.pid, echo) as watch:
                began = time.perf_counter()
                go = dealer(zmq.Context.instance(), endpoint, link)
                assert go.poll(10_000, zmq.POLLOUT)
                go.send(b"go")
                took_s = sinks.all_done(args.vehicles, began)
        report("pushed at once, by a bare ROUTER", args, took_s, watch)
        for each in (go, socket):
            each.close(linger=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vehicles", type=int, default=100)
    parser.add_argument("--mb", type=int, default=10)
    for hidden in ("--be", "--endpoint"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    for hidden in ("--own", "--cloud"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be is not None:
        {"clients": be_clients, "sinks": be_sinks, "pusher": be_pusher}[args.be](args)
        return
    with tempfile.TemporaryDirectory(prefix="oodida-payloads-") as folder:
        with LocalFleet(Path(folder), []) as local:
            assert local.keys is not None
            own = local.keys.for_vehicle("fleet")
            cloud_key = local.keys.for_cloud()
            write_cards(Path(own["own"]), args.vehicles, Path(cloud_key["authorized"]))
            local.start_cloud()
            keys = ["--own", own["own"], "--cloud", own["cloud"]]
            pulled(args, local, keys)
        link = read_link_keys(Path(own["own"]), Path(own["cloud"]), "vehicle")
        pushed(args, cloud_key["own"], link, keys)


if __name__ == "__main__":
    main()
