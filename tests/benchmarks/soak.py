"""Eight CAN FD buses at full rate into a real agent, while tasks run: nothing may be lost.

Run ``python -m tests.benchmarks.soak --minutes 10``. A cloud and an agent are started as processes.
The agent replays a generated log of eight FD buses (33,000 frames/s in all, 64 bytes each) in real
time and in a loop, through buffers that lose what does not fit, as interfaces would; meanwhile an
analyst's tasks run: a mean over samples of two buses, custom code, a monitor, a resampled stream.
Every few seconds: frames, losses, lag, CPU and memory of the agent with its workers. The kernel's
part of receiving from sockets is not in it; ``live`` has that.

Exit code 1 when a frame was lost, or a result failed.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dbc import DatabaseRef, load
from hw import write_candump
from tests.benchmarks.decode import generated_dbc
from user_lib.contract.frames import BRS, FD, FrameBatch
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle
from user_lib.fleet import Fleet
from user_lib.job import Job

BUSES, RATE_HZ, LOG_S = 8, 33_000, 4
CAPACITY_FRAMES = 4096
"""A second of one bus."""
REPORT_S = 10.0
HEARTBEAT_S = 10.0
"""The counts are at most so old: they come with the agent's heartbeats."""
PAGE_BYTES, TICKS_HZ = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
VEHICLE = "obu"

CUSTOM = """
import numpy as np

def custom(data, params):
    kept = (params.state or 0) + 1
    return {name: float(np.ptp(values)) for name, values in data.items()} | {"windows": kept}
"""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write_log(path: Path, bus: int, ids: list[int]) -> None:
    """Write some seconds of one bus: every id in turn, evenly spaced."""
    count = RATE_HZ // BUSES * LOG_S
    rng = np.random.default_rng(bus)
    batch = FrameBatch.zeros(count, 64)
    batch.time_ns[:] = 1_700_000_000 * 10**9 + np.arange(count) * (BUSES * 10**9 // RATE_HZ)
    batch.can_id[:] = np.array(ids, np.uint32)[np.arange(count) % len(ids)]
    batch.flags[:] = FD | BRS
    batch.length[:] = 64
    batch.data[:] = rng.integers(0, 256, (count, 64), np.uint8)
    write_candump(path, [batch], [f"can{bus}"])


def vehicle(folder: Path) -> LocalVehicle:
    database = folder / "fd.dbc"
    database.write_text(generated_dbc(payload_bytes=64))
    ids = [message.can_id for message in load([DatabaseRef(database)]).messages]
    sources, channels = [], {}
    for bus in range(BUSES):
        log = folder / f"can{bus}.log"
        write_log(log, bus, ids)
        channels[f"can{bus}"] = {"databases": [str(database)]}
        sources.append(
            {"kind": "replay", "log": str(log), "loop": True, "capacity_frames": CAPACITY_FRAMES}
        )
    profile = folder / "eight.yaml"
    profile.write_text(yaml.safe_dump({"channels": channels}))
    return LocalVehicle(VEHICLE, str(profile), sources, {"history_mb": 64, "tick_ms": 50})


def tasks(fleet: Fleet) -> list[Job]:
    fleet.update_code(CUSTOM)

    def assign(name: str, signals: list[str], **keys: Any) -> Job:
        return fleet.assign(name=name, signals=signals, iterations="forever", **keys)

    return [
        assign(
            "mean",
            ["can0:Message0.Signal0", "can5:Message7.Signal3"],
            window={"samples": 100},
            onboard="mean",
            offboard="mean",
        ),
        assign(
            "custom", ["can1:Message3.Signal1"], window={"seconds": 1}, onboard="custom",
            offboard="collect",
        ),
        assign(
            "monitor", ["can2:Message9.Signal2"], window={"seconds": 2}, onboard="threshold",
            onboard_params={"above": 1.0}, offboard="collect",
        ),
        assign(
            "stream", ["can7:Message50.Signal0"], window={"samples": 20}, rate_hz=10,
            onboard="collect", offboard="collect",
        ),
    ]  # fmt: skip


@dataclass
class Seen:
    """Results as they come, job by job, each followed by a thread."""

    results: int = 0
    failed: list[str] = field(default_factory=list)
    lost_frames: int = 0

    def follow(self, job: Job) -> None:
        for result in job.stream():
            self.results += 1
            self.lost_frames += result.receipt.lost_frames
            if not result.ok:
                self.failed.append(repr(result))


def usage(root: int) -> tuple[float, float]:
    """CPU seconds and resident MB of a process with all that it has started."""
    parents, found = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(entry.name)
        parents[pid] = int(words[1])
        cpu_s = sum(map(int, words[11:15])) / TICKS_HZ  # its own, and its ended children's
        found[pid] = (cpu_s, int(words[21]) * PAGE_BYTES / 1e6)

    def belongs(pid: int) -> bool:
        while pid not in (0, root):
            pid = parents.get(pid, 0)
        return pid == root

    mine = [found[pid] for pid in found if belongs(pid)]
    return sum(cpu for cpu, _ in mine), sum(mb for _, mb in mine)


def stats(fleet: Fleet) -> dict[str, float]:
    return {info.vehicle_id: info for info in fleet.vehicles()}[VEHICLE].stats


def watch(fleet: Fleet, pid: int, seconds: float, seen: Seen) -> tuple[dict[str, float], float]:
    """Report until time is up; return the last counts and the most memory."""
    begin = last = time.monotonic()
    used, peak_mb = usage(pid)[0], 0.0
    pause = threading.Event()
    while True:
        pause.wait(min(REPORT_S, max(begin + seconds - time.monotonic(), 0.1)))
        now, (cpu_s, mb), counts = time.monotonic(), usage(pid), stats(fleet)
        peak_mb = max(peak_mb, mb)
        say(
            f"{now - begin:6.0f} s  {counts['frames.total']:>12,.0f} frames  "
            f"{counts['frames.dropped']:.0f} dropped  lag {counts['pump.lag_ms']:.0f} ms  "
            f"{(cpu_s - used) / (now - last):5.1%} of a core  {mb:.0f} MB  {seen.results} results"
        )
        used, last = cpu_s, now
        if now >= begin + seconds:
            return counts, peak_mb


def verdict(first: dict[str, float], last: dict[str, float], seen: Seen, seconds: float) -> bool:
    taken = last["frames.total"] - first["frames.total"]
    due = RATE_HZ // BUSES * BUSES * seconds
    say(f"{taken:,.0f} frames taken in, {taken / due:.2%} of those due in the time")
    say(
        f"{last['frames.dropped']:.0f} dropped by buffers, {last['time.late']:.0f} read more than "
        "50 ms after younger ones of another bus (kept, their time moved)"
    )
    say(
        f"{seen.results} results, {len(seen.failed)} failed, {seen.lost_frames} frames lost in them"
    )
    for failure in seen.failed[:3]:
        say(f"  {failure}")
    lost = last["frames.dropped"] + last["pump.errors"] + seen.lost_frames
    in_time = abs(taken - due) <= HEARTBEAT_S * RATE_HZ
    return not lost and not seen.failed and seen.results > 0 and in_time


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory(prefix="oodida-soak-") as name:
        local = LocalFleet(Path(name), [vehicle(Path(name))], insecure=True)
        with local:
            local.start()
            with local.connect("soak") as fleet:
                local.wait_online(fleet)
                seen = Seen()
                jobs = tasks(fleet)
                for job in jobs:
                    threading.Thread(target=seen.follow, args=(job,), daemon=True).start()
                pid = local.pid(VEHICLE)
                _, begun = stats(fleet), usage(pid)[0]
                first, began = stats(fleet), time.monotonic()
                last, peak_mb = watch(fleet, pid, seconds, seen)
                took = time.monotonic() - began
                say(
                    f"agent and workers: {(usage(pid)[0] - begun) / took:.1%} of a core, "
                    f"{peak_mb:.0f} MB at most"
                )
                good = verdict(first, last, seen, took)
                for job in jobs:
                    job.cancel()
    say("nothing was lost" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
