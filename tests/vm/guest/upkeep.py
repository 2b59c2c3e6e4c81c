"""A vehicle in the hands of its engineer and of the power: several boots of one disk.

The first argument says what this boot does:

    engineer   install, hold the network back, upgrade, downgrade, interrupted and broken upgrade
    work       come up by itself after a power cut and go on, until the power goes again
    large      the same, and the power goes while the cloud pulls a result of megabytes
    settle     the same, then end the jobs and let everything arrive

While it works, every iteration seen in the vehicle's outbox is told before the power goes
(COMMITTED), and so is every event that the analyst has read (EVENT): those may not be lost.
"""

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

import machine
from machine import JOB, STATE_DB, analyst, found, say, sh, shown, until

CAR = """
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/cangen vcan0 -I 110 -L 8 -g 5
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
PROFILE = f"""
model: compact
channels:
  can0:
    databases: [{machine.APP}/dbc/files/compact_powertrain.dbc]
    source: {{kind: can, interface: socketcan, channel: vcan0}}
"""
SPEED = {"signals": ["VehicleMotion.VehicleSpeed"], "iterations": "forever", "deadline_s": 5}
MEAN = {"onboard": "mean", "offboard": "mean"}
ROUNDS = {**SPEED, **MEAN, "name": "rounds", "window": {"samples": 40}}
STREAM = {**SPEED, "name": "stream", "window": {"samples": 15}, "onboard": "collect"}
LARGE = {
    "name": "large", "signals": ["VehicleMotion.VehicleSpeed", "VehicleMotion.Odometer"],
    "onboard": "collect", "rate_hz": 10_000, "window": {"seconds": 8, "every": 20},
    "iterations": "forever", "deadline_s": 60,
}  # fmt: skip
"""Eighty thousand held values of each signal: three megabytes, which travel in chunks."""
SLOW_RATE = "4mbit"
"""So that a cut can come amid them: half a megabyte a second, two chunks."""
HELD = 4
SEEN_BEFORE_CUT = 12
"""So many results must have come in this boot before the power may go."""
CONFIGURED = ("agent.yaml", "cloud.yaml", "profiles/own.yaml", "can/vcan0.conf")


def agent_is(version: str) -> bool:
    """Whether the vehicle is online with that version, and its service active."""
    with analyst() as fleet:
        known = machine.car(fleet)
        return known is not None and known.agent_version == version


def more_results(than: dict[str, int]) -> dict[str, int]:
    """Return how many results each job has, once every job has more than it had."""
    with analyst() as fleet:
        now = {job.spec.name: job.info.results for job in fleet.jobs()}
    return now if all(now[name] > than.get(name, 0) for name in ("rounds", "stream")) else {}


def hold_network_back() -> dict[str, Any]:
    """Let no packet through, as in a garage; then, let them through again."""
    before = until("results come", lambda: more_results({}))
    sh("tc qdisc add dev lo root netem loss 100%")
    until("results wait in the outbox", lambda: machine.waiting() >= 20)
    waited = machine.outbox()
    held = len(waited)
    tell_committed(waited)  # so that each of them is looked for in the ledger, in the end
    sh("tc qdisc del dev lo root")
    until("the outbox is delivered", lambda: machine.waiting() < 5)
    until("it goes on", lambda: more_results(before))
    say(f"a network held back: {held} results waited, then were delivered")
    return {"held": held}


def configuration() -> dict[str, str]:
    return {name: Path("/etc/oodida", name).read_text() for name in CONFIGURED}


def exchange(package: str, version: str) -> dict[str, Any]:
    """Install another version over this one while the cloud is away and results wait."""
    keys = sh("sha256sum /etc/oodida/keys/* /etc/oodida/authorized/* /etc/oodida/analysts/*")
    before = {"epoch": machine.epoch(), "configuration": configuration(), "keys": keys}
    counts = more_results({})
    sh("systemctl stop oodida-cloud")
    until("results wait in the outbox", lambda: machine.waiting() >= 10)
    sh("systemctl stop oodida-agent")
    waited = machine.outbox()
    tell_committed(waited)
    sh("systemctl start oodida-agent")
    sh(f"DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades /job/{package}.deb")
    kept = waited <= machine.outbox()
    sh("systemctl start oodida-cloud")
    until(f"version {version} is online", lambda: agent_is(version))
    until("its tasks go on", lambda: more_results(counts))
    after = {
        "epoch": machine.epoch(),
        "configuration": configuration(),
        "keys": sh("sha256sum /etc/oodida/keys/* /etc/oodida/authorized/* /etc/oodida/analysts/*"),
    }
    say(f"{package}: version {version} took over; {len(waited)} results waited meanwhile")
    return {"waited": len(waited), "outbox_kept": kept, "kept": before == after}


def rolled_back(counts: dict[str, int]) -> dict[str, Any]:
    """Wait until the version before is back and goes on; return what is told of it."""
    told = Path("/var/lib/oodida/rolled-back")
    until("the broken version is rolled back", told.exists)
    until("the version before is online", lambda: agent_is("0.1.0"))
    until("its tasks go on", lambda: more_results(counts))
    said = told.read_text().strip()
    say(said)
    return {"said": said, "active": str(Path("/opt/oodida/active").readlink())}


def broken_upgrade() -> dict[str, Any]:
    """Install a version whose agent does not start: its own unit brings the one before back.

    First as if the power had gone once its files were exchanged and before it was set up, and then
    to the end.
    """
    counts = more_results({})
    sh("dpkg --unpack /job/broken.deb")
    sh("systemctl start --no-block oodida-agent oodida-cloud")  # as the next boot does
    interrupted = rolled_back(counts)
    counts = more_results({})
    sh("DEBIAN_FRONTEND=noninteractive dpkg --configure oodida")
    return {"interrupted": interrupted, "whole": rolled_back(counts)}


def engineer() -> None:
    machine.install(PROFILE)
    Path("/etc/systemd/system/car.service").write_text(CAR)
    sh(f"systemctl daemon-reload && systemctl enable {machine.UNITS} car")
    sh(f"systemctl start --no-block {machine.UNITS} car")
    until("the cloud has started", lambda: shown("ActiveState", "oodida-cloud") == "active")
    until("the vehicle is online", lambda: agent_is("0.1.0"))
    say("the units are up")
    with analyst() as fleet:
        fleet.assign(ROUNDS)
        fleet.assign(STREAM)
    found(
        {
            "network": hold_network_back(),
            "upgrade": exchange("newer", "9.9.0"),
            "downgrade": exchange("good", "0.1.0"),
            "broken": broken_upgrade(),
        }
    )


def tell_committed(entries: set[tuple[str, str, int]]) -> None:
    """Tell the host what was seen in an outbox, before anything may happen to it."""
    for one in sorted(entries):
        sys.stdout.write(f"COMMITTED {json.dumps(one)}\n")
    sys.stdout.flush()


class Witness:
    """Tells the host what may not be lost, as soon as it is there."""

    def __init__(self, fleet: Any) -> None:
        self._fleet = fleet
        self._read: dict[str, int] = json.loads((JOB / "read.json").read_text())
        self._committed: set[tuple[str, str, int]] = set()
        self.events = 0

    def look_at_outbox(self) -> None:
        fresh = machine.outbox() - self._committed
        self._committed |= fresh
        tell_committed(fresh)

    def read_on(self) -> None:
        import msgspec

        for job in self._fleet.jobs():
            job_id = job.id
            for event in job.events_so_far(self._read.get(job_id, 0)):
                self._read[job_id] = event.seq
                self.events += 1
                body = msgspec.json.encode(event).decode()
                sys.stdout.write(f"EVENT {job_id} {body}\n")
        sys.stdout.flush()


def come_up() -> None:
    """Wait until the vehicle is online; nobody starts anything."""
    units = ("oodida-cloud", "oodida-agent")
    for unit in units:
        until(f"{unit} has started", lambda name=unit: shown("ActiveState", name) == "active")
    until("the vehicle is online", lambda: agent_is("0.1.0"))
    say("online by itself after the power cut")


def work() -> None:
    """Until the power goes: the host cuts it at a random moment after POWER MAY GO.

    The cloud is held again and again, so that the cut finds results of every kind: not committed,
    committed, on their way, in the ledger, read by the analyst.
    """
    with analyst() as fleet:
        witness = Witness(fleet)
        until("results come", lambda: witness.read_on() or witness.events >= SEEN_BEFORE_CUT)
        cloud = int(shown("MainPID", "oodida-cloud"))
        for turn in count():
            os.kill(cloud, signal.SIGSTOP)
            until("results wait in the outbox", lambda: machine.waiting() >= HELD)
            witness.look_at_outbox()
            if not turn:
                say("POWER MAY GO")
            os.kill(cloud, signal.SIGCONT)
            until("they are delivered", lambda: machine.waiting() < HELD)
            witness.read_on()


def large() -> None:
    """Until the power goes, in the midst of the chunks of a large result.

    How far the cloud is with it is told again and again: the last word is from before the cut.
    """
    with analyst() as fleet:
        witness = Witness(fleet)
        until("results come", lambda: witness.read_on() or witness.events >= SEEN_BEFORE_CUT)
        sh(f"tc qdisc add dev lo root netem rate {SLOW_RATE}")
        job = fleet.assign(LARGE)
        until("the cloud has a part", lambda: progress(job).partition(" ")[0] not in ("", "0.0"))
        for turn in count():
            witness.look_at_outbox()
            sys.stdout.write(f"PULLED {progress(job)}\n")
            sys.stdout.flush()
            if not turn:
                say("POWER MAY GO")


def progress(job: Any) -> str:
    """Return how far the cloud is with the content that it pulls, such as ``0.5 of 2.1 MB``."""
    (member,) = job.explanation().members
    return str(member.detail).rpartition("content ")[2] if "content " in member.detail else ""


def settle() -> None:
    """End the jobs, and wait until nobody owes anything."""
    with analyst() as fleet:
        witness = Witness(fleet)
        until("results come", lambda: witness.read_on() or witness.events >= SEEN_BEFORE_CUT)
        for job in fleet.jobs():
            job.cancel()
        until("every outbox is empty and every task has ended", nothing_owed)
        witness.read_on()
    sh("systemctl stop oodida-agent oodida-cloud")
    say("settled")
    found({"quick_check": check(STATE_DB), "ledger_check": check(machine.LEDGER)})


def nothing_owed() -> bool:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{STATE_DB}?mode=ro", uri=True, timeout=5)) as state:
        (left,) = state.execute(
            "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM tasks)"
        ).fetchone()
    return left == 0


def check(path: Path) -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def main() -> None:
    what = sys.argv[1]
    if what == "engineer":
        engineer()
    else:
        come_up()
    {"engineer": work, "work": work, "large": large, "settle": settle}[what]()


main()
