"""External workers may execute, fork and translate code; out of the sandbox they get no further."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig, window_of
from tests.sandbox.hostile import files, network, processes
from tests.sandbox.hostile.canaries import Canaries
from tests.sandbox.hostile.case import PRELUDE, Case, met, numbers

LEVELS = ("full", "no-namespaces")
WORKER = (
    PRELUDE.format(numbers=numbers())
    + """
    pass

import json, traceback, types
request = json.loads(sys.stdin.readline())
try:
    scope = globals() | {"params": types.SimpleNamespace(**request["params"])}
    exec(compile("def attack():\\n    " + request["params"]["body"], "attack", "exec"), scope)
    print(json.dumps({"value": scope["attack"]()}, default=repr))
except BaseException:
    print(json.dumps({"error": traceback.format_exc()}))
"""
)
MAY = {
    "memfd", "inotify", "statfs", "setuid_file", "mknod_fifo", "socketpair", "sendmsg",
    "sendto_every_descriptor", "open_path_secret", "scratch_sparse",
}  # fmt: skip
"""What this profile allows, harmlessly: inside its own scratch, its own memory, its own process."""
MUST_NOT = {
    "kill_agent", "tgkill_agent", "tkill_agent", "queue_signal", "ptrace_agent",
    "read_agent_memory", "write_agent_memory", "setuid_root", "unshare_user", "unshare_mount",
    "setns", "capset", "clone3", "clone_user_namespace", "pidfd_getfd", "kcmp",
    "prctl_seccomp_off", "raise_limits",
}  # fmt: skip
"""Of the processes: what stays forbidden to a worker that may have processes of its own."""
ALL = [
    *(("files", c) for c in files.CASES),
    *(("network", c) for c in network.CASES),
    *(("processes", c) for c in processes.CASES if c.name in MUST_NOT),
]
LIMITS = Limits(cpu_s=10.0, memory_mb=128, wall_s=60.0)


@pytest.fixture(scope="module", params=LEVELS)
def sandboxed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Sandbox]]:
    workers = {"python": (sys.executable, "-I", "-c", WORKER)}
    with Sandbox(SandboxConfig(level=request.param, external=workers, spares=0)) as sandbox:
        sandbox.start()
        if sandbox.problem:
            pytest.skip(f"this machine has no level {request.param}: {sandbox.problem}")
        yield request.param, sandbox


def attack(sandbox: Sandbox, case: Case, canaries: Canaries) -> Outcome:
    params = {**canaries.params, "body": case.body}
    window = window_of(np.arange(3.0))
    job = Job(half="onboard", method="external:python", window=window, params=params, limits=LIMITS)
    return sandbox.run(job)


@pytest.mark.parametrize(("family", "case"), ALL, ids=[f"{f}-{c.name}" for f, c in ALL])
def test_external_workers_meet_a_wall(
    sandboxed: tuple[str, Sandbox], canaries: Canaries, family: str, case: Case
) -> None:
    level, sandbox = sandboxed
    expected = "harmless|denied" if case.name in MAY else f"denied|{case.expected_at(level)}"

    out = attack(sandbox, case, canaries)

    assert met(expected, out), (expected, out)
    assert canaries.untouched()


def test_every_named_case_exists() -> None:
    assert {c.name for c in processes.CASES} >= MUST_NOT
    assert {c.name for c in (*files.CASES, *network.CASES)} >= MAY


def test_they_may_execute_fork_and_translate(
    sandboxed: tuple[str, Sandbox], canaries: Canaries
) -> None:
    _, sandbox = sandboxed
    body = (
        "import subprocess\n"
        "    shell = ['/bin/sh', '-c', 'echo $((6 * 7))']\n"
        "    said = subprocess.run(shell, capture_output=True).stdout\n"
        "    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "    return [said.decode(), os.getuid() != 0]"
    )

    out = attack(sandbox, Case("good", body), canaries)

    assert out.ok, out
    assert out.value[0] == "42\n"


def test_a_child_of_a_worker_ends_with_it(
    sandboxed: tuple[str, Sandbox], canaries: Canaries
) -> None:
    level, sandbox = sandboxed
    body = (
        "child = os.fork()\n"
        "    if child == 0:\n"
        "        os.setsid()\n"
        "        time.sleep(60)\n"
        "    return [os.getpid(), child]"
    )

    out = attack(sandbox, Case("fork", body), canaries)

    assert out.ok, out
    if level == "full":
        assert out.value[0] == 1
    else:
        assert not Path(f"/proc/{out.value[1]}").exists()
