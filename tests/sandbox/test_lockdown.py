"""The layers one by one: numbers, filters, refusals, and what the machine offers."""

import os
import platform
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.sandbox import Job, Sandbox, SandboxConfig, check, strongest, window_of
from agent.sandbox.lockdown import confinement, landlock, seccomp, syscalls
from agent.sandbox.lockdown.confinement import Confinement, Unconfined
from agent.sandbox.lockdown.policy import PROFILES, Masked, Policy, policy
from agent.sandbox.lockdown.probe import Layer

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {
    syscalls.X86_64: (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"__NR_(\w+) (\d+)"),
    syscalls.AARCH64: (
        Path("/usr/include/asm-generic/unistd.h"), r"(?:__NR|__NR3264)_(\w+) (\d+)",
    ),
}  # fmt: skip
RENAMED = {"newfstatat": "fstatat"}
"""Of the generic header: one file for 32 and 64 bit, in which some calls have another name."""


def job(source: str = "def custom(xs): return 1", method: str = "custom") -> Job:
    window = window_of(np.arange(4.0))
    return Job(half="onboard", method=method, source=source, window=window)


@pytest.mark.parametrize("machine", syscalls.ARCHITECTURES)
def test_system_call_numbers_are_the_kernels(machine: str) -> None:
    header, pattern = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"no {header}")
    known = dict(re.findall(r"#define " + pattern, header.read_text()))

    for name, number in syscalls.numbers_of(machine).items():
        found = known.get(name) or known.get(RENAMED.get(name, ""))
        assert found == str(number), name
    named = {name for every in syscalls.ARCHITECTURES for name in syscalls.numbers_of(every)}
    assert not known.keys() & (named - syscalls.numbers_of(machine).keys())


def run_filter(compiled: bytes, arch: int, number: int, *args: int) -> int:
    """Interpret a filter as the kernel does; return its verdict."""
    data = struct.pack("=IIQ", number, arch, 0) + struct.pack("=6Q", *(*args, 0, 0, 0, 0, 0, 0)[:6])
    code = list(struct.iter_unpack("=HBBI", compiled))
    accumulator, at = 0, 0
    while True:
        op, if_true, if_false, k = code[at]
        at += 1
        if op == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == seccomp.AND:
            accumulator &= k
        elif op == seccomp.JUMP_EQUAL:
            at += if_true if accumulator == k else if_false
        elif op == seccomp.JUMP_AT_LEAST:
            at += if_true if accumulator >= k else if_false
        else:
            assert op == seccomp.RETURN
            return int(k)


PYTHON = policy("python", alone=True)
POLICIES = [policy(profile, alone=alone) for profile in PROFILES for alone in (True, False)]
EPERM, ENOSYS = seccomp.ERRNO | 1, seccomp.ERRNO | 38


@pytest.mark.parametrize("machine", syscalls.ARCHITECTURES)
def test_filters_decide_every_number_as_the_policy_says(machine: str) -> None:
    arch = seccomp.AUDIT_ARCH[machine]
    numbers = syscalls.numbers_of(machine)
    for one in POLICIES:
        compiled = seccomp.compile_filter(one, machine)
        checked = {numbers[name] for name, _ in one.checked if name in numbers}
        allowed = {numbers[name] for name in one.allowed if name in numbers}
        assert not checked & allowed
        for number in range(600):
            verdict = run_filter(compiled, arch, number)
            if number in allowed:
                assert verdict == seccomp.ALLOW
            elif number == numbers["clone3"]:
                assert verdict == ENOSYS
            elif number not in checked:
                assert verdict == EPERM


@pytest.mark.parametrize("machine", syscalls.ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("mmap", (0, 4096, 3), True),
        ("mmap", (0, 4096, 5), True),
        ("mmap", (0, 4096, 6), False),
        ("mmap", (0, 4096, 7), False),
        ("mprotect", (0, 4096, 3), True),
        ("mprotect", (0, 4096, 5), False),
        ("clone", (0x3D0F00,), True),
        ("clone", (17,), False),
        ("clone", (0x10000000 | 0x10900,), False),
        ("clone", (0x3D0F00 | 0x10000000,), False),
        ("fcntl", (0, 3), True),
        ("fcntl", (0, 8), False),
        ("fcntl", (0, 1031), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x5412), False),
        ("prctl", (15,), True),
        ("prctl", (1,), False),
        ("prlimit64", (0, 7), True),
        ("prlimit64", (1, 7), False),
        ("tgkill", (1, 1, 6), True),
        ("tgkill", (2, 2, 6), False),
    ],
)
def test_filters_look_at_arguments(
    machine: str, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    compiled = seccomp.compile_filter(PYTHON, machine)
    number = syscalls.number(name, machine)

    verdict = run_filter(compiled, seccomp.AUDIT_ARCH[machine], number, *arguments)

    assert verdict == (seccomp.ALLOW if allowed else EPERM)


def test_filters_kill_foreign_architectures_and_entry_points() -> None:
    compiled = seccomp.compile_filter(PYTHON, syscalls.X86_64)
    x86 = seccomp.AUDIT_ARCH[syscalls.X86_64]

    assert run_filter(compiled, 0x40000003, 39) == seccomp.KILL_PROCESS
    assert run_filter(compiled, seccomp.AUDIT_ARCH[syscalls.AARCH64], 39) == seccomp.KILL_PROCESS
    assert run_filter(compiled, x86, 0x40000000 | 39) == seccomp.KILL_PROCESS


def test_no_policy_lets_anyone_out() -> None:
    out = {"socket", "ptrace", "unshare", "setns", "mount", "bpf", "keyctl", "io_uring_setup"}
    for one in POLICIES:
        assert not out & one.allowed
    for call in ("execve", "fork", "memfd_create", "kill", "chmod", "socketpair", "sendmsg"):
        assert call not in PYTHON.allowed


def test_without_namespaces_what_landlock_leaves_open_is_filtered() -> None:
    for profile in PROFILES:
        one = policy(profile, alone=False)
        for call in ("chmod", "fchmod", "fchmodat", "utimensat", "truncate", "kill", "tgkill"):
            assert call not in one.allowed
            assert call not in dict(one.checked)
        compiled = seccomp.compile_filter(one, syscalls.X86_64)
        arch = seccomp.AUDIT_ARCH[syscalls.X86_64]
        assert run_filter(compiled, arch, 257, 0, 0, os.O_RDONLY) == seccomp.ALLOW
        assert run_filter(compiled, arch, 257, 0, 0, os.O_RDONLY | os.O_TRUNC) == EPERM


def test_a_filter_that_does_not_bite_is_noticed() -> None:
    toothless = Policy(
        allowed=frozenset(syscalls.numbers_of(platform.machine())) - {"clone3"}, checked=()
    )
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from agent.sandbox.lockdown import confinement, seccomp
from agent.sandbox.lockdown.policy import Policy
import msgspec, platform
good = confinement.Confinement.at("no-namespaces")
open_ = Policy(allowed=frozenset({sorted(toothless.allowed)!r}), checked=())
bad = msgspec.structs.replace(
    good, filters={{"python": seccomp.compile_filter(open_, platform.machine())}}
)
try:
    confinement.lock(bad, "python", 0)
except confinement.Unconfined as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "the system call filter was loaded but does not hold" in done.stdout


def test_masks_read_what_the_kernel_reads() -> None:
    rule = dict(PYTHON.checked)["mmap"]

    assert isinstance(rule, Masked)
    assert rule.argument == 2


def test_an_architecture_without_a_filter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*fields[:4], "riscv64")))

    with pytest.raises(Unconfined, match="no system call filter for riscv64"):
        Confinement.at("full")


def test_scratch_hides_no_interpreter_and_no_worker() -> None:
    under_tmp = Path(sys.prefix).is_relative_to("/tmp")  # noqa: S108 - this test's interpreter
    expected = "/scratch" if under_tmp else "/tmp"  # noqa: S108
    assert Confinement.at("full", ["/opt/worker"]).scratch == expected
    assert Confinement.at("full", ["/tmp/worker"]).scratch == "/scratch"  # noqa: S108
    assert Confinement.at("no-namespaces").scratch == ""


def test_a_namespace_that_fails_refuses_custom_code_and_lets_built_ins_go_on() -> None:
    """Inside a user namespace that may make no further ones, as on a hardened machine."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from agent.sandbox import Job, Sandbox, SandboxConfig, window_of
window = window_of(np.arange(4.0))
with Sandbox(SandboxConfig(external={{"sh": ("/bin/sh", "-c", "true")}})) as sandbox:
    for method in ("custom", "external:sh", "mean"):
        out = sandbox.run(Job(half="onboard", method=method, source="", window=window))
        print(method, out.status, out.reason, out.value, out.detail)
"""
    done = where("max_user_namespaces", 0, script)

    custom, external, mean = done.stdout.splitlines()
    assert custom.startswith("custom refused sandbox None this machine refuses a layer: ")
    assert external.startswith("external:sh refused sandbox None this machine refuses a layer")
    assert mean.startswith("mean ok  {'samples': 1.5}")


def where(limit: str, number: int, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a user namespace that has a limit on others."""
    inside = ["unshare", "--user", "--map-current-user", "sh", "-c"]
    command = f'echo {number} > /proc/sys/user/{limit} && exec "$@"'
    if os.geteuid() == 0:
        inside[2] = "--map-root-user"
    probe = subprocess.run([*inside, command, "sh", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"cannot set {limit} here")
    return subprocess.run(
        [*inside, command, "sh", sys.executable, "-c", script],
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_limits_level_runs_code_for_an_owner_who_named_it() -> None:
    with Sandbox(SandboxConfig(level="limits")) as sandbox:
        assert sandbox.run(job()).value == 1
        assert sandbox.problem == ""


def test_check_tells_each_layer_and_what_to_do() -> None:
    layers = check()

    assert {"Landlock", "system call filter", "resource limits"} <= {layer.name for layer in layers}
    assert all(layer.advice for layer in layers if not layer.ok)
    assert strongest(layers) in confinement.LEVELS


def test_strongest_level_follows_the_layers() -> None:
    holds = Layer("a", True, "holds", "", ("full", "no-namespaces"))
    fails = Layer("b", False, "no", "do", ("full",))

    assert strongest((holds,)) == "full"
    assert strongest((holds, fails)) == "no-namespaces"
    assert strongest((Layer("a", False, "no", "do", ("full", "no-namespaces")),)) == "limits"


def test_landlock_rights_grow_with_the_abi() -> None:
    by_abi = [landlock.FILE_RIGHTS_BY_ABI[abi] for abi in sorted(landlock.FILE_RIGHTS_BY_ABI)]

    assert by_abi == sorted(by_abi)
    assert not landlock.SCRATCH & landlock.MAKE_DEVICES
    assert not landlock.SCRATCH & landlock.EXECUTE


@pytest.mark.parametrize("stopped", ["nobody", "zygote", "zygote and keeper"])
@pytest.mark.parametrize("level", confinement.LEVELS)
def test_an_agent_killed_hard_leaves_no_process_behind(level: str, stopped: str) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from agent.sandbox import Job, Sandbox, SandboxConfig, window_of
source = "import time\\ndef custom(xs):\\n    print('here')\\n    time.sleep(60)"
sandbox = Sandbox(SandboxConfig(spares=2, level={level!r}))
sandbox.start()
print(sandbox.zygote_pid, flush=True)
sandbox.run(Job(half="onboard", method="custom", source=source, window=window_of(np.ones(3))))
"""
    agent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    with agent, agent.stdout:
        keeper = int(agent.stdout.readline())
        session = descendants(keeper)
        if stopped != "nobody":
            os.kill(session[0], signal.SIGSTOP)
        if stopped == "zygote and keeper":
            os.kill(keeper, signal.SIGSTOP)
        agent.send_signal(signal.SIGKILL)
        agent.wait()

    assert session
    for pid in (keeper, *session):
        wait_gone(pid)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [d for c in map(int, children) for d in (c, *descendants(c))]


def wait_gone(pid: int) -> None:
    """Wait for a process to end, by the kernel's word."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    try:
        ready, _, _ = select.select([pidfd], [], [], 10)
    finally:
        os.close(pidfd)
    assert ready, f"process {pid} lives on"
