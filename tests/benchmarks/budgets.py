"""What an agent may take of an on-board unit: ``python -m tests.benchmarks.budgets``.

An agent as on a vehicle (keys, a cloud, the sandbox at the machine's level) on one busy bus of
500 kbit/s: 4,000 frames/s through the sockets of `tests.benchmarks.loopback`. One task follows ten
signals, a window every ten seconds. Printed per process: share of a core, memory; and how long a
second start takes, with its databases cached, until frames come in. The history has come to its
bound when memory is read; what a larger one (``history_mb``) holds comes on top.

``--hours 8 --speed 20`` instead drives a simulated car for that long, at that speed, with tasks
that compute on it: memory, descriptors, processes and disk may not grow beyond what is configured.

Exit code 1 when a budget is exceeded.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from agent.config import AgentConfig
from tests.benchmarks.decode import generated_dbc
from tests.benchmarks.loopback import feed, free_interface, port_of, traffic
from tests.benchmarks.processes import Usage, descendants, usage
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle
from user_lib.fleet import Fleet

RATE_HZ, PAYLOAD_BYTES = 4_000, 8
SIGNALS = [f"Message{number}.Signal0" for number in range(10)]
WARM_UP_S = 15.0
HISTORY_MB = 4
"""50 s of all that such a bus says: full when it is measured, so what is measured stays."""
DRIVE_HISTORY_MB = 16
VEHICLE = "obu"
AS_A_SERVICE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""What systemd/units/oodida-agent.service gives its agent."""
FIRST_FRAMES = "first frames"
"""What the agent logs when they come in."""
SAMPLE_S = 10.0
PATIENCE_S = 30.0
GROWTH_MB = 4.0
CUSTOM = """
def custom(data, params):
    speed = data["Vehicle.Speed"]
    return {"mean": float(speed.mean()), "windows": (params.state or {"n": 0})["n"]}
"""


@dataclass(frozen=True)
class Figure:
    """One row: what, how much, and the most that it may be."""

    what: str
    value: float
    unit: str
    most: float | None = None

    @property
    def kept(self) -> bool:
        return self.most is None or self.value <= self.most

    def row(self) -> str:
        most = "" if self.most is None else f"<= {self.most:g}"
        verdict = "" if self.most is None else "yes" if self.kept else "NO"
        return f"{self.what:58} {self.value:9.2f} {self.unit:10} {most:>9} {verdict:>4}"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- idle on a busy bus --------------------------------------------------------------------------


def on_a_busy_bus(folder: Path, interface: str) -> LocalVehicle:
    database = folder / "bus.dbc"
    database.write_text(generated_dbc(payload_bytes=PAYLOAD_BYTES))
    source = {"kind": "can", "interface": "socketcan", "channel": interface, "name": "can0"}
    profile = folder / "one-bus.yaml"
    channels = {"can0": {"databases": [str(database)], "source": source, "bitrate": 500_000}}
    profile.write_text(yaml.safe_dump({"channels": channels}))
    config = {"history_mb": HISTORY_MB, "tick_ms": 50}
    return LocalVehicle(VEHICLE, str(profile), [], config, program="tests.benchmarks.loopback")


@contextmanager
def fed(port: int, database: Path) -> Iterator[None]:
    over = threading.Event()
    frames = traffic(database, PAYLOAD_BYTES)
    sender = threading.Thread(
        target=feed, args=([port], frames, RATE_HZ, lambda _: not over.is_set())
    )
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def start_s(local: LocalFleet) -> float:
    """How long a start takes until the first frames are taken in."""
    log = local.folder / f"{VEHICLE}.log"
    already, deadline = len(told(log)), time.monotonic() + PATIENCE_S
    began = datetime.now(UTC)
    local.start_agent(VEHICLE)
    while len(told(log)) == already:
        if time.monotonic() > deadline:
            raise TimeoutError(local.log_tail(VEHICLE))
        time.sleep(0.05)
    return (told(log)[-1] - began).total_seconds()


def told(log: Path) -> list[datetime]:
    """When each run of the agent logged its first frames."""
    lines = log.read_text().splitlines()
    return [datetime.fromisoformat(line.split()[0]) for line in lines if FIRST_FRAMES in line]


def idle(seconds: float) -> Iterator[Figure]:
    os.environ |= AS_A_SERVICE
    interface = free_interface()
    with tempfile.TemporaryDirectory() as name:
        vehicle = on_a_busy_bus(Path(name), interface)
        local = LocalFleet(Path(name), [vehicle])
        with local, fed(port_of(interface), Path(name) / "bus.dbc"):
            local.start_cloud()
            local.start_agent(VEHICLE)
            with local.connect("engineer") as fleet:
                local.wait_online(fleet)
                local.stop(VEHICLE)
                yield Figure("second start until frames come in", start_s(local), "s", 1)
                fleet.assign(
                    signals=SIGNALS, window={"seconds": 10}, onboard="mean", iterations="forever"
                )
                yield from taken(local, fleet, seconds)


def taken(local: LocalFleet, fleet: Fleet, seconds: float) -> Iterator[Figure]:
    pause = threading.Event()
    pause.wait(WARM_UP_S)
    agent, before = local.pid(VEHICLE), {}
    before = {pid: usage(pid).cpu_s for pid in (agent, *descendants(agent))}
    frames, began = frames_of(fleet), time.monotonic()
    pause.wait(seconds)
    took = time.monotonic() - began
    after = {pid: usage(pid) for pid in (agent, *descendants(agent))}
    come = frames_of(fleet) - frames
    zygotes = {pid: found for pid, found in after.items() if pid != agent}
    cpu_s = {pid: found.cpu_s - before.get(pid, 0.0) for pid, found in after.items()}
    yield Figure("frames a second taken in", come / took, "1/s")
    yield Figure("agent", 100 * cpu_s[agent] / took, "% of core")
    yield Figure("agent with its sandbox", 100 * sum(cpu_s.values()) / took, "% of core", 3)
    history_mb, rss_mb = stats(fleet)["history.mb"], after[agent].rss_mb
    yield Figure("history in use", history_mb, "MB", HISTORY_MB)
    yield Figure("agent, resident, with that history", rss_mb, "MB", 60)
    default_mb = AgentConfig(profile="").history_mb
    reckoned_mb = rss_mb - history_mb + default_mb
    yield Figure(f"reckoned, with the default history ({default_mb:g} MB)", reckoned_mb, "MB")
    yield Figure("agent, its share of shared pages (PSS)", after[agent].pss_mb, "MB")
    both = sum(zygotes.values(), after[agent])
    yield Figure("agent with zygote and spare, PSS", both.pss_mb, "MB", 90)


def frames_of(fleet: Fleet) -> float:
    return stats(fleet)["frames.total"]


def stats(fleet: Fleet) -> dict[str, float]:
    return {info.vehicle_id: info for info in fleet.vehicles()}[VEHICLE].stats


# --- hours of driving ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """What the agent with its workers takes at one time."""

    agent: Usage
    sandbox_mb: float
    disk_mb: float


def hours(hours_driven: float, speed: float) -> Iterator[Figure]:
    os.environ |= AS_A_SERVICE
    seconds = hours_driven * 3600 / speed
    with tempfile.TemporaryDirectory() as name:
        source = {"kind": "simulated", "model": "compact", "seed": 3, "speed": speed}
        vehicle = LocalVehicle(VEHICLE, "compact", [source], {"history_mb": DRIVE_HISTORY_MB})
        local = LocalFleet(Path(name), [vehicle])
        with local:
            local.start()
            with local.connect("engineer") as fleet:
                local.wait_online(fleet)
                fleet.update_code(CUSTOM)
                jobs = [
                    fleet.assign(
                        signals=["Vehicle.Speed"],
                        window={"seconds": 60},
                        onboard=onboard,
                        iterations="forever",
                    )
                    for onboard in ("mean", "collect", "custom")
                ]
                yield from grown(local, list(watched(local, seconds)))
                answers = [len(list(job.results())) for job in jobs]
        yield Figure("results, the fewest of a task", min(answers), "")


def watched(local: LocalFleet, seconds: float) -> Iterator[Moment]:
    pause, began = threading.Event(), time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        pause.wait(SAMPLE_S)
        moment = moment_of(local)
        yield moment
        say(
            f"{passed:6.0f} s  agent {moment.agent.rss_mb:.1f} MB, sandbox {moment.sandbox_mb:.1f} "
            f"MB, {moment.agent.descriptors} descriptors, {moment.agent.zombies} zombies, disk "
            f"{moment.disk_mb:.1f} MB"
        )


def moment_of(local: LocalFleet) -> Moment:
    pid, sandbox = local.pid(VEHICLE), Usage(0, 0, 0, 0)
    for child in descendants(pid):
        with suppress(OSError):  # a worker that has ended meanwhile
            sandbox += usage(child)
    disk = sum(p.stat().st_size for p in (local.folder / f"{VEHICLE}.state").rglob("*"))
    agent = usage(pid)
    zombies = Usage(0, 0, 0, 0, zombies=sandbox.zombies)
    return Moment(agent + zombies, sandbox.pss_mb, disk / 1e6)


def grown(local: LocalFleet, moments: list[Moment]) -> Iterator[Figure]:
    """Compare the last quarter with the second one; the first is for history and caches to fill."""
    quarter = max(1, len(moments) // 4)
    early, late = moments[quarter : 2 * quarter], moments[-quarter:]

    def growth(what: str, unit: str, most: float, values: list[list[float]]) -> Figure:
        first, last = (sorted(v)[len(v) // 2] for v in values)
        return Figure(f"{what}: growth from {first:.1f} to {last:.1f}", last - first, unit, most)

    both = (early, late)
    yield growth("agent", "MB", GROWTH_MB, [[m.agent.rss_mb for m in part] for part in both])
    yield growth("sandbox", "MB", GROWTH_MB, [[m.sandbox_mb for m in part] for part in both])
    yield growth("descriptors", "", 0, [[m.agent.descriptors for m in part] for part in both])
    yield growth("disk", "MB", GROWTH_MB, [[m.disk_mb for m in part] for part in both])
    yield Figure("zombies at the end", min(m.agent.zombies for m in late), "", 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.budgets", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured")
    parser.add_argument("--hours", type=float, help="drive for so many hours instead")
    parser.add_argument("--speed", type=float, default=20.0, help="of that drive")
    asked = parser.parse_args()
    figures = hours(asked.hours, asked.speed) if asked.hours else idle(asked.seconds)
    kept = True
    for figure in figures:
        say(figure.row())
        kept = kept and figure.kept
    say("all budgets are kept" if kept else "FAILED")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
