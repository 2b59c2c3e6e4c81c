"""The machine: its clock, its disk, the service, and whether it can confine foreign code."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from agent.check.finding import Finding
from agent.config import AgentConfig
from agent.sandbox import (
    Job,
    Outcome,
    Sandbox,
    SandboxConfig,
    SandboxUnavailable,
    check,
    window_of,
)
from agent.store.database import FILE, SCHEMA_VERSION
from agent.wall import synchronised
from user_lib.contract.clock import SECOND, Clock

__all__ = ["SERVICE_SOCKET", "clock_state", "disk", "sandbox", "service", "tasks"]

EARLIEST_NS = 1_735_689_600 * SECOND
"""2025-01-01: a clock before this was never set."""
SPARE_MB = 100.0
SYSTEMCTL_TIMEOUT_S = 5.0
SERVICE_SOCKET = Path("/run/oodida/sandbox.sock")
CONTROLLERS = ("memory", "pids", "cpu")
STATE = Path("/var/lib/oodida")
TRIAL = "def custom(xs):\n    return float(xs.sum())\n"


def clock_state(clock: Clock) -> Finding:
    """Say whether the wall clock was set, and is kept."""
    now_ns = clock.unix_ns()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_ns / SECOND))
    if now_ns < EARLIEST_NS:
        return Finding(
            "clock", "fail", f"{shown}: was never set",
            "results would carry that time: let systemd-timesyncd, chrony or GPS set it",
        )  # fmt: skip
    if not synchronised():
        return Finding(
            "clock", "warn", f"{shown}, not synchronised",
            "timedatectl set-ntp true, or chrony; windows do not depend on it, time stamps do",
        )  # fmt: skip
    return Finding("clock", "ok", f"{shown}, synchronised")


def disk(config: AgentConfig) -> Finding:
    """Say whether there is room for what must not be lost, and what waits there."""
    state = Path(config.state_dir)
    nearest = next(p for p in (state, *state.parents) if p.exists())
    free_mb = shutil.disk_usage(nearest).free / 1e6
    needed_mb = config.outbox_mb + SPARE_MB
    found = f"{state}: {free_mb:.0f} MB free"
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        return Finding("disk", "fail", f"{state}: read-only", "mount it for writing: tasks pause")
    if free_mb < needed_mb:
        return Finding(
            "disk", "fail" if free_mb < config.outbox_mb else "warn",
            f"{found}, the outbox may need {config.outbox_mb:.0f}",
            "free some, or lower outbox_mb",
        )  # fmt: skip
    version, waiting = _kept(state)
    if version > SCHEMA_VERSION:
        return Finding(
            "disk", "fail",
            f"{state / FILE}: written by a newer agent (schema {version}, this one knows "
            f"{SCHEMA_VERSION}), {waiting} results wait",
            "upgrade this agent, or give it a state_dir of its own",
        )  # fmt: skip
    return Finding("disk", "ok", found + (f", {waiting} results wait" if waiting else ""))


def _kept(state: Path) -> tuple[int, int]:
    """Return the state's schema and count its outbox, without disturbing an agent that uses it."""
    try:
        connection = sqlite3.connect(f"file:{state / FILE}?mode=ro", uri=True)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (count,) = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return 0, 0
    return int(version), int(count)


def sandbox(config: AgentConfig) -> tuple[Finding, ...]:
    """Start a sandbox as the agent does, run a module in it, and see what bounds a task there."""
    level = config.policy.sandbox
    try:
        with Sandbox(SandboxConfig(level=level, socket=config.sandbox_socket, spares=0)) as made:
            made.start()
            problem = made.problem
            job = Job(half="onboard", method="custom", source=TRIAL, window=window_of([1.0, 2.0]))
            outcome = made.run(job)
            bounds = tasks(made.bounded, made.unbounded, in_service=bool(config.sandbox_socket))
    except SandboxUnavailable as error:
        fix = "systemctl start oodida-sandbox.socket; its log says why"
        return (Finding("sandbox", "fail", str(error), fix),)
    if problem:
        words = f"custom code is refused: {problem}"
        return (Finding("sandbox", "fail", words, _advice(config)),)
    return _trial(config, outcome), bounds


def _trial(config: AgentConfig, outcome: Outcome) -> Finding:
    level = config.policy.sandbox
    if outcome.value != 3.0:
        words = " ".join(f"{outcome.status} {outcome.reason} {outcome.detail}".split())
        return Finding("sandbox", "fail", f"a trial failed: {words}", "report this")
    where = "in a service of its own" if config.sandbox_socket else "of this process"
    if level != "full":
        return Finding(
            "sandbox", "warn", f"level {level}, {where}", "policy.sandbox: full, if the kernel can"
        )
    return Finding("sandbox", "ok", f"level {level}, {where}, a trial took {outcome.wall_s:.2f} s")


def tasks(bounded: Sequence[str], unbounded: str, *, in_service: bool) -> Finding:
    """Say what keeps one task from the memory and the processor of everything else.

    ``bounded`` are the controllers of the cgroup that each task gets, ``unbounded`` is why there is
    none; ``in_service`` tells whether tasks run in a unit of their own.
    """
    missing = [name for name in CONTROLLERS if name not in bounded]
    if not missing:
        words = f"each in a cgroup of its own: {', '.join(bounded)}"
        return Finding("tasks", "ok", words)
    if bounded:
        found = f"each in a cgroup of its own, which does not bound {', '.join(missing)}"
    else:
        found = (
            "resource limits bound each process of a task, but no cgroup all of them together: "
            f"{unbounded or 'none is delegated'}"
        )
    if not in_service:
        fix = (
            "systemctl enable --now oodida-sandbox.socket, and start the agent as "
            f"oodida-agent.service or with sandbox_socket: {SERVICE_SOCKET}"
        )
    else:
        fix = (
            f"Delegate={' '.join(CONTROLLERS)} in oodida-sandbox@.service; where "
            "/sys/fs/cgroup/cgroup.controllers lacks one, boot with cgroup_enable=memory, "
            "systemd.unified_cgroup_hierarchy=1"
        )
    return Finding("tasks", "warn", found, fix)


def _advice(config: AgentConfig) -> str:
    try:
        missing = [layer for layer in check() if not layer.ok and layer.advice]
    except (OSError, subprocess.SubprocessError):
        missing = []
    level = config.policy.sandbox
    needed = [layer.advice for layer in missing if level in layer.needed_for]
    return "; ".join(dict.fromkeys(needed)) or "name a lower policy.sandbox that you can accept"


def service() -> Finding:
    """Say how the service runs, and whether an upgrade was rolled back."""
    rolled_back = STATE / "rolled-back"
    if rolled_back.exists():
        words = rolled_back.read_text(encoding="utf-8").strip()
        return Finding(
            "service", "fail", words,
            "journalctl -u oodida-agent says why; install a version that works",
        )  # fmt: skip
    shown = _shown("ActiveState", "NRestarts", "UnitFileState")
    if not shown.get("ActiveState"):
        return Finding("service", "ok", "not run by systemd here")
    state, restarts = shown["ActiveState"], int(shown.get("NRestarts") or 0)
    found = f"oodida-agent.service {state}, {shown.get('UnitFileState') or 'not installed'}"
    if state != "active":
        return Finding(
            "service", "warn", found, "systemctl enable --now oodida-agent, once the rest is ok"
        )
    if restarts:
        return Finding(
            "service", "warn", f"{found}, restarted {restarts} times",
            "journalctl -u oodida-agent -p warning",
        )  # fmt: skip
    return Finding("service", "ok", found)


def _shown(*properties: str) -> dict[str, str]:
    """Return properties of the agent's unit; nothing where there is no systemd."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").exists():
        return {}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [systemctl, "show", "oodida-agent.service", "-p", ",".join(properties)],
            capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}
