"""Eight CAN FD buses at full rate into a real agent, while tasks run: nothing may be lost.

Run ``python -m tests.benchmarks.soak --minutes 10``. A cloud and an agent are started as
processes; the agent reads eight buses through the sockets of `tests.benchmarks.loopback`:
SocketCAN's bytes, stamps, system calls, buffers and counts of losses. Another process sends 33,000
frames/s of 64 bytes in all, frame by frame. Meanwhile an analyst's tasks run: a mean over two
buses, custom code, a monitor, a resampled stream, a trigger with its look-back, the load of a bus.

Every few seconds: frames, losses, lag, results. In the end, what each process took, and whether
every frame that was sent has been taken in. Exit code 1 when one was lost, or a result failed.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.benchmarks.decode import generated_dbc
from tests.benchmarks.loopback import feed, free_interface, port_of, traffic
from tests.benchmarks.shares import Processes
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle
from user_lib.fleet import Fleet
from user_lib.job import Job

BUSES, RATE_HZ, PAYLOAD_BYTES = 8, 33_000, 64
CAPACITY_FRAMES = 16_384
REPORT_S = 10.0
SETTLE_S = 30.0
"""How long the last counts may take: they come with the agent's heartbeats."""
VEHICLE = "obu"

CUSTOM = """
import numpy as np

def custom(data, params):
    kept = (params.state or 0) + 1
    return {name: float(np.ptp(values)) for name, values in data.items()} | {"windows": kept}
"""
FOREVER: list[dict[str, Any]] = [
    {"name": "mean", "signals": ["can0:Message0.Signal0", "can5:Message7.Signal3"],
     "window": {"samples": 100}, "onboard": "mean", "offboard": "mean"},
    {"name": "custom", "signals": ["can1:Message3.Signal1"], "window": {"seconds": 1},
     "onboard": "custom"},
    {"name": "monitor", "signals": ["can2:Message9.Signal2"], "window": {"seconds": 2},
     "onboard": "threshold", "onboard_params": {"above": 1.0}},
    {"name": "stream", "signals": ["can7:Message50.Signal0"], "window": {"samples": 20},
     "rate_hz": 10, "onboard": "collect"},
    {"name": "trigger", "signals": ["can4:Message20.Signal1", "can4:Message21.Signal1"],
     "when": {"condition": "can4:Message20.Signal0 > can4:Message20.Signal1", "before_s": 1,
              "after_s": 1}, "onboard": "custom"},
    {"name": "quality", "signals": ["@bus.can3.load", "can6:@message.Message5.gap_ms"],
     "window": {"seconds": 5}, "onboard": "mean"},
]  # fmt: skip


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- the buses -----------------------------------------------------------------------------------


def vehicle(folder: Path, interfaces: Sequence[str]) -> LocalVehicle:
    database = folder / "fd.dbc"
    database.write_text(generated_dbc(payload_bytes=PAYLOAD_BYTES))
    channels = {f"can{bus}": {"databases": [str(database)]} for bus in range(BUSES)}
    sources = [
        {"kind": "can", "interface": "socketcan", "channel": interface, "name": channel}
        | {"fd": True, "capacity_frames": CAPACITY_FRAMES}
        for channel, interface in zip(channels, interfaces, strict=True)
    ]
    profile = folder / "eight.yaml"
    profile.write_text(yaml.safe_dump({"channels": channels}))
    config = {"history_mb": 64, "tick_ms": 50}
    return LocalVehicle(VEHICLE, str(profile), sources, config, program="tests.benchmarks.loopback")


class Sending(NamedTuple):
    """What the process that sends tells, and is told."""

    began: Event
    over: Event
    frames: "Synchronized[int]"
    seconds: "Synchronized[float]"


def send(ports: Sequence[int], database: Path, sending: Sending) -> None:
    """Be the cars' other controllers until it is over."""
    frames, began = traffic(database, PAYLOAD_BYTES), time.monotonic()
    sending.began.set()
    sending.frames.value = feed(ports, frames, RATE_HZ, lambda _: not sending.over.is_set())
    sending.seconds.value = time.monotonic() - began


class Traffic:
    """The process that sends; `stop` returns how many frames it has sent in all, and how long."""

    def __init__(self, interfaces: Sequence[str], database: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._sending = Sending(
            context.Event(), context.Event(), context.Value("q", 0), context.Value("d", 0.0)
        )
        ports = [port_of(interface) for interface in interfaces]
        self.process = context.Process(target=send, args=(ports, database, self._sending))
        self.process.start()
        self._sending.began.wait(SETTLE_S)

    def stop(self) -> tuple[int, float]:
        self._sending.over.set()
        self.process.join()
        return self._sending.frames.value, self._sending.seconds.value


# --- what is seen --------------------------------------------------------------------------------


@dataclass
class Results:
    """Results as they come, job by job, each followed by a thread."""

    by_job: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    lost_frames: int = 0

    def follow(self, name: str, job: Job) -> None:
        for result in job.stream():
            self.by_job[name] = self.by_job.get(name, 0) + 1
            self.lost_frames += result.receipt.lost_frames
            if not result.ok:
                self.failed.append(f"{name}: {result!r}")


def counts(fleet: Fleet) -> dict[str, float]:
    return {info.vehicle_id: info for info in fleet.vehicles()}[VEHICLE].stats


def watch(fleet: Fleet, processes: Processes, results: Results, seconds: float) -> None:
    """Report until time is up."""
    begin, pause = time.monotonic(), threading.Event()
    while (left := begin + seconds - time.monotonic()) > 0:
        pause.wait(min(REPORT_S, left))
        processes.look()
        now = counts(fleet)
        say(
            f"{time.monotonic() - begin:6.0f} s  {now['frames.total']:>12,.0f} frames  "
            f"{now['frames.dropped']:.0f} dropped  lag {now['pump.lag_ms']:.0f} ms  "
            f"{sum(results.by_job.values())} results, {len(results.failed)} failed"
        )


def settled(fleet: Fleet, sent: int) -> dict[str, float]:
    """Return the counts once every frame is in them, or time is up."""
    deadline, pause = time.monotonic() + SETTLE_S, threading.Event()
    while True:
        now = counts(fleet)
        if now["frames.total"] + now["frames.dropped"] >= sent or time.monotonic() > deadline:
            return now
        pause.wait(1.0)


def verdict(sent: int, sent_s: float, last: dict[str, float], results: Results) -> bool:
    missing, rate_hz = sent - last["frames.total"], sent / sent_s
    say(f"{sent:,} frames sent in {sent_s:.1f} s, {rate_hz:,.0f} a second")
    say(f"{last['frames.total']:,.0f} taken in, {missing:,.0f} missing")
    say(
        f"{last['frames.dropped']:,.0f} counted as lost by the sockets; "
        f"{last['time.late']:.0f} read more than 50 ms after younger ones of another bus (kept, "
        f"their time moved); {last['frames.malformed']:.0f} malformed, "
        f"{last['pump.errors']:.0f} faults of the pump"
    )
    say("results: " + ", ".join(f"{name} {n}" for name, n in sorted(results.by_job.items())))
    say(f"{len(results.failed)} failed, {results.lost_frames} frames lost in their windows")
    for failure in results.failed[:3]:
        say(f"  {failure}")
    lost = missing or last["frames.dropped"] or last["pump.errors"] or results.lost_frames
    at_full_rate = rate_hz > 0.99 * RATE_HZ
    every_job = len(results.by_job) == len(FOREVER)
    return not lost and not results.failed and at_full_rate and every_job


# --- the run -------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path, interfaces: Sequence[str]) -> Iterator[tuple[LocalFleet, Fleet]]:
    local = LocalFleet(folder, [vehicle(folder, interfaces)])
    with local:
        local.start()
        with local.connect("soak") as fleet:
            local.wait_online(fleet)
            yield local, fleet


def soak(seconds: float) -> bool:
    interfaces = [free_interface() for _ in range(BUSES)]
    with (
        tempfile.TemporaryDirectory(prefix="oodida-soak-") as name,
        running(Path(name), interfaces) as (local, fleet),
    ):
        fleet.update_code(CUSTOM)
        jobs = {
            spec["name"]: fleet.assign(**{"offboard": "collect", "iterations": "forever", **spec})
            for spec in FOREVER
        }
        results = Results()
        followers = [
            threading.Thread(target=results.follow, args=named, daemon=True)
            for named in jobs.items()
        ]
        for follower in followers:
            follower.start()
        buses = Traffic(interfaces, Path(name) / "fd.dbc")
        agent = local.pid(VEHICLE)
        named = {"agent": agent, "cloud": local.pid("cloud"), "sender": buses.process.pid or 0}
        processes = Processes(named, agent)
        try:
            watch(fleet, processes, results, seconds)
        finally:
            sent, sent_s = buses.stop()
        last = settled(fleet, sent)
        for row in processes.rows():
            say(row)
        good = verdict(sent, sent_s, last, results)
        for job in jobs.values():
            job.cancel()
        for follower in followers:
            follower.join(SETTLE_S)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    good = soak(parser.parse_args().minutes * 60)
    say("nothing was lost" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
