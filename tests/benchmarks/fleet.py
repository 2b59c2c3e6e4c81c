"""The figures of a large fleet: ``python -m tests.benchmarks.fleet 100 10000``.

A real cloud with a durable ledger, keys and signatures, and `oodida-agent --simulate-fleet`: the
agent's own loop, task table and session, on the same machine, so that both share its processors.
Everything that is counted was on the cloud's disk before it was acknowledged.

What the cloud can take, and what encryption and durability cost, is measured with results that were
made before (`tests.benchmarks.costs`), since making them costs more than taking them.

Exit code 1 when a target was missed.
"""

import argparse
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent.simulation import write_cards
from tests.benchmarks import costs
from tests.benchmarks.figures import HEAD, Figure, children_of, cpu_s, rss_kb
from user_lib.connection import Connection
from user_lib.contract.messages import JobChanged, Ping, Pong
from user_lib.demo.local_fleet import LocalFleet

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0
THROUGHPUT_S = 10.0
RESULTS_A_SECOND = 10_000
MOST_KB = 60
MANY = 1000
"""Of fewer vehicles, these two targets say nothing."""
LEASE_S = 60.0
"""Heartbeats of a large fleet come every third of it."""
BULK = {"signals": ["Vehicle.Speed"], "onboard": "collect", "window": {"seconds": 1}}
"""A hundred samples with their times: results of about 2 KB."""
FILLER = "x" * 1600
CPU_A_VEHICLE = "  CPU of cloud, vehicles and analyst, a vehicle"


class Bench:
    """A cloud, a simulated fleet of a size, and an analyst."""

    def __init__(self, local: LocalFleet, vehicles: int, speed: float) -> None:
        self.local, self.vehicles, self.speed = local, vehicles, speed
        self.fleet = local.connect("bench")
        self.line: Connection = self.fleet._connection
        self.empty_kb = rss_kb(local.pid("cloud"))
        self.simulator = 0
        """The process whose children are the vehicles."""

    def _spent_us(self) -> float:
        """Return the CPU time so far of cloud, vehicles and analyst, in µs a vehicle.

        Whatever else the machine does, two cores cannot be faster than half of it.
        """
        pids = [self.local.pid("cloud"), *children_of(self.simulator)]
        return 1e6 * (cpu_s(pids) + time.process_time()) / self.vehicles

    def online(self) -> int:
        return self.line.ask(Ping(), Pong).vehicles_online

    def wait_for_all(self) -> float:
        began = time.perf_counter()
        until(lambda: self.online() == self.vehicles, self.online)
        return time.perf_counter() - began

    def connect(self) -> Iterator[Figure]:
        yield Figure("first start until all online", self.wait_for_all(), "s")
        many = self.vehicles >= MANY
        kb = (rss_kb(self.local.pid("cloud")) - self.empty_kb) / self.vehicles
        yield Figure("cloud memory a connection", kb, "KB", most=MOST_KB if many else None)

    def fan_out(self) -> Iterator[Figure]:
        params = {"onboard": "custom", "onboard_params": {"filler": FILLER}}
        later = {**BULK, **params, "start": "2100-01-01T00:00:00Z", "iterations": "forever"}
        began, spent_us = time.perf_counter(), self._spent_us()
        job = self.fleet.assign(later)
        accepted = 0
        for event in job.events(("job",)):
            accepted += isinstance(event.item, JobChanged) and event.item.reason == "accepted"
            if accepted == self.vehicles:
                break
        took_s, spent_us = time.perf_counter() - began, self._spent_us() - spent_us
        yield Figure("a 2 KB assignment until all took it", took_s, "s", most=2)
        yield Figure(CPU_A_VEHICLE, spent_us, "us")
        job.cancel()

    def swap(self) -> Iterator[Figure]:
        self.fleet.update_code("def custom(xs):\n    return 1\n", timeout_s=PATIENCE_S)
        spent_us = self._spent_us()
        update = self.fleet.update_code("def custom(xs):\n    return 2\n", timeout_s=PATIENCE_S)
        spent_us = self._spent_us() - spent_us
        took = sorted(v.swap_ms for v in update.vehicles if v.swap_ms is not None)
        states = Counter(v.state for v in update.vehicles)
        assert len(took) == self.vehicles, (len(took), states)
        most_ms = {100: 250, 10_000: 2000}.get(self.vehicles)
        yield Figure("code swap, median", took[len(took) // 2], "ms")
        yield Figure("code swap, p99", took[int(len(took) * 0.99)], "ms", most=most_ms)
        yield Figure(CPU_A_VEHICLE, spent_us, "us")

    def throughput(self) -> Iterator[Figure]:
        job = self.fleet.assign({**BULK, "iterations": "forever", "quorum": 0.1, "deadline_s": 5})
        until(lambda: self._results() > 0, self._results)
        time.sleep(2)
        cloud, vehicles = [self.local.pid("cloud")], children_of(self.simulator)
        results, began = self._results(), time.perf_counter()
        cloud_s, vehicles_s = cpu_s(cloud), cpu_s(vehicles)
        time.sleep(THROUGHPUT_S)
        took_s, results = time.perf_counter() - began, self._results() - results
        cloud_s, vehicles_s = cpu_s(cloud) - cloud_s, cpu_s(vehicles) - vehicles_s
        asked = self.vehicles * self.speed
        what = f"2 KB results computed, durable ({asked:g}/s asked for)"
        least = RESULTS_A_SECOND if self.vehicles >= MANY else None
        yield Figure(what, results / took_s, "1/s", least=least)
        yield Figure("  CPU a result in the cloud", 1e6 * cloud_s / max(1, results), "us")
        yield Figure("  CPU a result in the vehicles", 1e6 * vehicles_s / max(1, results), "us")
        job.cancel()

    def _results(self) -> int:
        ledger = self.local.folder / "ledger.sqlite"
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            return db.execute("SELECT coalesce(max(id), 0) FROM results").fetchone()[0]

    def come_back(self) -> Iterator[Figure]:
        self.local.kill("cloud")
        began = time.perf_counter()
        self.local.start_cloud()
        self.wait_for_all()
        took_s = time.perf_counter() - began
        yield Figure("restart after a kill -9 until all are back", took_s, "s", most=20)


def until(happened: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"gave up at {what()}")
        time.sleep(0.02)


def keys_for(local: LocalFleet, vehicles: int) -> list[str]:
    """Let the cloud know the vehicles; return what the simulator is given."""
    if local.keys is None:
        return ["--insecure"]
    local.keys.for_user("bench")
    files = local.keys.for_vehicle("simulated")
    write_cards(Path(files["own"]), vehicles, Path(local.keys.for_cloud()["authorized"]))
    own, cloud, analysts = files["own"], files["cloud"], files["analysts"]
    return ["--key", own, "--cloud-key", cloud, "--analysts", analysts]


@contextmanager
def simulated(vehicles: int, cloud: str, speed: float, keys: list[str]) -> Iterator[int]:
    command = [sys.executable, "-m", "agent", "--simulate-fleet", str(vehicles), *keys]
    process = subprocess.Popen([*command, "--speed", str(speed), "--cloud", cloud], cwd=ROOT)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def run(vehicles: int, speed: float, *, insecure: bool) -> Iterator[Figure]:
    config: dict[str, Any] = {"bounds": {"vehicles": 20_000}, "lease_s": LEASE_S}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalFleet(Path(folder), [], cloud_config=config, insecure=insecure) as local,
    ):
        keys = keys_for(local, vehicles)
        local.start()
        bench = Bench(local, vehicles, speed)
        with simulated(vehicles, local.endpoint, speed, keys) as simulator:
            bench.simulator = simulator
            for part in (bench.connect, bench.swap, bench.fan_out, bench.come_back):
                yield from part()
            yield from bench.throughput()
        bench.fleet.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    parser.add_argument("vehicles", nargs="*", type=int, default=[100, 1000])
    parser.add_argument("--asked", type=float, default=12_000, help="results a second to ask for")
    parser.add_argument("--insecure", action="store_true", help="the fleets without keys")
    parser.add_argument("--no-costs", action="store_true", help="the fleets only")
    given = parser.parse_args()
    missed = False
    for vehicles in given.vehicles:
        title = f"{vehicles} vehicles{', insecure' if given.insecure else ''}"
        speed = given.asked / vehicles
        missed |= not shown(title, run(vehicles, speed, insecure=given.insecure))
    if not given.no_costs:
        title = f"{costs.RESULTS} results of 2 KB over {costs.CONNECTIONS} connections"
        missed |= not shown(title, costs.run(least=RESULTS_A_SECOND))
    return int(missed)


def shown(title: str, figures: Iterator[Figure]) -> bool:
    """Print figures as they come; return whether every target was met."""
    sys.stdout.write(f"\n{title}\n{HEAD}\n")
    met = True
    for figure in figures:
        sys.stdout.write(f"{figure.row()}\n")
        sys.stdout.flush()
        met &= figure.reached
    return met


if __name__ == "__main__":
    sys.exit(main())
