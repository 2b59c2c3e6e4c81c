"""Hostile code in the real sandbox, at every level: denied, killed with a reason, or harmless."""

import os
import platform
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig, window_of
from agent.sandbox.lockdown import syscalls
from tests.sandbox.hostile import files, harness, kernel, leaks, network, processes, resources
from tests.sandbox.hostile.case import PRELUDE, Case, met

SECRET = b"hunter2-secret"
PATIENT = Limits(cpu_s=1.0, memory_mb=64, wall_s=60.0)
BRISK = Limits(cpu_s=60.0, memory_mb=64, wall_s=0.7)
"""For what is expected to run into the wall limit: on a busy machine, the other one comes first."""
LEVELS = ("full", "no-namespaces")
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
FAMILIES: Mapping[str, tuple[Case, ...]] = {
    module.__name__.rsplit(".", 1)[1]: module.CASES
    for module in (files, harness, kernel, leaks, network, processes, resources)
}
ALL = [(family, case) for family, cases in FAMILIES.items() for case in cases]
NEEDS_SCRATCH = {
    "scratch_works_and_is_small", "map_code_from_scratch", "setuid_file", "scratch_inodes",
}  # fmt: skip


@dataclass
class Canaries:
    """What hostile code would love to touch, and whether it did."""

    folder: Path
    tcp: socket.socket
    unix: socket.socket

    @property
    def params(self) -> dict[str, Any]:
        return {
            "secret": str(self.folder / "secret"),
            "unix": str(self.folder / "socket"),
            "port": self.tcp.getsockname()[1],
            "agent_pid": os.getpid(),
        }

    def untouched(self) -> bool:
        for server in (self.tcp, self.unix):
            try:
                connection, _ = server.accept()
            except BlockingIOError:
                continue
            connection.close()
            return False
        names = sorted(p.name for p in self.folder.iterdir())
        return (self.folder / "secret").read_bytes() == SECRET and names == ["secret", "socket"]


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "secret").write_bytes(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket"))
        unix.listen()
        tcp.setblocking(False)
        unix.setblocking(False)
        yield Canaries(folder, tcp, unix)


@pytest.fixture(scope="module", params=LEVELS)
def sandboxed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Sandbox]]:
    with Sandbox(SandboxConfig(level=request.param, spares=1, scratch_mb=8)) as sandbox:
        sandbox.start()
        if sandbox.problem:
            pytest.skip(f"this machine has no level {request.param}: {sandbox.problem}")
        yield request.param, sandbox


def numbers() -> dict[str, int]:
    """Every system call number that the machine's headers name, or those we know."""
    if platform.machine() == "x86_64" and HEADER.exists():
        found = re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())
        return {name: int(number) for name, number in found}
    return dict(syscalls.numbers_of(platform.machine()))


SOURCE = PRELUDE.format(numbers=numbers())


def attack(sandbox: Sandbox, case: Case, canaries: Canaries) -> Outcome:
    job = Job(
        half="onboard",
        method="custom",
        source=SOURCE + f"    {case.body}\n",
        window=window_of(np.arange(10.0)),
        params=canaries.params,
        limits=BRISK if "killed:wall" in case.expect else PATIENT,
    )
    return sandbox.run(job)


@pytest.mark.parametrize(("family", "case"), ALL, ids=[f"{f}-{c.name}" for f, c in ALL])
def test_hostile_code_meets_a_wall(
    sandboxed: tuple[str, Sandbox], canaries: Canaries, family: str, case: Case
) -> None:
    level, sandbox = sandboxed
    if level != "full" and case.name in NEEDS_SCRATCH:
        expected = "denied"
    else:
        expected = case.expected_at(level)

    out = attack(sandbox, case, canaries)

    assert met(expected, out), (expected, out)
    assert canaries.untouched()


def test_the_sandbox_is_whole_after_all_of_it(
    sandboxed: tuple[str, Sandbox], canaries: Canaries
) -> None:
    _, sandbox = sandboxed
    out = attack(sandbox, Case("good", "return data['samples'].sum()"), canaries)

    assert out.value == 45.0
    assert sandbox.restarts == 0


def test_case_names_are_unique() -> None:
    assert len({(family, case.name) for family, case in ALL}) == len(ALL)


def test_without_namespaces_only_by_name() -> None:
    assert SandboxConfig().level == "full"
