"""Runs as root in a guest: the Debian package on a machine with systemd and a real vcan0.

Prints one JSON object. Waits are bounded by PATIENCE_S alone: the guest is emulated and slow.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 240
AGENT_YAML = "vehicle_id: car-1\nprofile: own\nprofile_dirs: [profiles]\n"
PROFILE = """
model: compact
channels:
  can0:
    databases: [/opt/oodida/active/lib/python3.11/site-packages/dbc/files/compact_powertrain.dbc]
    source: {kind: can, interface: socketcan, channel: vcan1}
mapping: /opt/oodida/active/lib/python3.11/site-packages/dbc/files/compact.vspec
"""
CUSTOM = "def custom(xs):\n    return [float(xs.min()), float(xs.max()), len(xs)]\n"
HUNGRY = "def custom(xs):\n    return len(bytearray(1 << 33))\n"


def sh(command: str) -> str:
    """Run a command; its output comes back whatever its exit code."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602 - our own words
    sys.stderr.write(f"+ {command}\n{done.stdout[-600:]}{done.stderr[-600:]}")
    return done.stdout


def oodida(words: str, user: str = "ana") -> Any:
    """Ask the cloud."""
    return json.loads(sh(f"oodida {words} --json --timeout 60 --user {user}") or "null")


def until(what: str, found: Callable[[], Any]) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := found()):
        if time.monotonic() > deadline:
            sh("journalctl -u 'oodida*' --no-pager | tail -60 >&2")
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(1)
    return value


def unit(name: str) -> str:
    return sh(f"systemctl show -p {name} --value oodida-agent").strip()


def job(spec: str, user: str = "ana") -> str:
    Path(f"/root/{user}.yaml").write_text(spec)
    return str(oodida(f"submit /root/{user}.yaml", user)["assignment_id"])


def results(job_id: str, user: str = "ana") -> int:
    jobs = oodida("jobs", user) or []
    return sum(each["results"] for each in jobs if each["assignment_id"] == job_id)


def replay() -> "subprocess.Popen[bytes]":
    words = "replay --simulated compact --channel can0=vcan1 --loop --json"
    return subprocess.Popen(["oodida", *words.split()], stdout=subprocess.DEVNULL)


def install(report: dict[str, Any]) -> None:
    """The package, the interface by its unit, cloud and agent by theirs."""
    sh("dpkg -i /job/good.deb")
    Path("/etc/oodida/agent.yaml").write_text(AGENT_YAML)
    Path("/etc/oodida/profiles/own.yaml").write_text(PROFILE)
    Path("/etc/oodida/can/vcan1.conf").write_text("KIND=vcan\n")
    Path("/root/custom.py").write_text(CUSTOM)
    Path("/root/hungry.py").write_text(HUNGRY)
    report["verify"] = sh(
        "systemd-analyze verify oodida-agent.service oodida-cloud.service oodida-sandbox.socket "
        "oodida-sandbox@1.service oodida-can@vcan1.service oodida-agent-confirm.service "
        "oodida-agent-recover.service 2>&1"
    )
    sh("systemctl start oodida-can@vcan1 oodida-cloud oodida-agent")
    vehicles = until("the vehicle is online", lambda: oodida("vehicles"))
    report["sandbox"] = vehicles[0]["sandbox"]
    lines = sh("systemd-analyze security --no-pager").splitlines()
    report["scores"] = {s[0]: float(s[1]) for s in map(str.split, lines) if s[0][:6] == "oodida"}


def main() -> None:
    report: dict[str, Any] = {}
    install(report)
    car = replay()
    oodida("code push /root/custom.py")
    spec = "signals: [Vehicle.Speed]\nwindow: {seconds: 1}\nonboard: custom\niterations: forever\n"
    stays = job(spec)
    until("custom code runs", lambda: results(stays) >= 2)
    oodida("code push /root/hungry.py", "bob")
    hungry = job(spec.replace("forever", "1"), "bob")
    until("a hungry task is answered", lambda: results(hungry, "bob"))

    sh("ip link del vcan1")
    car.kill()
    sh("systemctl start oodida-can@vcan1")
    until("vcan1 is back", lambda: "vcan1" in sh("ip -br link"))
    car = replay()
    before = results(stays)
    until("it goes on after vcan1 came back", lambda: results(stays) > before)

    restarts = int(unit("NRestarts"))
    sh(f"kill -STOP {unit('MainPID')}")
    until("the watchdog has restarted it", lambda: int(unit("NRestarts")) > restarts)
    before = results(stays)
    until("tasks resume", lambda: results(stays) > before)

    sh("dpkg -i /job/bad.deb")
    until("the bad version is rolled back", Path("/var/lib/oodida/rolled-back").exists)
    until("the good one runs", lambda: unit("ActiveState") == "active")
    before = results(stays)
    until("tasks survive upgrade and roll-back", lambda: results(stays) > before)
    report["rolled_back"] = Path("/var/lib/oodida/rolled-back").read_text()
    report["configuration"] = Path("/etc/oodida/agent.yaml").read_text()
    car.kill()
    sys.stdout.write(json.dumps(report) + "\n")


main()
