"""The loop that many light vehicles share, and as many processes as their descriptors need."""

import gc
import heapq
import itertools
import logging
import os
import select
import signal
from dataclasses import dataclass
from types import FrameType

import zmq

from agent.app import open_sources
from agent.config import AgentConfig, AgentKeys
from agent.sandbox import linux
from agent.signals.hub import SignalHub
from agent.signals.profile import load_profile
from agent.simulation.identities import Identities, name_of
from agent.simulation.signals import SharedGathering
from agent.simulation.vehicle import LightVehicle, Shared
from user_lib.contract.clock import SECOND, SystemClock
from user_lib.contract.messages import Catalog
from user_lib.wire.descriptors import RESERVE, raise_descriptor_limit
from user_lib.wire.socket import check_endpoint, check_trust
from user_lib.wire.version import installed_version

__all__ = ["Plan", "simulate"]

log = logging.getLogger(__name__)

DESCRIPTORS_A_VEHICLE = 3
STARTS_A_ROUND = 50
COLLECTED_AFTER = (20_000, 20, 1000)
"""Objects made, and collections of the younger ones, before garbage is looked for."""
LONGEST_WAIT_S = 0.05
SILENCE_NS = 10 * SECOND
"""Without any connection for so long, somebody has to be told: the vehicles have no monitors."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What fleet to be; without ``keys`` it must be said that it is to be ``insecure``."""

    vehicles: int
    cloud: str
    profile: str
    speed: float
    keys: AgentKeys | None
    insecure: bool


def simulate(plan: Plan) -> int:
    """Be a fleet until SIGTERM or SIGINT; return the exit code.

    Raises: ConfigError, for an address, keys or a profile that cannot be.
    """
    check_endpoint(plan.cloud)
    check_trust(plan.cloud, keyed=plan.keys is not None, insecure=plan.insecure, what="cloud")
    load_profile(plan.profile)
    identities = None if plan.keys is None else Identities.read(plan.keys)
    most = max(1, (raise_descriptor_limit() - RESERVE) // DESCRIPTORS_A_VEHICLE)
    shares = -(-plan.vehicles // most)
    firsts = [plan.vehicles * i // shares for i in range(shares + 1)]
    children = [
        _fork(range(first, stop), plan, identities) for first, stop in itertools.pairwise(firsts)
    ]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for child in children:
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return next((abs(code) for code in codes if code), 0)


def _fork(numbers: range, plan: Plan, identities: Identities | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        linux.die_with_parent()
        _Fleet(numbers, plan, identities).run()
        code = 0
    except Exception:
        log.exception("the simulated fleet ends")
    finally:
        os._exit(code)


class _Fleet:
    """Some of the vehicles, in one process and one thread."""

    def __init__(self, numbers: range, plan: Plan, identities: Identities | None) -> None:
        self._clock = SystemClock()
        self._shared = _shared(plan, len(numbers), identities, self._clock)
        self._names = [name_of(number) for number in numbers]
        self._vehicles: list[LightVehicle] = []
        self._by_fd: dict[int, int] = {}
        self._due: list[tuple[int, int]] = []
        self._due_ns: list[int] = []
        self._epoll = select.epoll()
        self._stopping = False
        self._told_by_ns: int | None = self._clock.monotonic_ns() + SILENCE_NS
        """When to look whether anybody got through; None after that."""

    def run(self) -> None:
        """Turn until a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            self._start_some()
            for index in self._ready():
                self._turn(index)
            self._tell_of_silence()
        for vehicle in self._vehicles:
            vehicle.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True

    def _tell_of_silence(self) -> None:
        """Say it, once, when no vehicle got through to the cloud."""
        if self._told_by_ns is None or self._clock.monotonic_ns() < self._told_by_ns:
            return
        self._told_by_ns = None
        if not any(vehicle.dealer.connects for vehicle in self._vehicles):
            log.error(
                "none of %d vehicles got through to %s: is a cloud running there, has it their "
                "cards (--write-cards DIRECTORY), and is --cloud-key its card?",
                len(self._vehicles),
                self._shared.cloud,
            )

    def _start_some(self) -> None:
        """Bring a few more vehicles on, so that the first ones need not wait for the last."""
        first = len(self._vehicles)
        if first == len(self._names):
            return
        for name in self._names[first : first + STARTS_A_ROUND]:
            vehicle = LightVehicle(name, self._shared)
            self._by_fd[vehicle.dealer.fd] = len(self._vehicles)
            self._epoll.register(vehicle.dealer.fd, select.EPOLLIN | select.EPOLLET)
            self._vehicles.append(vehicle)
            self._due_ns.append(0)
            self._turn(len(self._vehicles) - 1)
        if len(self._vehicles) == len(self._names):
            # One vehicle's garbage is not looked for in the memory of all the others.
            gc.freeze()
            gc.set_threshold(*COLLECTED_AFTER)

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


def _shared(plan: Plan, vehicles: int, identities: Identities | None, clock: SystemClock) -> Shared:
    profile = load_profile(plan.profile)
    sources = open_sources(AgentConfig(profile=plan.profile), profile, clock)
    hub = SignalHub(profile, sources, clock=clock)  # never started: it only knows the signals
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, vehicles + 100)
    return Shared(
        context=context,
        cloud=plan.cloud,
        gathering=SharedGathering(hub),
        catalog=Catalog(dbc_hash=hub.catalog_hash, signals=hub.signals()),
        agent_version=installed_version(),
        model=profile.model,
        profile=profile.name,
        speed=plan.speed,
        clock=clock,
        identities=identities,
    )
