"""The loop that many light vehicles share, and as many processes as their descriptors need."""

import heapq
import itertools
import logging
import os
import resource
import select
import signal
from types import FrameType

import zmq

from agent.app import agent_version, open_sources
from agent.config import AgentConfig
from agent.gathering import Gathering
from agent.sandbox import linux
from agent.signals.hub import SignalHub
from agent.signals.profile import load_profile
from agent.simulation.vehicle import LightVehicle, Shared
from user_lib.contract.clock import SECOND, SystemClock
from user_lib.contract.messages import Catalog
from user_lib.wire.socket import check_endpoint, check_trust

__all__ = ["simulate"]

log = logging.getLogger(__name__)

DESCRIPTORS_A_VEHICLE = 3
SPARE_DESCRIPTORS = 200
STARTS_A_ROUND = 50
LONGEST_WAIT_S = 0.05


def simulate(vehicles: int, cloud: str, profile: str, speed: float) -> int:
    """Be a fleet until SIGTERM or SIGINT; return the exit code.

    They have no keys: the cloud is an insecure one, on this machine.

    Raises: ConfigError, for an address or a profile that cannot be.
    """
    check_endpoint(cloud)
    check_trust(cloud, keyed=False, insecure=True, what="cloud")  # light vehicles have no keys
    load_profile(profile)
    most = max(1, (_raise_limit() - SPARE_DESCRIPTORS) // DESCRIPTORS_A_VEHICLE)
    shares = -(-vehicles // most)
    firsts = [vehicles * i // shares for i in range(shares + 1)]
    children = [
        _fork(range(first, stop), cloud, profile, speed)
        for first, stop in itertools.pairwise(firsts)
    ]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for child in children:
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return next((abs(code) for code in codes if code), 0)


def _raise_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _fork(numbers: range, cloud: str, profile: str, speed: float) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        linux.die_with_parent()
        _Fleet(numbers, cloud, profile, speed).run()
        code = 0
    except Exception:
        log.exception("the simulated fleet ends")
    finally:
        os._exit(code)


class _Fleet:
    """Some of the vehicles, in one process and one thread."""

    def __init__(self, numbers: range, cloud: str, profile: str, speed: float) -> None:
        self._clock = SystemClock()
        self._shared = _shared(cloud, profile, speed, len(numbers), self._clock)
        self._names = [f"sim-{number:05}" for number in numbers]
        self._vehicles: list[LightVehicle] = []
        self._by_fd: dict[int, int] = {}
        self._due: list[tuple[int, int]] = []
        self._due_ns: list[int] = []
        self._epoll = select.epoll()
        self._stopping = False

    def run(self) -> None:
        """Turn until a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            self._start_some()
            for index in self._ready():
                self._turn(index)
        for vehicle in self._vehicles:
            vehicle.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True

    def _start_some(self) -> None:
        """Bring a few more vehicles on, so that the first ones need not wait for the last."""
        first = len(self._vehicles)
        for name in self._names[first : first + STARTS_A_ROUND]:
            vehicle = LightVehicle(name, self._shared)
            self._by_fd[vehicle.dealer.fd] = len(self._vehicles)
            self._epoll.register(vehicle.dealer.fd, select.EPOLLIN | select.EPOLLET)
            self._vehicles.append(vehicle)
            self._due_ns.append(0)
            self._turn(len(self._vehicles) - 1)

    def _ready(self) -> set[int]:
        """Return the vehicles that have something to do, waiting a little for one."""
        starting = len(self._vehicles) < len(self._names)
        wait_s = 0.0 if starting else LONGEST_WAIT_S
        if self._due and not starting:
            left_s = (self._due[0][0] - self._clock.monotonic_ns()) / SECOND
            wait_s = min(wait_s, max(0.0, left_s))
        ready = {self._by_fd[fd] for fd, _ in self._epoll.poll(wait_s)}
        now_ns = self._clock.monotonic_ns()
        while self._due and self._due[0][0] <= now_ns:
            due_ns, index = heapq.heappop(self._due)
            if due_ns == self._due_ns[index]:
                ready.add(index)
        return ready

    def _turn(self, index: int) -> None:
        due_ns = self._vehicles[index].turn()
        if due_ns != self._due_ns[index]:
            self._due_ns[index] = due_ns
            heapq.heappush(self._due, (due_ns, index))


def _shared(cloud: str, name: str, speed: float, vehicles: int, clock: SystemClock) -> Shared:
    profile = load_profile(name)
    sources = open_sources(AgentConfig(profile=name), profile, clock)
    hub = SignalHub(profile, sources, clock=clock)  # never started: it only knows the signals
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, vehicles + 100)
    return Shared(
        context=context,
        cloud=cloud,
        gathering=Gathering(hub),
        catalog=Catalog(dbc_hash=hub.catalog_hash, signals=hub.signals()),
        agent_version=agent_version(),
        model=profile.model,
        profile=profile.name,
        speed=speed,
        clock=clock,
    )
