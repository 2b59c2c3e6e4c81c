"""Fuzz targets of the links: the codec, the cloud's service, and a vehicle on a real socket.

Each takes bytes as what came, or as the seed of a well-formed hostile conversation. The cloud and
the vehicle live on from one input to the next, so that states are met that one message cannot make.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import zmq

from agent.app import open_sources
from agent.config import AgentConfig
from agent.signals.hub import SignalHub
from agent.signals.profile import load_profile
from agent.simulation.signals import SharedGathering
from agent.simulation.vehicle import LightVehicle, Shared
from cloud.auth import Auth, Peer
from cloud.config import Bounds, Config, Rate
from cloud.ledger import Ledger
from cloud.service import Service
from tests.fuzz.messages import CODECS, hostile_frames
from user_lib.contract.clock import SECOND, SystemClock
from user_lib.contract.codec import FROM_VEHICLE
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import Catalog
from user_lib.wire.version import installed_version

__all__ = ["LINK_TARGETS"]

Target = Callable[[bytes], None]
PEERS = [Peer(bytes([i])) for i in range(4)]
ANYTHING = Rate(messages_per_s=1e9, mb_per_s=1e6)
RESTART_EVERY = 2000
HEARD_MS = 20


def codec(data: bytes) -> None:
    """What is decoded is encoded to the same message again; all else is a ProtocolError."""
    dice = random.Random(data)
    for kind, each in CODECS.items():
        for frames in ([each.header, data], hostile_frames(kind, dice)):
            try:
                message = each.decode(frames)
            except ProtocolError:
                continue
            again = each.decode(each.encode(message))
            assert each.encode(again) == each.encode(message)


class FuzzedCloud:
    """The real service and ledger, on a clock that goes on with each message."""

    def __init__(self) -> None:
        self.now_ns = SECOND
        self.folder = Path(mkdtemp(prefix="oodida-fuzz-"))
        self.inputs = 0
        self.open()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return 10**18 + self.now_ns

    def open(self) -> None:
        path = self.folder / f"{self.inputs}.db"
        self.ledger = Ledger(path)
        config = Config(ledger=path, bounds=Bounds(vehicle_rate=ANYTHING, analyst_rate=ANYTHING))
        self.service = Service(config, self.ledger, self, "fuzz", Auth(None))

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        if self.inputs % RESTART_EVERY == 0:
            self.service.close()
            self.ledger.close()
            (self.folder / f"{self.inputs - RESTART_EVERY}.db").unlink(missing_ok=True)
            self.open()
        dice = random.Random(data)
        self.hear([FROM_VEHICLE.header, data], dice)
        for _ in range(4):
            kind = dice.choice(("from_vehicle", "request"))
            self.hear(hostile_frames(kind, dice), dice)

    def hear(self, frames: list[bytes], dice: random.Random) -> None:
        self.now_ns += dice.randrange(SECOND)
        self.service.receive(dice.choice(PEERS), frames)
        self.service.timers()
        self.service.finish()
        assert self.service.complaints.counts["internal error"] == 0


class FuzzedVehicle:
    """A light vehicle on a real socket to a router that says whatever the fuzzer likes."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.vehicle = LightVehicle("kona", self._shared(f"tcp://127.0.0.1:{port}"))
        self.peer = b""

    def _shared(self, cloud: str) -> Shared:
        clock = SystemClock()
        profile = load_profile("compact")
        hub = SignalHub(profile, open_sources(AgentConfig(profile="compact"), profile, clock))
        return Shared(
            context=self.context,
            cloud=cloud,
            gathering=SharedGathering(hub),
            catalog=Catalog(dbc_hash=hub.catalog_hash, signals=hub.signals()),
            agent_version=installed_version(),
            model=profile.model,
            profile=profile.name,
            speed=100.0,
            clock=clock,
            identities=None,
        )

    def __call__(self, data: bytes) -> None:
        self._drain()
        dice = random.Random(data)
        self.router.send_multipart([self.peer, CODECS["to_vehicle"].header, data])
        for _ in range(4):
            self.router.send_multipart([self.peer, *hostile_frames("to_vehicle", dice)])
        if self.vehicle.dealer._socket.poll(HEARD_MS):
            self.vehicle.turn()

    def _drain(self) -> None:
        """Take in what it says, which must be messages; the first time, wait until it speaks."""
        while not self.peer or self.router.poll(0):
            self.vehicle.turn()
            if self.router.poll(HEARD_MS):
                self.peer, *frames = self.router.recv_multipart()
                FROM_VEHICLE.decode(frames)


def _built_once(build: Callable[[], Target]) -> Target:
    """Return a target that is built at its first input."""
    built: list[Target] = []

    def run(data: bytes) -> None:
        if not built:
            built.append(build())
        built[0](data)

    return run


LINK_TARGETS: Mapping[str, Target] = {
    "codec": codec,
    "cloud": _built_once(FuzzedCloud),
    "vehicle": _built_once(FuzzedVehicle),
}
