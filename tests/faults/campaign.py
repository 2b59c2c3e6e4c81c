"""A fleet of real processes that bad things happen to: seeded, for as long as one likes.

Vehicles speak through a relay of bytes and one of messages, the analyst through the first kind.
With ``keys`` nobody can look into a message, so there is no relay of those; in exchange the analyst
verifies everything in the end. What a vehicle commits is read from its own state file all the time,
beside the agent.
"""

import logging
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.faults.byte_link import ByteLink
from tests.faults.damage import damage_header, damage_page
from tests.faults.message_link import MessageLink, Mood
from user_lib.contract.errors import LinkError, OodidaError
from user_lib.contract.messages import Result
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated
from user_lib.job import Job
from user_lib.verification import Verification

__all__ = ["Campaign"]

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
CLOCK = Path(__file__).parent / "set_clock"
MOST_DAMAGED = 3
VEHICLES = ("compact-1", "wagon-1", "wagon-2")
SETTLE_S = 120.0
MEAN = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 2},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": "forever",
    "quorum": 0.3,
    "deadline_s": 2,
}
BULKY = "def custom(xs):\n    return 'x' * 60000\n"
"""Fills an outbox of 1 MB within seconds."""
FEEDBACK = {"feedback": True, "deadline_s": 20, "onboard": "mean", "offboard": "mean"}


class Campaign:
    """Three agents, a cloud, an analyst that reads three jobs; `trouble`, then `settle`."""

    def __init__(self, folder: Path, seed: int, *, keys: bool = False) -> None:
        self.folder, self.random, self.keys = folder, random.Random(seed), keys
        folder.mkdir(parents=True, exist_ok=True)
        self._environ = {"OODIDA_FAULTS_CLOCKS": str(folder), "PYTHONPATH": str(CLOCK)}
        self._environ_before = {name: os.environ.get(name) for name in self._environ}
        os.environ.update(self._environ)
        self.happened: Counter[str] = Counter()
        self.seen: set[tuple[str, str, str, int]] = set()
        """(assignment, vehicle, epoch, iteration) of every result that was seen in an outbox."""
        self.destroyed: set[tuple[str, str]] = set()
        """(vehicle, epoch) of every state file that was damaged: what it owed is gone with it."""
        self._down: dict[str, float] = {}
        self.local = LocalFleet(folder, [], cloud_config={"lease_s": 2.0}, insecure=not keys)
        self.local.start_cloud()
        self.messages = MessageLink(self.local.endpoint, seed)
        relayed = self.local.endpoint if keys else self.messages.endpoint
        self.bytes = ByteLink(relayed, seed + 1)
        self.desk = ByteLink(self.local.endpoint, seed + 2)
        for number, name in enumerate(VEHICLES):
            self._add(name, number + seed)
        self.jobs: list[Job] = []
        self.verified: dict[str, Verification] = {}
        """With keys: what the analyst could verify in the end, by job."""
        self.readers: dict[str, subprocess.Popen[bytes]] = {}
        self._fleet = self.local.connect("tester")

    def _add(self, name: str, seed: int) -> None:
        car = simulated(name, name.partition("-")[0], seed=seed, speed=6.0)
        config = {"cloud": self.bytes.endpoint, "outbox_mb": 1.0}
        vehicle = LocalVehicle(name, car.profile, car.sources, config)
        self.local.vehicles[name] = vehicle
        self.local.start_agent(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for reader in self.readers.values():
            reader.kill()
            reader.wait()
        self._fleet.close()
        for variable, value in self._environ_before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value
        for name in (*VEHICLES, "cloud"):
            with suppress(ProcessLookupError):
                self._signal(name, signal.SIGCONT)
        self.local.close()
        for link in (self.desk, self.bytes, self.messages):
            link.close()

    # --- the work --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Submit the jobs and let the analyst read along."""
        self.local.wait_online(self._fleet)
        self._fleet.update_code(BULKY)
        self.jobs = [
            self._fleet.assign({**MEAN, "name": "rounds"}),
            self._fleet.assign(
                {**MEAN, "name": "bulky", "onboard": "custom", "offboard": "collect", "priority": 1}
            ),
            self._fleet.assign({**MEAN, **FEEDBACK, "name": "feedback"}),
        ]
        for job in self.jobs:
            self._read(job.id)

    def kept(self, job_id: str) -> Path:
        """Where the analyst keeps a job's events."""
        return self.folder / f"{job_id}.events"

    def state_of(self, vehicle: str) -> Path:
        return self.folder / f"{vehicle}.state" / "state.db"

    def _read(self, job_id: str) -> None:
        command = [sys.executable, "-m", "tests.faults.reader", job_id, str(self.kept(job_id))]
        with (self.folder / "readers.log").open("ab") as errors:
            self.readers[job_id] = subprocess.Popen(
                command, cwd=ROOT, stderr=errors, env={**os.environ, **self._reading_as()}
            )

    def _reading_as(self) -> dict[str, str]:
        """Return the variables by which a reader connects, through its own bad link."""
        if self.local.keys is None:
            insecure = {"OODIDA_USER": "tester", "OODIDA_INSECURE": "1"}
            return {"OODIDA_CLOUD": self.desk.endpoint, **insecure}
        config = self.local.keys.write_config("tester", self.desk.endpoint)
        return {"OODIDA_CONFIG": str(config)}

    # --- the trouble -----------------------------------------------------------------------------

    def trouble(self, seconds: float) -> None:
        """Let bad things happen, one after the other, for so long."""
        until = time.monotonic() + seconds
        troubles: list[Callable[[], None]] = [
            self._kill_agent,
            self._kill_agent,
            self._stop_agent,
            self._kill_cloud,
            self._stop_cloud,
            self._kill_reader,
            self._stop_reader,
            self._set_clock,
            self._set_clock,
            self._damage_outbox,
            self._damage_ledger,
            self._bad_link,
            self._bad_link,
            self._tunnel,
            self._fill_disk,
        ]
        while time.monotonic() < until:
            trouble = self.random.choice(troubles)
            log.info("%s", trouble.__name__.strip("_"))
            self.happened[trouble.__name__.strip("_")] += 1
            trouble()
            self._pass(self.random.uniform(0.2, 2.0))

    def _pass(self, seconds: float) -> None:
        """Let time pass; what vehicles commit meanwhile is noted, who is down is started again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name in VEHICLES:
                self._note(name)
            self._start_due()
            self._start_damaged()
            time.sleep(0.05)

    def _start_due(self) -> None:
        for name, due in list(self._down.items()):
            if time.monotonic() >= due:
                del self._down[name]
                self._start(name)

    def _start_damaged(self) -> None:
        """Start an agent again that found the damage only as it ran, as a service manager does."""
        for name in {vehicle for vehicle, _ in self.destroyed} - self._down.keys():
            if not self.local.is_running(name):
                log.info("%s ended, finding its state damaged", name)
                self._start(name)

    def _start(self, name: str) -> None:
        if name == "cloud":
            self.local.start_cloud()
        elif name in VEHICLES:
            self.local.start_agent(name)
        else:
            self._read(name)

    def _any_vehicle(self) -> str:
        return self.random.choice(VEHICLES)

    def _kill_agent(self) -> None:
        name = self._any_vehicle()
        if name not in self._down:
            self.local.kill(name)
            self._note(name)
            self._down[name] = time.monotonic() + self.random.uniform(0.0, 4.0)

    def _kill_cloud(self) -> None:
        if "cloud" not in self._down:
            self.local.kill("cloud")
            self._down["cloud"] = time.monotonic() + self.random.uniform(0.0, 4.0)

    def _kill_reader(self) -> None:
        job_id = self.random.choice(list(self.readers))
        if job_id not in self._down:
            self.readers[job_id].kill()
            self.readers[job_id].wait()
            self._down[job_id] = time.monotonic() + self.random.uniform(0.0, 2.0)

    def _stop_agent(self) -> None:
        self._hold(self._any_vehicle())

    def _stop_cloud(self) -> None:
        self._hold("cloud")

    def _hold(self, name: str) -> None:
        """Stop a process for a while, longer than its lease at times."""
        if name in self._down:
            return
        self._signal(name, signal.SIGSTOP)
        self._pass(self.random.uniform(0.2, 4.0))
        self._signal(name, signal.SIGCONT)

    def _stop_reader(self) -> None:
        """Stop the analyst amid what it reads, longer than the cloud holds a question at times."""
        job_id = self.random.choice(list(self.readers))
        reader = self.readers[job_id]
        if job_id in self._down or reader.poll() is not None:
            return
        reader.send_signal(signal.SIGSTOP)
        self._pass(self.random.uniform(0.2, 6.0))
        reader.send_signal(signal.SIGCONT)

    def _set_clock(self) -> None:
        """Set the wall clock of a machine hours off, while it runs or is being restarted."""
        name = self.random.choice((*VEHICLES, "cloud"))
        hours = self.random.choice([-30, -5, -1, 0, 1, 5, 30])
        (self.folder / f"{name}.clock").write_text(str(hours * 3600))

    def _damage_outbox(self) -> None:
        """Cut a vehicle's power and damage a page of its state: it begins a new epoch."""
        name = self._any_vehicle()
        if name in self._down or self.happened["damage_outbox"] > MOST_DAMAGED:
            return
        self.local.kill(name)
        self._note(name)
        with closing(_reading(self.state_of(name))) as db:
            (epoch,) = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        self.destroyed.add((name, epoch))
        damage_page(self.state_of(name), self.random)
        self._down[name] = time.monotonic()

    def _damage_ledger(self) -> None:
        """Cut the cloud's power and damage its ledger: it must not start before that is mended."""
        if "cloud" in self._down or not self.local.is_running("cloud"):
            return
        self.local.kill("cloud")
        ledger = self.folder / "ledger.sqlite"
        kept = {path: path.read_bytes() for path in self.folder.glob("ledger.sqlite*")}
        damage_header(ledger, self.random)
        try:
            self.local.start_cloud()
        except LinkError:
            self.happened["refused_damaged_ledger"] += 1
            self.local.stop("cloud")
        else:
            raise AssertionError("the cloud started with a damaged ledger")
        for path in self.folder.glob("ledger.sqlite*"):
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
        self._down["cloud"] = time.monotonic()

    def _signal(self, name: str, number: signal.Signals) -> None:
        if self.local.is_running(name):
            os.kill(self.local.pid(name), number)

    def _bad_link(self) -> None:
        chance = self.random.random
        self.messages.mood = Mood(chance() * 0.3, chance() * 0.3, chance() * 0.5, chance() * 3)
        self.bytes.cuts = self.desk.cuts = self.random.choice([0.0, 0.01, 0.05])
        self._pass(self.random.uniform(1.0, 5.0))
        self.messages.calm()
        self.bytes.calm()
        self.desk.calm()

    def _tunnel(self) -> None:
        """No link at all; long enough at times for outboxes to overflow."""
        self.bytes.closed = True
        self._pass(self.random.uniform(1.0, 12.0))
        self.bytes.calm()

    def _fill_disk(self) -> None:
        """Let no file of a process grow for a while, as on a full disk."""
        name = self.random.choice((*VEHICLES, "cloud"))
        if name in self._down or not self.local.is_running(name):
            return
        pid, limits = self.local.pid(name), resource.RLIM_INFINITY
        most = self.random.choice([200_000, 0])  # 0: nothing at all can be written
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, limits))
        self._pass(self.random.uniform(0.5, 3.0))
        if self.local.is_running(name):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits, limits))

    # --- what vehicles say they committed --------------------------------------------------------

    def _note(self, name: str) -> None:
        with suppress(sqlite3.Error, ValueError):  # of a page that was damaged
            self.seen |= outbox_of(self.state_of(name), name)

    # --- the end ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """End all trouble, cancel the jobs, and wait until nobody owes anything."""
        for link in (self.messages, self.bytes, self.desk):
            link.calm()
        while self._down:
            self._pass(0.1)
        self._eventually(self._all_online, "every vehicle is online")
        self._pass(3.0)
        for job in self.jobs:
            job.cancel()
        self._eventually(self._nothing_owed, "every outbox is empty and every task has ended")
        for job_id, reader in self.readers.items():
            self._eventually(lambda r=reader: r.poll() is not None, f"{job_id} was read to its end")
        if self.keys:
            self.verified = {job.id: job.verify() for job in self.jobs}
        for name in VEHICLES:
            self.local.stop(name)
        self.local.stop("cloud")

    def _all_online(self) -> bool:
        return all(v.online for v in self._fleet.vehicles())

    def _nothing_owed(self) -> bool:
        return all(outbox_is_empty(self.state_of(name)) for name in VEHICLES)

    def _eventually(self, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + SETTLE_S
        while not self._holds(happened):
            self._start_damaged()
            dead = [n for n in (*VEHICLES, "cloud") if not self.local.is_running(n)]
            if dead or time.monotonic() > until:
                tails = "\n".join(self.local.log_tail(n) for n in dead or (*VEHICLES, "cloud"))
                raise AssertionError(f"not: {what}; dead: {dead}\n{tails}")
            self._pass(0.2)

    def _holds(self, happened: Callable[[], bool]) -> bool:
        try:
            return happened()
        except (OodidaError, sqlite3.Error):
            return False


def outbox_of(state: Path, vehicle: str) -> set[tuple[str, str, str, int]]:
    """Return what is in a vehicle's outbox, read beside its agent."""
    with closing(_reading(state)) as connection:
        rows = connection.execute("SELECT item FROM outbox WHERE kind = 0").fetchall()
    results = (msgspec.msgpack.decode(item, type=Result) for (item,) in rows)
    return {(r.assignment_id, vehicle, r.epoch, r.iteration) for r in results}


def outbox_is_empty(state: Path) -> bool:
    with closing(_reading(state)) as connection:
        (left,) = connection.execute(
            "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM tasks)"
        ).fetchone()
    return bool(left == 0)


def _reading(state: Path) -> Any:
    return sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=1)
