"""``python -m tests.fuzz.storm --minutes 3``: a real cloud and a real vehicle under hostile fire.

Peers with keys of their own send hostile messages as fast as they can, connections with unknown
keys and without any come and go (`tests.fuzz.fire`), and the whole time an analyst asks and a job
runs. Told in the end: how long the analyst waited alone, beside processes that take as much of the
machine and do not talk, and beside the attackers; once with all on the same processors, once with
the attackers on one of their own; and by how much memory and descriptors of the cloud grew. Ends
with 1 when something crashed, was handled wrongly, or grew without end.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.processes import descendants
from user_lib.demo.local_fleet import LocalFleet, simulated
from user_lib.fleet import Fleet

ROOT = Path(__file__).resolve().parents[2]
CALM_S = 15.0
MOST_GROWTH_MB = 150.0
MOST_FDS = 150
ATTACKERS = (("mallory", "analyst"), ("evil-1", "vehicle"))
JOB = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 1},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": "forever",
}
HEAD = f"{'':44} {'answers':>8} {'p50':>8} {'p99':>8}"


class Storm:
    """A cloud, a vehicle and an analyst, and whoever makes it hard for them."""

    def __init__(self, local: LocalFleet, fleet: Fleet) -> None:
        assert local.keys is not None
        self.local, self.fleet = local, fleet
        self.cloud = local.keys.for_user("ada")["cloud"]
        self.attackers = []
        for name, role in ATTACKERS:
            paths = (
                local.keys.for_vehicle(name)
                if role == "vehicle"
                else local.keys.for_user(name, "analyst")
            )
            self.attackers.append(f"{role}:{paths['own']}")
        self.counts: dict[str, int] = {}
        self.most_mb, self.most_fds = held_by(local.pid("cloud"))

    def wait_for(self, seconds: float, name: str, fire: str = "", *, apart: bool = False) -> None:
        """Ask for so long, beside nobody, or a ``fire`` (mute, loud, strangers); tell the waits."""
        if fire:
            with self._burning(fire, apart=apart):
                waits = waits_ms(self.fleet, seconds)
                mb, fds = held_by(self.local.pid("cloud"))
            self.most_mb, self.most_fds = max(mb, self.most_mb), max(fds, self.most_fds)
        else:
            waits = waits_ms(self.fleet, seconds)
        p99 = sorted(waits)[int(len(waits) * 0.99)]
        sys.stdout.write(f"{name:44} {len(waits):8} {statistics.median(waits):8.2f} {p99:8.1f}\n")
        sys.stdout.flush()

    def separate(self) -> None:
        """Leave the last processor to attackers alone."""
        for pid in (os.getpid(), self.local.pid("cloud"), self.local.pid("compact-1")):
            for each in (pid, *descendants(pid)):
                for thread in os.listdir(f"/proc/{each}/task"):
                    os.sched_setaffinity(int(thread), range(self._last))

    @property
    def _last(self) -> int:
        return (os.cpu_count() or 1) - 1

    @contextmanager
    def _burning(self, fire: str, *, apart: bool) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.fuzz.fire", self.local.endpoint, self.cloud]
        command += [
            *(() if fire == "strangers" else self.attackers),
            *(["--mute"] if fire == "mute" else []),
        ]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        if apart:
            os.sched_setaffinity(process.pid, {self._last})
        try:
            time.sleep(2)  # it needs a second to start, which is not what is measured
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=60)
        for what, count in json.loads(told).items():
            self.counts[what] = self.counts.get(what, 0) + count


def waits_ms(fleet: Fleet, seconds: float) -> list[float]:
    """Ask again and again for so long; return how long each answer took."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        fleet.vehicles()
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    return found


def held_by(pid: int) -> tuple[float, int]:
    """Return resident MB and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long under fire (3)")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="oodida-storm-") as folder:
        car = simulated("compact-1", "compact", seed=1)
        with LocalFleet(Path(folder), [car]) as local:
            local.start()
            with local.connect("ada") as fleet:
                local.wait_online(fleet)
                return storm(Storm(local, fleet), minutes)


def storm(all_: Storm, minutes: float) -> int:
    local, fleet = all_.local, all_.fleet
    job = fleet.assign(JOB)
    before_mb, before_fds = all_.most_mb, all_.most_fds
    sys.stdout.write(f"{HEAD}\n")
    all_.wait_for(CALM_S, "alone")
    results, began = len(job.results()), time.monotonic()
    share_s = minutes * 30
    all_.wait_for(CALM_S, "beside as much work that does not talk", "mute")
    all_.wait_for(share_s, "beside attackers", "loud")
    all_.wait_for(CALM_S, "beside handshakes of strangers", "strangers")
    if (os.cpu_count() or 1) > 1:
        all_.separate()
        all_.wait_for(CALM_S, "on other processors: alone")
        all_.wait_for(CALM_S, "  beside as much work that does not talk", "mute", apart=True)
        all_.wait_for(share_s, "  beside attackers", "loud", apart=True)
        all_.wait_for(CALM_S, "  beside handshakes of strangers", "strangers", apart=True)
    more, passed_s = len(job.results()) - results, time.monotonic() - began
    verified = job.verify()
    log = (local.folder / "cloud.log").read_text()
    counts = ", ".join(f"{count} {what}" for what, count in all_.counts.items())
    sys.stdout.write(
        f"attackers: {counts}; the job gave {more} results meanwhile; cloud {before_mb:.0f} to "
        f"{all_.most_mb:.0f} MB, {before_fds} to {all_.most_fds} descriptors\n"
    )
    failed = [
        words
        for words, bad in (
            ("the cloud ended", not local.is_running("cloud")),
            ("the vehicle ended", not local.is_running("compact-1")),
            ("a message was not handled", "Traceback" in log),
            ("the job does not verify", not verified.ok),
            ("the job stood still", more < passed_s * 0.5),
            ("memory grew", all_.most_mb - before_mb > MOST_GROWTH_MB),
            ("descriptors grew", all_.most_fds - before_fds > MOST_FDS),
        )
        if bad
    ]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all held\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
