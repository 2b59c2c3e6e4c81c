"""What encryption and durability cost: the same replayed results against four clouds in turn."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agent.simulation import write_cards
from agent.simulation.identities import name_of
from tests.benchmarks.figures import Figure, cpu_s
from tests.benchmarks.replay import Replay
from user_lib.demo.local_fleet import LocalFleet
from user_lib.wire.keys import LinkKeys, read_link_keys

CONNECTIONS = 200
RESULTS = 30_000
STREAM = {
    "signals": ["Vehicle.Speed"],
    "onboard": "collect",
    "window": {"seconds": 1},
    "when": "Vehicle.Speed > 0",
    "iterations": "forever",
}
ROUNDS = {
    "signals": ["Vehicle.Speed"],
    "onboard": "collect",
    "window": {"seconds": 1},
    "iterations": "forever",
    "quorum": 0.1,
    "deadline_s": 5,
}


class CloudAlone(LocalFleet):
    """A cloud without agents; not ``durable``, its ledger does not wait for the disk."""

    durable = True

    def _spawn(
        self, name: str, module: str, arguments: list[str], *, keep_fd: int | None = None
    ) -> None:
        module = module if self.durable else "tests.benchmarks.cloud_without_sync"
        super()._spawn(name, module, arguments, keep_fd=keep_fd)


def run(*, least: float) -> Iterator[Figure]:
    """Measure all four; ``least`` is the target of the one that production runs."""
    yield from exchange("replayed, keys, durable", STREAM, least=least)
    yield from exchange("replayed, keys, durable, in rounds", ROUNDS)
    yield from exchange("replayed, keys, synchronous=OFF", STREAM, durable=False)
    yield from exchange("replayed, insecure, durable", STREAM, insecure=True)
    yield from exchange("replayed, insecure, synchronous=OFF", STREAM, True, durable=False)


def exchange(
    what: str,
    spec: dict[str, object],
    insecure: bool = False,
    *,
    durable: bool = True,
    least: float | None = None,
) -> Iterator[Figure]:
    """Let a fresh cloud take the results; yield the rate, and the CPU time that each took."""
    with (
        tempfile.TemporaryDirectory() as folder,
        CloudAlone(Path(folder), [], insecure=insecure) as local,
    ):
        local.durable = durable
        fleet_keys = _keys(local)
        local.start()
        names = [name_of(i) for i in range(CONNECTIONS)]
        with closing(Replay(local.endpoint, names, fleet_keys)) as replay:
            replay.come_online()
            with local.connect("bench") as fleet:
                job = fleet.assign(spec)
                replay.take(job.id)
            size = replay.make(job.id, RESULTS // CONNECTIONS)
            assert size >= 2000 or insecure, size
            used_s, own_s = cpu_s([local.pid("cloud")]), time.process_time()
            took_s = replay.send_all()
            used_s = cpu_s([local.pid("cloud")]) - used_s
            own_s = time.process_time() - own_s
    yield Figure(what, RESULTS / took_s, "1/s", least=least)
    yield Figure("  CPU a result in the cloud", 1e6 * used_s / RESULTS, "us")
    yield Figure("  CPU a result where they are sent from", 1e6 * own_s / RESULTS, "us")


def _keys(local: LocalFleet) -> LinkKeys | None:
    if local.keys is None:
        return None
    local.keys.for_user("bench")
    files = local.keys.for_vehicle("simulated")
    write_cards(Path(files["own"]), CONNECTIONS, Path(local.keys.for_cloud()["authorized"]))
    return read_link_keys(Path(files["own"]), Path(files["cloud"]), "vehicle")
