"""A fleet of real processes that bad things happen to: seeded, for as long as one likes.

Vehicles speak through a relay of bytes and one of messages, the analyst through the first kind.
With ``keys`` nobody can look into a message, so there is no relay of those; in exchange the analyst
verifies everything in the end. With ``disks`` each vehicle and the cloud has a small one of its
own. What a vehicle commits is read from its own state file all the time, beside the agent. What
happens is in `tests.faults.troubles`.
"""

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

import yaml

from tests.faults.asker import code_of, large
from tests.faults.byte_link import ByteLink
from tests.faults.disk import Disk
from tests.faults.message_link import MessageLink
from tests.faults.outbox import epoch_of, is_empty, results_in
from user_lib.contract.errors import LinkError, OodidaError
from user_lib.contract.states import JOB_ENDS
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated
from user_lib.fleet import Fleet, connect
from user_lib.job import Job
from user_lib.verification.findings import Verification
from user_lib.wire.enrolment import enrol
from user_lib.wire.keys import load_keys

__all__ = ["CLOUD", "GUEST", "VEHICLES", "Campaign"]

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
CLOCK = Path(__file__).parent / "set_clock"
VEHICLES = ("compact-1", "wagon-1", "wagon-2")
CLOUD = "cloud"
ANALYST = "tester"
GUEST = "guest"
"""An analyst who is trusted for a while."""
SETTLE_S = 120.0
VEHICLES_DISK_MB = 24
CLOUDS_DISK_MB = 2000
LARGE_BYTES = 400_000
MEAN = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 2},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": "forever",
    "quorum": 0.3,
    "deadline_s": 2,
}
BULKY = {"onboard": "custom", "onboard_params": {"size": 60_000}, "offboard": "collect"}
"""Fills an outbox of 4 MB within a long tunnel."""
FEEDBACK = {"feedback": True, "deadline_s": 20, "offboard": "mean"}


class Campaign:
    """Three agents, a cloud, an analyst that reads five jobs; `trouble`, then `settle`."""

    def __init__(self, folder: Path, seed: int, *, keys: bool = False, disks: bool = False) -> None:
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
        self.down: dict[str, float] = {}
        """Who was killed, and when it is to be started again."""
        self.disks: dict[str, Disk] = {}
        if disks:
            self.disks = {v: Disk(folder / f"{v}.disk", mb=VEHICLES_DISK_MB) for v in VEHICLES}
            self.disks[CLOUD] = Disk(folder / "cloud.disk", mb=CLOUDS_DISK_MB)
        self.ledger = self._place_of(CLOUD) / "ledger.sqlite"
        config = {
            "lease_s": 2.0,
            "ledger": str(self.ledger),
            "contents": {"reserve_mb": 1.0},
        }
        self.local = LocalFleet(folder, [], cloud_config=config, insecure=not keys)
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
        self.askers: list[subprocess.Popen[bytes]] = []
        self._fleet = self.connect(ANALYST)

    def _add(self, name: str, seed: int) -> None:
        car = simulated(name, name.partition("-")[0], seed=seed, speed=6.0)
        state = str(self._place_of(name) / f"{name}.state")
        self.rule(name, otherwise="raw")
        config = {
            "cloud": self.bytes.endpoint,
            "outbox_mb": 4.0,
            "state_dir": state,
            "policy_file": str(self._policy_of(name)),
        }
        self.local.vehicles[name] = LocalVehicle(name, car.profile, car.sources, config)
        self.local.start_agent(name)
        self.pin(name)

    def rule(self, vehicle: str, **policy: object) -> None:
        """Write the rules of a vehicle's owner."""
        self._policy_of(vehicle).write_text(yaml.safe_dump(policy))

    def _policy_of(self, vehicle: str) -> Path:
        return self.folder / f"{vehicle}.policy"

    def _place_of(self, name: str) -> Path:
        return self.disks[name].path if name in self.disks else self.folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in (*self.readers.values(), *self.askers):
            process.kill()
            process.wait()
        self._fleet.close()
        for variable, value in self._environ_before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value
        for name in (*VEHICLES, CLOUD):
            with suppress(ProcessLookupError):
                self.signal(name, signal.SIGCONT)
        self.local.close()
        for link in (self.desk, self.bytes, self.messages):
            link.close()
        if exc[0] is None:
            for disk in self.disks.values():
                disk.close()

    # --- who is who ------------------------------------------------------------------------------

    def connect(self, user: str) -> Fleet:
        """Return the fleet as an analyst sees it, by a good link."""
        if self.local.keys is None:
            return self.local.connect(user)
        keys = {**self.local.keys.for_user(user), "vehicles": str(self.pinned)}
        return connect(self.local.endpoint, timeout_s=30.0, keys=keys)

    @property
    def pinned(self) -> Path:
        """Where analysts have all cards that the vehicles ever had."""
        return self.folder / "pinned"

    def pin(self, name: str) -> None:
        """Let analysts know the present key of a vehicle."""
        if self.local.keys is not None:
            self.pinned.mkdir(exist_ok=True)
            enrol(load_keys(Path(self.local.keys.for_vehicle(name)["own"])).card, self.pinned)

    def environ_of(self, user: str) -> dict[str, str]:
        """Return the environment in which a program is an analyst, by a bad link of its own."""
        if self.local.keys is None:
            insecure = {"OODIDA_USER": user, "OODIDA_INSECURE": "1"}
            return {**os.environ, "OODIDA_CLOUD": self.desk.endpoint, **insecure}
        keys = {**self.local.keys.for_user(user), "vehicles": str(self.pinned)}
        config = self.folder / f"{user}.analyst.yaml"
        config.write_text(yaml.safe_dump({"cloud": self.desk.endpoint, "keys": keys}))
        return {**os.environ, "OODIDA_CONFIG": str(config)}

    # --- the work --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Submit the jobs and let the analyst read along."""
        self.local.wait_online(self._fleet)
        self._fleet.update_code(code_of("a"))
        self.jobs = [
            self._fleet.assign(spec)
            for spec in (
                {**MEAN, "name": "rounds"},
                {**MEAN, **BULKY, "name": "bulky", "priority": 1},
                {**MEAN, **FEEDBACK, "name": "feedback"},
                {**MEAN, **FEEDBACK, "name": "learning", "onboard": "custom"},
                large(LARGE_BYTES),
            )
        ]
        for job in self.jobs:
            self.read(job.id)

    def job(self, name: str) -> str:
        """Return the id of one of the jobs."""
        return next(job.id for job in self.jobs if job.spec.name == name)

    def kept(self, job_id: str) -> Path:
        """Where the analyst keeps a job's events."""
        return self.folder / f"{job_id}.events"

    def state_of(self, vehicle: str) -> Path:
        return self._place_of(vehicle) / f"{vehicle}.state" / "state.db"

    def read(self, job_id: str) -> None:
        """Start the process that reads a job, from where it was."""
        arguments = ["tests.faults.reader", job_id, str(self.kept(job_id))]
        self.readers[job_id] = self._program(ANALYST, arguments)

    def ask(self, user: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process of an analyst that changes something."""
        asker = self._program(user, ["tests.faults.asker", *arguments])
        self.askers.append(asker)
        return asker

    def _program(self, user: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "analysts.log").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                stderr=errors,
                env=self.environ_of(user),
            )

    # --- time passes -----------------------------------------------------------------------------

    def trouble(self, seconds: float, troubles: list[Callable[["Campaign"], None]]) -> None:
        """Let bad things happen, one after the other, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trouble = self.random.choice(troubles)
            log.info("%s", trouble.__name__)
            self.happened[trouble.__name__] += 1
            trouble(self)
            self.wait(self.random.uniform(0.2, 2.0))

    def wait(self, seconds: float) -> None:
        """Let time pass; what vehicles commit meanwhile is noted, who is down is started again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name in VEHICLES:
                self.note(name)
            self._start_due()
            self._start_damaged()
            time.sleep(0.05)

    def note(self, name: str) -> None:
        """Note what a vehicle has in its outbox."""
        with suppress(sqlite3.Error, ValueError):  # of a page that was damaged
            self.seen |= results_in(self.state_of(name), name)

    def is_up(self, name: str) -> bool:
        """Whether a process runs, and nobody is about to start it again."""
        return name not in self.down and self.local.is_running(name)

    def kill(self, name: str, down_s: float = 0.0) -> None:
        """Cut the power of the cloud or a vehicle for a while."""
        self.local.kill(name)
        if name in VEHICLES:
            self.note(name)
        self.down[name] = time.monotonic() + down_s

    def start(self, name: str) -> bool:
        """Start a process now; False when a cloud refused to start."""
        self.down.pop(name, None)
        if name in VEHICLES:
            self.local.start_agent(name)
        elif name != CLOUD:
            self.read(name)
        else:
            try:
                self.local.start_cloud()
            except LinkError:
                self.local.stop(CLOUD)
                return False
        return True

    def signal(self, name: str, number: signal.Signals) -> None:
        if self.local.is_running(name):
            os.kill(self.local.pid(name), number)

    def _start_due(self) -> None:
        for name, due in list(self.down.items()):
            if time.monotonic() >= due and not self.start(name):
                raise AssertionError(f"the cloud does not start:\n{self.local.log_tail(CLOUD)}")

    def _start_damaged(self) -> None:
        """Start an agent again that found the damage only as it ran, as a service manager does."""
        for name in {vehicle for vehicle, _ in self.destroyed} - self.down.keys():
            if not self.local.is_running(name):
                log.info("%s ended, finding its state damaged", name)
                self.start(name)

    def check_runs(self, name: str) -> None:
        """A process that meets a bad disk stays; only at its start, or if damaged, it may end."""
        tail = self.local.log_tail(name)
        refused = tail.rpartition("\n")[2].startswith("oodida-")
        if not refused and name not in {vehicle for vehicle, _ in self.destroyed}:
            assert self.local.is_running(name), f"{name} ended:\n{tail}"

    def destroy(self, name: str) -> None:
        """Take it that what a vehicle owes is gone, with its epoch."""
        self.destroyed.add((name, epoch_of(self.state_of(name))))

    # --- the end ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """End all trouble, cancel the jobs, and wait until nobody owes anything."""
        for link in (self.messages, self.bytes, self.desk):
            link.calm()
        while self.down:
            self.wait(0.1)
        self._eventually(self._all_online, "every vehicle is online")
        for asker in self.askers:
            self._eventually(partial(has_ended, asker), "every analyst is done")
        self.wait(3.0)
        self._cancel_all()
        self._eventually(self._nothing_owed, "every outbox is empty and every task has ended")
        for job_id, reader in self.readers.items():
            self._eventually(partial(has_ended, reader), f"{job_id} was read to its end")
        if self.keys:
            self.verified = {job.id: job.verify() for job in self.jobs}
        for name in VEHICLES:
            self.local.stop(name)
        self.local.stop(CLOUD)

    def _cancel_all(self) -> None:
        for user in (ANALYST, GUEST):
            with self.connect(user) as fleet:
                for job in fleet.jobs():
                    if job.state not in JOB_ENDS:
                        job.cancel()

    def _all_online(self) -> bool:
        return all(v.online for v in self._fleet.vehicles())

    def _nothing_owed(self) -> bool:
        return all(is_empty(self.state_of(name)) for name in VEHICLES)

    def _eventually(self, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + SETTLE_S
        while not self._holds(happened):
            self._start_damaged()
            dead = [n for n in (*VEHICLES, CLOUD) if not self.local.is_running(n)]
            if dead or time.monotonic() > until:
                tails = "\n".join(self.local.log_tail(n) for n in dead or (*VEHICLES, CLOUD))
                raise AssertionError(f"not: {what}; dead: {dead}\n{tails}")
            self.wait(0.2)

    def _holds(self, happened: Callable[[], bool]) -> bool:
        try:
            return happened()
        except (OodidaError, sqlite3.Error):
            return False


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None
