"""What the scripts in a guest share: its words to the host, its units, the vehicle in it.

They run as root. A guest is emulated and slow, so nothing sleeps for a time that is hoped to do:
`until` waits for what is meant to happen, and gives up after PATIENCE_S.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 150.0
POLL_S = 0.3
JOB = Path("/job")
EXAMPLES, KEYS = Path("/usr/share/oodida/examples"), Path("/etc/oodida/keys")
APP = Path("/opt/oodida/active/lib/python3.11/site-packages")
OWN = Path("/opt/driver")
"""A copy of the installed program for these scripts, since the installed one is exchanged."""
STATE_DB = Path("/var/lib/oodida-agent/state.db")
LEDGER = Path("/var/lib/oodida-cloud/cloud.db")
UNITS = "oodida-can@vcan0 oodida-can@vcan1 oodida-cloud oodida-agent"

AGENT_YAML = """
profile: own
profile_dirs: [profiles]
keys:
  own: /run/credentials/oodida-agent.service/keys_car-1.key
  cloud: /etc/oodida/cloud.pub
  analysts: /etc/oodida/analysts
policy: {limits: {cpu_s: 60, memory_mb: 2048, wall_s: 60}}
"""
CLOUD_YAML = """
keys:
  own: /run/credentials/oodida-cloud.service/keys_cloud.key
  authorized: /etc/oodida/authorized
ledger: /var/lib/oodida-cloud/cloud.db
lease_s: 6
"""


def say(words: str) -> None:
    """Tell the host, at once: what was said before the power goes is known."""
    sys.stdout.write(f"{time.monotonic():7.1f} s  {words}\n")
    sys.stdout.flush()


def found(values: dict[str, Any]) -> None:
    """Give the host what it judges."""
    sys.stdout.write(f"FOUND {json.dumps(values)}\n")
    sys.stdout.flush()


def sh(command: str) -> str:
    """Run a command that must succeed; return its output."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602
    if done.returncode:
        said = done.stdout[-2000:] + done.stderr[-2000:]
        raise SystemExit(f"{command}: {done.returncode}\n{said}")
    return done.stdout


def until(what: str, happened: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait until something is so, and return what it is."""
    deadline = time.monotonic() + patience_s
    while not (value := happened()):
        if time.monotonic() > deadline:
            say(f"waited in vain: {what}")
            raise SystemExit(f"waited in vain: {what}\n{how_things_are()}")
        time.sleep(POLL_S)
    return value


def how_things_are() -> str:
    """Return what the units' states and logs say, for whoever has to find out why."""
    states = "-p Id,ActiveState,SubState,Result,ExecMainStatus,NRestarts,InvocationID"
    return "\n".join(
        (
            sh(
                f"systemctl --no-pager show {states} oodida-agent oodida-cloud oodida-agent-recover"
            ),
            sh("systemctl --no-pager list-jobs; ls -l /opt/oodida /var/lib/oodida 2>&1 || true"),
            sh("journalctl --no-pager -b -p warning -n 40"),
            sh("journalctl --no-pager -b -n 120 -u 'oodida*' -u car"),
        )
    )


def shown(name: str, of: str = "oodida-agent") -> str:
    """Return a property of a unit."""
    return sh(f"systemctl show -p {name} --value {of}").strip()


def agent_pid() -> int:
    return int(shown("MainPID"))


def rss_mb(pid: int) -> float:
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x[:6] == "VmRSS:"]
    return int(line.split()[1]) / 1024


def install(profile: str, analysts: tuple[str, ...] = ("ada",)) -> None:
    """Install the package and set vehicle, cloud and analysts up as systemd/OPERATING.md says."""
    sh("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /job/good.deb")
    sh("oodida keys create cloud --role cloud --dir /etc/oodida/keys")
    sh("oodida keys create car-1 --role vehicle --dir /etc/oodida/keys")
    for name in analysts:
        sh(f"oodida keys create {name} --role analyst --dir /root")
    cards = " ".join(f"/root/{name}.pub" for name in analysts)
    sh(f"oodida keys enrol /etc/oodida/keys/car-1.pub {cards} --into /etc/oodida/authorized")
    sh(f"oodida keys enrol {cards} --into /etc/oodida/analysts")
    shutil.copy(KEYS / "cloud.pub", "/etc/oodida/cloud.pub")
    Path("/etc/oodida/agent.yaml").write_text(AGENT_YAML)
    Path("/etc/oodida/cloud.yaml").write_text(CLOUD_YAML)
    Path("/etc/oodida/profiles/own.yaml").write_text(profile)
    for name in ("vcan0", "vcan1"):
        shutil.copy(EXAMPLES / "vcan0.example.conf", f"/etc/oodida/can/{name}.conf")
    shutil.copytree("/opt/oodida/active/", OWN, symlinks=True)
    say("installed; keys are made and enrolled")


@contextmanager
def analyst(name: str = "ada") -> Iterator[Any]:
    """Return an analyst's fleet, through the copy of the installed program."""
    site = str(OWN / "lib/python3.11/site-packages")
    if site not in sys.path:
        sys.path.insert(0, site)
    import user_lib

    os.environ["OODIDA_KEY"] = f"/root/{name}.key"
    os.environ["OODIDA_CLOUD_KEY"] = "/etc/oodida/cloud.pub"
    with user_lib.connect(timeout_s=60) as fleet:
        yield fleet


def car(fleet: Any) -> Any:
    """Return what the cloud knows of the vehicle; None while it is not online."""
    return next((v for v in fleet.vehicles() if v.online), None)


def stats(fleet: Any) -> dict[str, float]:
    known = car(fleet)
    return dict(known.stats) if known else {}


def waiting() -> int:
    """How many results wait in the vehicle's outbox, read beside its agent."""
    return len(outbox())


def outbox() -> set[tuple[str, str, int]]:
    """Return what is committed and not acknowledged: (assignment, epoch, iteration)."""
    import msgspec

    from user_lib.contract.messages import Result

    with closing(sqlite3.connect(f"file:{STATE_DB}?mode=ro", uri=True, timeout=5)) as state:
        rows = state.execute("SELECT item FROM outbox WHERE kind = 0").fetchall()
    results = (msgspec.msgpack.decode(item, type=Result) for (item,) in rows)
    return {(r.assignment_id, r.epoch, r.iteration) for r in results}


def epoch() -> str:
    """Return the life of the vehicle's durable state."""
    with closing(sqlite3.connect(f"file:{STATE_DB}?mode=ro", uri=True, timeout=5)) as state:
        rows = state.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()
    return str(rows[0][0])
