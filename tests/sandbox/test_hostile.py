"""Hostile code in the real sandbox, at every level: denied, killed with a reason, or harmless."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig, window_of
from tests.sandbox.hostile import (
    files,
    harness,
    interpreter,
    kernel,
    leaks,
    network,
    processes,
    resources,
)
from tests.sandbox.hostile.canaries import Canaries
from tests.sandbox.hostile.case import PRELUDE, Case, met, numbers

PATIENT = Limits(cpu_s=1.0, memory_mb=64, wall_s=60.0)
BRISK = Limits(cpu_s=60.0, memory_mb=64, wall_s=0.7)
"""For what is expected to run into the wall limit: on a busy machine, the other one comes first."""
LEVELS = ("full", "no-namespaces")
FAMILIES: Mapping[str, tuple[Case, ...]] = {
    module.__name__.rsplit(".", 1)[1]: module.CASES
    for module in (files, harness, interpreter, kernel, leaks, network, processes, resources)
}
ALL = [(family, case) for family, cases in FAMILIES.items() for case in cases]


@pytest.fixture(scope="module", params=LEVELS)
def sandboxed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Sandbox]]:
    with Sandbox(SandboxConfig(level=request.param, spares=1, scratch_mb=8)) as sandbox:
        sandbox.start()
        if sandbox.problem:
            pytest.skip(f"this machine has no level {request.param}: {sandbox.problem}")
        yield request.param, sandbox


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
