from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig, window_of
from tests.sandbox.hostile.canaries import Canaries, planted
from user_lib.contract.window import Window

LIMITS = Limits(cpu_s=5.0, memory_mb=128, wall_s=10.0)
MS = 1_000_000


def window(start_ns: int = 0, period_ns: int = 10 * MS, **signals: Any) -> Window:
    """A window of signals that are sampled together."""
    arrays = {name.replace("__", "."): np.asarray(v, np.float64) for name, v in signals.items()}
    most = max((len(a) for a in arrays.values()), default=0)
    return Window(
        values_by_signal=arrays,
        times={n: start_ns + period_ns * np.arange(len(a)) for n, a in arrays.items()},
        start_ns=start_ns,
        stop_ns=start_ns + most * period_ns,
        units=dict.fromkeys(arrays, "km/h"),
    )


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(spares=1)) as made:
        yield made


@pytest.fixture(scope="session")
def run_code(sandbox: Sandbox) -> Callable[..., Outcome]:
    """Run a custom module on ten samples, or on what is given."""

    def run(source: str, samples: Any = None, limits: Limits = LIMITS, **more: Any) -> Outcome:
        given = window_of(np.arange(10.0) if samples is None else samples)
        job: Mapping[str, Any] = {"window": given, **more}
        return sandbox.run(
            Job(half="onboard", method="custom", source=source, limits=limits, **job)
        )

    return run


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    with planted(tmp_path_factory.mktemp("agent")) as made:
        yield made
