"""The figures of a large fleet: ``python -m tests.benchmarks.fleet 100 1000 10000``.

A real cloud with a durable ledger, and `oodida-agent --simulate-fleet`: the agent's own loop, task
table and session, on the same machine, so that both share its processors. Everything that is
counted was on the cloud's disk before it was acknowledged.
"""

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.simulation import write_cards
from user_lib.connection import Connection
from user_lib.contract.messages import JobChanged, Ping, Pong
from user_lib.demo.local_fleet import LocalFleet

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0
THROUGHPUT_S = 10.0
LEASE_S = 60.0
"""Heartbeats of a large fleet come every third of it."""
TICKS = os.sysconf("SC_CLK_TCK")
BULK = {"signals": ["Vehicle.Speed"], "onboard": "collect", "window": {"seconds": 1}}
"""A hundred samples with their times: results of about 2 KB."""
FILLER = "x" * 1600


@dataclass(frozen=True)
class Figure:
    """One row of the table; ``most`` is the target where lower is better, else ``least``."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    def row(self) -> str:
        target, verdict = "", ""
        if self.most is not None:
            target, verdict = f"<= {self.most:g}", "yes" if self.value <= self.most else "NO"
        if self.least is not None:
            target, verdict = f">= {self.least:g}", "yes" if self.value >= self.least else "NO"
        return f"{self.what:46} {self.value:12.3f} {self.unit:12} {target:>10} {verdict:>4}"


class Bench:
    """A cloud, a simulated fleet of a size, and an analyst."""

    def __init__(self, local: LocalFleet, vehicles: int, speed: float) -> None:
        self.local, self.vehicles, self.speed = local, vehicles, speed
        self.fleet = local.connect("bench")
        self.line: Connection = self.fleet._connection
        self.empty_kb = self._rss_kb()

    def _rss_kb(self) -> int:
        status = Path(f"/proc/{self.local.pid('cloud')}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def _cpu_s(self) -> float:
        stat = Path(f"/proc/{self.local.pid('cloud')}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def online(self) -> int:
        return self.line.ask(Ping(), Pong).vehicles_online

    def wait_for_all(self) -> float:
        began = time.perf_counter()
        until(lambda: self.online() == self.vehicles, self.online)
        return time.perf_counter() - began

    def connect(self) -> Iterator[Figure]:
        yield Figure("first start until all online", self.wait_for_all(), "s")
        kb = (self._rss_kb() - self.empty_kb) / self.vehicles
        yield Figure("cloud memory a connection", kb, "KB", most=60)

    def fan_out(self) -> Iterator[Figure]:
        params = {"onboard": "custom", "onboard_params": {"filler": FILLER}}
        later = {**BULK, **params, "start": "2100-01-01T00:00:00Z", "iterations": "forever"}
        began = time.perf_counter()
        job = self.fleet.assign(later)
        accepted = 0
        for event in job.events(("job",)):
            accepted += isinstance(event.item, JobChanged) and event.item.reason == "accepted"
            if accepted == self.vehicles:
                break
        took_s = time.perf_counter() - began
        yield Figure("a 2 KB assignment until all took it", took_s, "s", most=2)
        job.cancel()

    def swap(self) -> Iterator[Figure]:
        self.fleet.update_code("def custom(xs):\n    return 1\n", timeout_s=PATIENCE_S)
        update = self.fleet.update_code("def custom(xs):\n    return 2\n", timeout_s=PATIENCE_S)
        took = sorted(v.swap_ms for v in update.vehicles if v.swap_ms is not None)
        states = Counter(v.state for v in update.vehicles)
        assert len(took) == self.vehicles, (len(took), states)
        most_ms = {100: 250, 10_000: 2000}.get(self.vehicles)
        yield Figure("code swap, median", took[len(took) // 2], "ms")
        yield Figure("code swap, p99", took[int(len(took) * 0.99)], "ms", most=most_ms)

    def throughput(self) -> Iterator[Figure]:
        job = self.fleet.assign({**BULK, "iterations": "forever", "quorum": 0.1, "deadline_s": 5})
        until(lambda: self._results() > 0, self._results)
        time.sleep(2)
        results, cpu_s, began = self._results(), self._cpu_s(), time.perf_counter()
        time.sleep(THROUGHPUT_S)
        results, cpu_s = self._results() - results, self._cpu_s() - cpu_s
        rate = results / (time.perf_counter() - began)
        asked = self.vehicles * self.speed
        yield Figure(f"durable 2 KB results (of {asked:g} asked for)", rate, "1/s", least=10_000)
        yield Figure("cloud CPU a result, rounds included", 1e6 * cpu_s / max(1, results), "us")
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
def simulated(vehicles: int, cloud: str, speed: float, keys: list[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "agent", "--simulate-fleet", str(vehicles), *keys]
    process = subprocess.Popen([*command, "--speed", str(speed), "--cloud", cloud], cwd=ROOT)
    try:
        yield
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
        with simulated(vehicles, local.endpoint, speed, keys):
            for part in (bench.connect, bench.swap, bench.fan_out, bench.come_back):
                yield from part()
            yield from bench.throughput()
        bench.fleet.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    parser.add_argument("vehicles", nargs="*", type=int, default=[100, 1000])
    parser.add_argument("--asked", type=float, default=12_000, help="results a second to ask for")
    parser.add_argument("--insecure", action="store_true", help="without keys")
    given = parser.parse_args()
    for vehicles in given.vehicles:
        sys.stdout.write(f"\n{vehicles} vehicles{'':37} {'measured':>12} {'':12} {'target':>10}\n")
        for figure in run(vehicles, given.asked / vehicles, insecure=given.insecure):
            sys.stdout.write(f"{figure.row()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
