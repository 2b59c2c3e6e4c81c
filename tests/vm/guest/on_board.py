"""One vehicle's day in one boot: installed, driven, swapped, hung, starved, reloaded.

Prints what it does, and FOUND with what the other side judges.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
from held_threads import frozen, frozen_asleep, thread_named
from machine import JOB, agent_pid, found, rss_mb, say, sh, shown, until

PLAN = json.loads((JOB / "plan.json").read_text())
DATABASE = Path("/etc/oodida/profiles/drive.dbc")
SECOND_BUS = """VERSION ""
NS_ :
BS_:
BU_: A
BO_ 768 Wide: 64 A
 SG_ Far : 496|16@1+ (1,0) [0|65535] "" A
BO_ 769 Flood: 8 A
 SG_ Level : 0|8@1+ (1,0) [0|255] "" A
"""
PROFILE = f"""
model: compact
channels:
  can0:
    databases: [drive.dbc]
    source: {{kind: can, interface: socketcan, channel: vcan0}}
  can1:
    databases: [second.dbc, {machine.APP}/dbc/files/compact_powertrain.dbc]
    source: {{kind: can, interface: socketcan, channel: vcan1, fd: true, capacity_frames: 256}}
"""
FIRST = "def custom(data, params):\n    return {n: [float(x) for x in data[n]] for n in NAMES}\n"
SECOND = "def custom(data, params):\n    return {n: [-float(x) for x in data[n]] for n in NAMES}\n"
HUNGRY = """
def custom(xs):
    kept = []
    while True:
        kept.append(bytearray(b"x" * (1 << 20)))
"""
NAMES = f"NAMES = [{PLAN['lead']!r}, {PLAN['beside']!r}]\n"
WINDOWS_BEFORE_SWAP = 3
CHECKS = 3


def state(job: Any) -> str:
    """Return where a job stands on the one vehicle."""
    (member,) = job.explanation().members
    return str(member.state or "")


def units() -> dict[str, Any]:
    """Bring everything up by its units, and let systemd judge them."""
    verified = sh(
        "systemd-analyze verify oodida-agent.service oodida-cloud.service oodida-sandbox.socket "
        "oodida-sandbox@1.service oodida-can@vcan0.service oodida-agent-confirm.service "
        "oodida-agent-recover.service 2>&1"
    )
    sh(f"systemctl enable {machine.UNITS} && systemctl start --no-block {machine.UNITS}")
    for unit in ("oodida-cloud", "oodida-agent"):
        until(f"{unit} has started", lambda name=unit: shown("ActiveState", name) == "active")
    lines = [x for x in sh("systemd-analyze security --no-pager").splitlines() if "oodida" in x]
    for line in lines:
        say(line)
    return {"verified": verified, "scores": {s[0]: float(s[1]) for s in map(str.split, lines)}}


def drive(fleet: Any) -> dict[str, Any]:
    """Replay the drive once, with another code version taking over in the middle of it."""
    fleet.update_code(NAMES + FIRST)
    signals, samples = [PLAN["lead"], PLAN["beside"]], PLAN["samples"]
    job = fleet.assign(
        name="stays", signals=signals, window={"samples": samples}, onboard="custom",
        offboard="collect", iterations="forever",
    )  # fmt: skip
    until("the task gathers", lambda: state(job) == "gathering")
    player = subprocess.Popen(["canplayer", "-I", JOB / "drive.log", f"vcan0={PLAN['channel']}"])
    until("windows come", lambda: len(job.results()) >= WINDOWS_BEFORE_SWAP)
    swap = fleet.update_code(NAMES + SECOND)
    say(f"code swapped after {len(job.results())} windows")
    player.wait()
    until("the other version has run", lambda: job.results()[-1].value[signals[0]][0] <= 0)
    results = job.results()
    versions = list(dict.fromkeys(r.code_version for r in results))
    say(f"{len(results)} windows of {samples} samples, by {len(versions)} versions of the code")
    del swap
    return {
        "job": job.id,
        "sandbox": machine.car(fleet).sandbox,
        "versions": versions,
        "results": [(r.iteration, r.code_version, r.receipt.lost_frames, r.value) for r in results],
    }


def start_car() -> None:
    """Replay the drive again and again, whatever becomes of the interface."""
    again = "-p Restart=always -p RestartSec=1 -p StartLimitIntervalSec=0"
    player = f"canplayer -l i -I /job/drive.log vcan0={PLAN['channel']}"
    sh(f"systemd-run --quiet --unit=car {again} {player}")


def goes_on(job: Any) -> Callable[[], bool]:
    """Return what tells whether a job has more results than now."""
    before = job.info.results
    return lambda: job.info.results > before


def interfaces(fleet: Any, stays: Any) -> dict[str, Any]:
    """Take vcan0 down and up, remove it and make it again: a device that is made is brought up."""

    def away() -> int:
        return int(machine.stats(fleet).get("source.disconnected", 0))

    from user_lib.doctor.chain import vehicle_links

    seen: dict[str, Any] = {"away_at_least_ms": 0}

    def stays_away() -> None:
        """Leave it away for a while that is known for certain: the cloud knows of it already."""
        began_s = time.monotonic()
        time.sleep(1.0)
        seen["away_at_least_ms"] += int((time.monotonic() - began_s) * 1000)

    sh("ip link set vcan0 down")
    until("the cloud knows that an interface is away", away)
    stays_away()
    links = vehicle_links(machine.car(fleet)).links
    seen["told"] = [x.found for x in links if x.name == "frames seen"]
    seen["table"] = repr(fleet.vehicles())
    sh("ip link set vcan0 up")
    until("it goes on after vcan0 was down", goes_on(stays))
    sh("ip link del vcan0")
    until("the interface is away", away)
    stays_away()
    sh("ip link add vcan0 type vcan")
    until("it goes on after vcan0 was removed", goes_on(stays))
    until("nothing is away", lambda: not away())
    before = stays.info.results
    until("results come that began after it", lambda: stays.info.results > before + 2)
    receipts = [r.receipt for r in stays.results()]
    seen["in_results"] = [
        (r.iteration, r.away_ms, (r.window_stop_ns - r.window_start_ns) // 1_000_000)
        for r in receipts if r.away_ms
    ]  # fmt: skip
    seen["last_away_ms"] = receipts[-1].away_ms
    told = f"away for {seen['away_at_least_ms']} ms at least"
    say(f"vcan0 was {told}; results (iteration, away, window, ms): {seen['in_results']}")
    seen["reconnects"] = machine.stats(fleet)["source.reconnects"]
    log = sh("journalctl -u oodida-agent --no-pager -o cat")
    seen["logged"] = [x for x in log.splitlines() if "CAN interface vcan0" in x]
    say("vcan0 went down and up, was removed and made again: tasks went on")
    return seen


def frames(fleet: Any) -> dict[str, Any]:
    """Send CAN FD, error frames and bus-off by cansend; flood the second bus by cangen."""
    wide = fleet.assign(name="fd", signals=["Wide.Far"], window={"samples": 1}, onboard="collect")
    flood = fleet.assign(
        name="flood", signals=["Flood.Level"], window={"seconds": 1}, onboard="count",
        iterations="forever",
    )  # fmt: skip
    for job in (wide, flood):
        until("the task gathers", lambda j=job: state(j) == "gathering")
    sh(f"cansend vcan1 300##1{'00' * 62}D204")
    value = until("a CAN FD frame is a result", wide.results)[0].value
    sh("cansend vcan1 20000040#0000000000000000; cansend vcan1 20000008#0000000000000000")
    until("error frames are counted", lambda: machine.stats(fleet)["frames.errors"] >= 2)
    bus_offs = machine.stats(fleet)["source.bus_offs"]
    generator = subprocess.Popen(["cangen", "vcan1", "-g", "0", "-i", "-I", "301", "-L", "8"])

    def lossy() -> list[Any]:
        return [r for r in flood.results() if r.receipt.lost_frames]

    hit = until("a result says what was lost", lossy)
    generator.kill()
    lost = until("the cloud knows", lambda: machine.stats(fleet).get("frames.dropped", 0))
    table = repr(fleet.vehicles())
    flood.cancel()
    log = sh("journalctl -u oodida-agent --no-pager -o cat")
    say(f"a flooded bus: {lost:.0f} frames lost, {hit[0].receipt.lost_frames} of them in a result")
    return {
        "fd": value, "bus_offs": bus_offs, "lost": lost, "table": table,
        "in_result": hit[0].receipt.lost_frames,
        "logged": [x for x in log.splitlines() if "lost" in x or "bus-off" in x][:10],
    }  # fmt: skip


def faulty_replay(fleet: Any) -> dict[str, Any]:
    """Let `oodida replay` drive a simulated car with gaps and wrong counters on the second bus."""
    counter, gap = "@message.EngineData.counter_errors", "@message.EngineData.gap_ms"
    job = fleet.assign(
        name="quality", onboard="max", window={"seconds": 2}, signals=[counter, gap],
        iterations="forever",
    )  # fmt: skip
    done = sh(
        "oodida replay --simulated compact --channel can0=vcan1 --gaps 3:1 --wrong-counters 0.2 "
        "--load 20 --duration 14 --json"
    )

    def worst() -> dict[str, float]:
        values = [r.value for r in job.results() if r.ok]
        return {name: max(v[name] or 0 for v in values) for name in (counter, gap)}

    until("the faults are in results", lambda: worst()[counter] and worst()[gap] > 500)
    say(f"oodida replay with faults: {worst()}")
    job.cancel()
    return {"worst": worst(), "played": json.loads(done)}


def hunger() -> dict[str, Any]:
    """Run tasks that eat memory: one over its own limit, one that its cgroup must stop."""
    before = rss_mb(agent_pid())
    with machine.analyst("bob") as bob:
        bob.update_code(HUNGRY)
        answers = {}
        for name, memory_mb in (("limit", 200), ("cgroup", 1500)):
            job = bob.assign(
                name=name, signals=[PLAN["lead"]], window={"samples": 5}, onboard="custom",
                limits={"memory_mb": memory_mb, "wall_s": 60, "cpu_s": 60},
            )  # fmt: skip
            (result,) = until(f"{name}: the hungry task is answered", job.results)
            answers[name] = [result.receipt.status, result.error[:300]]
            say(f"hungry task, {memory_mb} MB allowed: {result.error[:80]}")
    return {"answers": answers, "rss_mb": [before, rss_mb(agent_pid())]}


def hang(fleet: Any, stays: Any) -> dict[str, Any]:
    """Hold the main loop's thread alone: the watchdog restarts the agent, tasks resume."""
    pid, restarts = agent_pid(), int(shown("NRestarts"))
    with frozen(pid) as reap:
        until("the watchdog has restarted it", lambda: reap() or int(shown("NRestarts")) > restarts)
    until("it is online", lambda: machine.car(fleet) and shown("ActiveState") == "active")
    until("tasks resume", goes_on(stays))
    log = sh("journalctl -u oodida-agent --no-pager -o cat")
    say("its main loop hung: the watchdog restarted it, tasks resumed")
    return {"watchdog": "Watchdog timeout" in log, "traceback": "Fatal Python error" in log}


def pump_hangs(fleet: Any, stays: Any) -> dict[str, Any]:
    """Hold the thread that reads the CAN sockets, alone: it is told, and the watchdog restarts."""
    pid, restarts = agent_pid(), int(shown("NRestarts"))
    thread = until("the pump has a name", lambda: thread_named(pid, "signals"))
    since = sh("date +'%F %T'").strip()

    def log() -> str:
        return sh(f"journalctl -u oodida-agent --since '{since}' --no-pager -o cat")

    with frozen_asleep(thread) as reap:
        until("the main loop says so", lambda: "the pump hangs" in log())
        frozen_lag_s = metrics()["oodida_agent_pump_lag_seconds"]
        until("the watchdog has restarted it", lambda: reap() or int(shown("NRestarts")) > restarts)
    until("it is online", lambda: machine.car(fleet) and shown("ActiveState") == "active")
    until("tasks resume", goes_on(stays))
    say("its pump hung alone: the watchdog restarted it, tasks resumed")
    return {"watchdog": "Watchdog timeout" in log(), "lag_s": frozen_lag_s}


def reload(fleet: Any, stays: Any) -> dict[str, Any]:
    """Exchange a database and the owner's rules while tasks run."""
    pid = agent_pid()
    vanishes = fleet.assign(
        name="vanishes", signals=[PLAN["vanishes"]], window={"samples": 5}, onboard="mean",
        iterations="forever",
    )  # fmt: skip
    until("it runs", vanishes.results)
    shutil.copy(JOB / "less.dbc", DATABASE)
    rules = machine.AGENT_YAML.replace("policy: {", "policy: {methods: [custom, mean], ")
    Path("/etc/oodida/agent.yaml").write_text(rules)
    sh("systemctl reload oodida-agent")
    ended = until("the task without its signal ends", lambda: _ended(vanishes))
    until("the other goes on", goes_on(stays))
    refused = fleet.assign(
        name="refused", signals=[PLAN["lead"]], window={"samples": 5}, onboard="max"
    )
    words = until("the owner refuses", lambda: _ended(refused))
    say(f"reloaded: {ended}; {words}")
    return {"ended": ended, "refused": words, "same_process": pid == agent_pid()}


def _ended(job: Any) -> str:
    (member,) = job.explanation().members
    ended = str(member.state or "") in ("failed", "rejected")
    return f"{member.state}: {member.detail}" if ended else ""


def rotate(fleet: Any, stays: Any) -> dict[str, Any]:
    """Give the vehicle new keys, as the documentation says; a reload lets them take over."""
    pid = agent_pid()
    sh("cd /etc/oodida/keys && oodida keys rotate car-1.key")
    sh("oodida keys enrol /etc/oodida/keys/car-1.next.pub --into /etc/oodida/authorized")
    sh("cd /etc/oodida/keys && oodida keys rotate car-1.key --finish")
    sh("systemctl reload oodida-agent")
    until("it runs with its new keys", lambda: agent_pid() not in (0, pid))
    until("it goes on", goes_on(stays))
    say("rotated keys took over by a reload")
    return {"rotated": True}


def metrics() -> dict[str, float]:
    """Read the agent's metrics from its socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect("/run/oodida-agent/metrics.sock")
        asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
    pairs = (x.rpartition(" ") for x in text.splitlines() if x.startswith("oodida_"))
    return {name: float(value) for name, _, value in pairs}


def check() -> list[Any]:
    """Ask the engineer's question, again if the emulated machine was too slow for a trial."""
    findings: list[Any] = []
    for _ in range(CHECKS):
        done = subprocess.run(["oodida-agent", "check", "--json"], capture_output=True, text=True)
        findings = json.loads(done.stdout)
        for one in findings:
            say(f"check: {one['level']:5} {one['name']:10} {one['found'][:90]}")
        if not any(one["level"] == "fail" for one in findings):
            break
    return findings


def main() -> None:
    machine.install(PROFILE, analysts=("ada", "bob"))
    shutil.copy(JOB / "drive.dbc", DATABASE)
    DATABASE.with_name("second.dbc").write_text(SECOND_BUS)
    found({"units": units()})
    with machine.analyst() as fleet:
        until("the vehicle is online", lambda: machine.car(fleet))
        driven = drive(fleet)
        found({"drive": driven})
        stays = fleet.job(driven["job"])
        start_car()
        found({"interfaces": interfaces(fleet, stays)})
        found({"frames": frames(fleet)})
        found({"faulty": faulty_replay(fleet)})
        found({"hunger": hunger()})
        found({"check": check()})
        found({"metrics": metrics()})
        found({"hang": hang(fleet, stays)})
        found({"pump": pump_hangs(fleet, stays)})
        found({"reload": reload(fleet, stays)})
        found({"rotate": rotate(fleet, stays)})


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        sys.stdout.write(sh("journalctl --no-pager -n 60 -u 'oodida*' -o cat"))
        raise
