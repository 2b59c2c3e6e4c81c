"""One light vehicle: the agent's own loop, tasks, store and session, on signals that are canned.

What is simulated is what costs memory and threads: the signals (a window is the same samples each
time), the worker slots (built-in methods run at once, in this process; custom code is not run), the
state on disk and the socket's monitor. No thread, no process and one connection a vehicle.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from agent.contents import Contents
from agent.inbox import Inbox
from agent.link.dealer import Change, Dealer
from agent.loop import About, MainLoop
from agent.orders import Orders, Rules
from agent.policy import Allowance, Policy
from agent.simulation.identities import Identities
from agent.simulation.signals import CannedSignals, SharedGathering
from agent.simulation.slots import InstantSlots
from agent.simulation.store import LightStore
from agent.tasks.live import Surroundings
from agent.tasks.modules import Modules
from agent.tasks.ports import News
from agent.tasks.receipt import Identity
from agent.tasks.table import Table
from agent.trust import Trust
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.messages import Catalog, Hello
from user_lib.wire.keys import LinkKeys

__all__ = ["LightVehicle", "Shared"]

HEARTBEAT_MS = 30_000
"""No tunnel is simulated: the pings of ten thousand would only be a load of their own."""
TURNS_AT_ONCE = 8
_EVENTS, _IN, _OUT = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.POLLOUT)
REST_NS = 5 * SECOND
"""Tasks are looked at this often at least: start times and durations are as coarse."""
STORE_MB = 32.0
IDLE_REST_NS = 30 * SECOND
"""And so often a vehicle without any; ten thousand that look would be a load of their own."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What all vehicles of a process have in common."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    cloud: str
    gathering: SharedGathering
    catalog: Catalog
    agent_version: str
    model: str
    profile: str
    speed: float
    clock: Clock
    identities: Identities | None
    """None in insecure mode."""


class LightDealer(Dealer):
    """A `Dealer` without a monitor: whether there is a connection, the socket itself tells."""

    def __init__(self, shared: Shared, keys: LinkKeys | None) -> None:
        super().__init__(
            shared.context,
            shared.cloud,
            keys,
            shared.clock,
            monitored=False,
            heartbeat_ms=HEARTBEAT_MS,
        )
        self._up = False
        self._events: int | None = None
        """What the socket said last, until it is used; asking it is a system call."""

    @property
    def fd(self) -> int:
        """A descriptor that changes when something may have happened; see ZMQ_FD."""
        return self._socket.fileno()

    @property
    def has_news(self) -> bool:
        """Whether a message waits, or the connection has come or gone."""
        events = self._events = self._ask()
        return bool(events & _IN) or bool(events & _OUT) is not self._up

    def _ask(self) -> int:
        return int(self._socket.getsockopt(_EVENTS))

    def _changes(self) -> Iterator[Change]:
        events, self._events = self._events, None
        up = bool((self._ask() if events is None else events) & _OUT)
        if up is not self._up:
            self._up = up
            self.connects += up
            yield Change.CONNECTED if up else Change.DISCONNECTED


class Mailbox(Inbox[News]):
    """An inbox that nobody has to be woken for: all is one thread."""

    def __init__(self) -> None:
        self._waiting: deque[News] = deque()
        self.fd = -1

    def __len__(self) -> int:
        return len(self._waiting)

    def post(self, item: News) -> None:
        self._waiting.append(item)

    def wake(self) -> None:
        return

    def drain(self) -> Iterator[News]:
        for _ in range(len(self._waiting)):
            yield self._waiting.popleft()

    def close(self) -> None:
        return


class LightVehicle:
    """A vehicle to be given turns by the loop of its fleet."""

    def __init__(self, vehicle_id: str, shared: Shared) -> None:
        self._shared = shared
        self.store = LightStore()
        self._mailbox = Mailbox()
        self._signals = CannedSignals(shared.gathering, shared.speed, shared.clock)
        catalog = shared.catalog
        identities = shared.identities
        keys = None if identities is None else identities.keys_of(vehicle_id)
        identity = Identity(
            vehicle_id,
            self.store.epoch,
            shared.agent_version,
            catalog.dbc_hash,
            None if keys is None else keys.own.sign,
        )
        policy, modules = Policy(), Modules(())
        contents = Contents(self.store, int(STORE_MB * 1e6))
        around = Surroundings(
            identity, self.store, self._signals, InstantSlots(self._mailbox.post),
            Allowance(policy, kept=False), self._mailbox.post, contents,
        )  # fmt: skip
        trust = Trust(vehicle_id, None if identities is None else identities.analysts)
        rules = Rules(policy, frozenset(), self._signals, trust, identity.cap)
        self._table = Table(around, modules)
        orders = Orders(identity, rules, self.store, self._table, modules)
        hello = Hello(
            vehicle_id=vehicle_id,
            epoch=identity.epoch,
            agent_version=shared.agent_version,
            model=shared.model,
            profile=shared.profile,
            tags={"simulated": "light"},
            dbc_hash=catalog.dbc_hash,
        )
        self.dealer = LightDealer(shared, keys)
        about = About(
            hello=hello,
            catalog=catalog,
            stats=dict,
            contents=contents,
            cap=identity.cap,
            signer=identity.signer,
        )
        self._due_ns = 0
        self._loop = MainLoop(self.dealer, self.store, orders, about, self._mailbox, shared.clock)

    def turn(self) -> int:
        """Do all that is due, if anything is; return when the next turn is."""
        now_ns = self._shared.clock.monotonic_ns()
        if now_ns < self._due_ns and not self.dealer.has_news:
            return self._due_ns
        for arrived in self._signals.due(self._shared.clock.monotonic_ns()):
            self._mailbox.post(arrived)
        for _ in range(TURNS_AT_ONCE):
            self._loop.turn()
            if not self._mailbox and not self.dealer.has_news:
                rest_ns = REST_NS if len(self._table) else IDLE_REST_NS
                dues = (self._loop.wake_ns, self._signals.due_ns, now_ns + rest_ns)
                self._due_ns = min(due for due in dues if due is not None)
                return self._due_ns
        self._due_ns = now_ns  # there is more; the others come first
        return self._due_ns

    def close(self) -> None:
        """Close its socket and its store."""
        self.dealer.close()
        self.store.close()
