"""Runs in a guest: hostile code on its kernel, and the packaged sandbox service with its cgroups.

Prints one line, ``FOUND`` and JSON; `test_sandbox.py` judges it.
"""

# ruff: noqa: T201 - it answers by printing
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from agent.sandbox import Job, Limits, Sandbox, SandboxConfig, check, window_of
from agent.sandbox.lockdown import landlock
from tests.sandbox.hostile import files, kernel, leaks, network, processes
from tests.sandbox.hostile.canaries import Canaries, planted
from tests.sandbox.hostile.case import PRELUDE, Case, met, numbers

SLOW = Limits(cpu_s=60.0, memory_mb=64, wall_s=120.0)
"""The guest is emulated."""
SOURCE = PRELUDE.format(numbers=numbers())
SITE = "/usr/local/lib/python3.11/dist-packages"
"""Where an interpreter without an environment looks, and what workers are shown."""
UNITS = Path("/run/systemd/system")
SOCKET = "/run/oodida/sandbox.sock"
START = (
    "/usr/bin/env -i OPENBLAS_NUM_THREADS=1 MALLOC_ARENA_MAX=1 LC_ALL=C.UTF-8 "
    "PYTHONPATH=/job:/job/packages /usr/bin/python3 -B -m agent.sandbox"
)
"""As ``start-sandbox`` does, for a version that is not installed."""
HOG = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(60 << 20)
        for i in range(0, len(held), 4096): held[i] = 1
        time.sleep(100)
time.sleep(100)
"""


def job(source: str = "", **more: Any) -> Job:
    given: dict[str, Any] = {"method": "custom", "source": source, "limits": SLOW, **more}
    return Job(half="onboard", window=window_of(np.arange(10.0)), **given)


def unmet(level: Any, canaries: Canaries) -> list[str]:
    """Run every case that a slow machine can judge; return those that went otherwise."""
    wrong = []
    with Sandbox(SandboxConfig(level=level, spares=2, scratch_mb=8, start_timeout_s=60)) as sandbox:
        sandbox.start()
        if sandbox.problem:
            return [sandbox.problem]
        for family in (files, kernel, leaks, network, processes):
            for case in family.CASES:
                if not is_slow(case):
                    out = sandbox.run(job(SOURCE + f"    {case.body}\n", params=canaries.params))
                    if not met(case.expected_at(level), out) or not canaries.untouched():
                        wrong.append(f"{family.__name__} {case.name}: {out}")
        if sandbox.restarts:
            wrong.append(f"{sandbox.restarts} restarts")
    return wrong


def is_slow(case: Case) -> bool:
    return any(word in case.expect for word in ("cpu", "wall", "memory"))


def install() -> None:
    """Put the packaged units in place, to start this folder's code."""
    run = subprocess.check_call
    run(["groupadd", "--system", "oodida"])
    run(["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", "oodida-sandbox"])
    run(["chmod", "-R", "a+rX", "/job"])
    for unit in Path("/job/units").glob("oodida-sandbox*"):
        text = unit.read_text().replace("-/opt/oodida/active/bin/start-sandbox", START)
        (UNITS / unit.name).write_text(text)
    Path("/run/oodida").mkdir(exist_ok=True)
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "start", "oodida-sandbox.socket"])


def service() -> dict[str, Any]:
    install()
    config = SandboxConfig(
        socket=SOCKET, external={"hog": ("/usr/bin/python3", "-c", HOG)}, start_timeout_s=60
    )
    with Sandbox(config) as sandbox:
        values = [sandbox.run(job(f"def custom(xs): return {i}")).value for i in range(10)]
        limits = Limits(cpu_s=60, memory_mb=32, wall_s=120)
        hog = sandbox.run(job(method="external:hog", limits=limits))
        leaves = list(Path("/sys/fs/cgroup").glob("oodida.slice/**/worker-*"))
        return {
            "problem": sandbox.problem,
            "bounded": sandbox.bounded,
            "values": values,
            "hog": [hog.status, hog.reason, hog.detail],
            "after": sandbox.run(job("def custom(xs): return 1")).value,
            "restarts": sandbox.restarts,
            "leaves": len(leaves),
        }


def main() -> None:
    shutil.copytree("/job/packages", SITE, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, planted(Path(folder)) as canaries:
        found = {
            "kernel": os.uname().release,
            "landlock": landlock.abi(),
            "layers": [[layer.name, layer.ok, layer.found] for layer in check()],
            "service": service(),
            "full": unmet("full", canaries),
            "no-namespaces": unmet("no-namespaces", canaries),
        }
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
