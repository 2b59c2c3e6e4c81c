"""Try custom code on an array, in the very sandbox that a vehicle runs it in."""

import atexit
import functools
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from agent.sandbox.host import Sandbox
from agent.sandbox.job import Job, Limits, Outcome
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["run", "window_of"]

PERIOD_NS = 1_000_000


def run(
    source: str,
    samples: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    limits: Limits | Mapping[str, Json] | None = None,
    params: Mapping[str, Json] | None = None,
) -> Outcome:
    """Run a custom module on samples and say what became of it; never raises for what it does.

    Shapes: samples (n,), a signal named ``samples``; (n, k), signals ``samples0``, ``samples1``...;
            or a mapping of each signal's own (n,).
    Units:  the samples are taken to be 1 ms apart.
    """
    given = limits if isinstance(limits, Limits) else msgspec.convert(dict(limits or {}), Limits)
    job = Job(
        half="onboard",
        method="custom",
        source=source,
        window=window_of(samples),
        params=params or {},
        limits=given,
        vehicle="trial",
    )
    return _shared().run(job)


def window_of(samples: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> Window:
    """Return the window that `run` makes of an array, or of one for each signal."""
    if isinstance(samples, Mapping):
        return _window({s: np.asarray(v, np.float64).ravel() for s, v in samples.items()})
    array = np.asarray(samples, np.float64)
    columns = array.reshape(len(array), -1).T if array.ndim > 1 else array.reshape(1, -1)
    names = ["samples"] if array.ndim <= 1 else [f"samples{i}" for i in range(len(columns))]
    return _window(dict(zip(names, columns, strict=True)))


def _window(values_by_signal: Mapping[str, npt.NDArray[np.float64]]) -> Window:
    longest = max((len(values) for values in values_by_signal.values()), default=0)
    times = np.arange(longest, dtype=np.int64) * PERIOD_NS
    return Window(
        values_by_signal=dict(values_by_signal),
        times={signal: times[: len(values)] for signal, values in values_by_signal.items()},
        start_ns=0,
        stop_ns=longest * PERIOD_NS,
    )


@functools.cache
def _shared() -> Sandbox:
    """One sandbox for all trials of a process, ended with it."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox
