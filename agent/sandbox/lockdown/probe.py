"""What this machine offers for the lock-down, layer by layer, and what to do about the missing.

Each layer is tried for real, in a process of its own, as the user that asks. Run as a program it
prints the layers as JSON; `check` runs it so, because the agent has threads and must not fork.
"""

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.sandbox import linux
from agent.sandbox.lockdown import confinement, landlock, namespaces
from agent.sandbox.lockdown.confinement import Confinement, Level

__all__ = ["Layer", "check", "main", "strongest"]

TIMEOUT_S = 60.0
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from agent.sandbox.lockdown import probe
probe.main()
"""
USER_NAMESPACES = (
    "allow them: sysctl user.max_user_namespaces=15000; on Debian also "
    "kernel.unprivileged_userns_clone=1, on Ubuntu 24.04 an AppArmor profile for the interpreter "
    "with 'userns,'; in a container, a security profile that permits unshare"
)


class Layer(msgspec.Struct, frozen=True):
    """One layer: whether it holds, what was found, what to do when it does not."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed_for: tuple[Level, ...] = ()


def check(python: str = sys.executable) -> tuple[Layer, ...]:
    """Try every layer on this machine.

    Raises: OSError or subprocess.SubprocessError, when not even the probe can be run.
    """
    import subprocess  # an engineer's question, which an agent that runs does not ask

    done = subprocess.run(  # noqa: S603 - our own interpreter
        [python, "-I", "-B", "-c", PROGRAM.format(root=str(ROOT))],
        env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=tuple[Layer, ...])


def strongest(layers: tuple[Layer, ...]) -> Level:
    """Return the strongest level that these layers allow."""
    for level in confinement.LEVELS:
        if all(layer.ok for layer in layers if level in layer.needed_for):
            return level
    return "limits"


def main() -> None:
    """Print this machine's layers as JSON."""
    sys.stdout.buffer.write(msgspec.json.encode(_layers()))


def _layers() -> tuple[Layer, ...]:
    both: tuple[Level, ...] = ("full", "no-namespaces")
    full: tuple[Level, ...] = ("full",)
    return (
        _tried("user and process namespaces", namespaces.try_user_namespace, USER_NAMESPACES, full),
        _tried("file system of its own", _own_root, USER_NAMESPACES, full),
        _tried("network, IPC, host name and cgroup namespaces", _worker, USER_NAMESPACES, full),
        _landlock(both),
        _tried("no new privileges", linux.forbid_new_privileges, "use Linux 3.5 or newer", both),
        _tried("system call filter", _filter, "enable CONFIG_SECCOMP_FILTER", both),
        _tried("resource limits", _limits, "raise the service's hard limits", confinement.LEVELS),
        _user(),
        _cgroup(),
    )


def _tried(
    name: str, attempt: Callable[[], object], advice: str, needed_for: tuple[Level, ...]
) -> Layer:
    """Try a layer in a child, which reports by a pipe and ends."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        problem = "the attempt ended early"
        try:
            attempt()
            problem = ""
        except (OSError, confinement.Unconfined, KeyError) as error:
            problem = str(error)
        finally:
            os.write(write_end, problem.encode())
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        problem = pipe.read().decode()
    os.waitpid(pid, 0)
    return Layer(name, not problem, problem or "holds", advice if problem else "", needed_for)


def _confinement() -> Confinement:
    return Confinement.at("full")


def _own_root() -> None:
    namespaces.enter(confinement.interpreter_paths(), _confinement().scratch)


def _worker() -> None:
    scratch = _confinement().scratch
    _own_root()
    namespaces.isolate_worker(scratch, 1)


def _filter() -> None:
    confinement.lock(Confinement.at("no-namespaces"), "python", 0)


def _limits() -> None:
    for which in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        soft, _ = resource.getrlimit(which)
        resource.setrlimit(which, (soft, soft))


def _landlock(needed_for: tuple[Level, ...]) -> Layer:
    abi = landlock.abi()
    if abi < landlock.MIN_ABI:
        advice = "use Linux 5.13 or newer, with landlock among the kernel's lsm="
        return Layer("Landlock", False, "not in this kernel", advice, needed_for)
    missing = [
        what
        for what, since in (("truncate", 3), ("TCP", 4), ("signals and abstract sockets", 6))
        if abi < since
    ]
    beyond = f"; the system call filter covers {', '.join(missing)}" if missing else ""
    return Layer("Landlock", True, f"ABI {abi}{beyond}", "", needed_for)


def _user() -> Layer:
    if os.geteuid() != 0:
        return Layer("a user without rights", True, f"uid {os.geteuid()}")
    return Layer(
        "a user without rights",
        False,
        "running as root; at level full workers become nobody, at others they stay root by number",
        "run the service as a user of its own",
    )


def _cgroup() -> Layer:
    """Whether the service's cgroup (v2) bounds memory for everything below the agent."""
    advice = "set MemoryMax= and TasksMax= in the service's unit, a bound over all workers together"
    try:
        own = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if "::" in line]
        limit = Path("/sys/fs/cgroup", own[0].split("::")[1].lstrip("/"), "memory.max").read_text()
    except (OSError, IndexError):
        return Layer("memory bound of the service", False, "no cgroup v2 to be seen", advice)
    if limit.strip() == "max":
        return Layer("memory bound of the service", False, "none set", advice)
    return Layer("memory bound of the service", True, f"{int(limit) >> 20} MB")
