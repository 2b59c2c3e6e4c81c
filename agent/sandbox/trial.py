"""Try custom code on an array, in the very sandbox that a vehicle runs it in."""

import atexit
import functools
import threading
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from agent.sandbox.answer import output_bytes
from agent.sandbox.config import SandboxConfig
from agent.sandbox.host import Sandbox
from agent.sandbox.job import Job, Limits, Outcome, refused
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["run", "window_of"]

PERIOD_NS = 1_000_000
VALUE_BYTES = 16_000_000
"""What a vehicle sends unless its owner says otherwise."""
_MAKING = threading.Lock()


def run(
    source: str,
    samples: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    limits: Limits | Mapping[str, Json] | None = None,
    params: Mapping[str, Json] | None = None,
    state: Json = None,
    iteration: int = 1,
) -> Outcome:
    """Run a custom module on samples, in the vehicle's sandbox, and say what became of it.

    Never raises: what the code does and what cannot be run at all is in the outcome, see `Outcome`.
    May be called often and from many threads; a sandbox is started once a process, with the first.

    ``source`` defines ``custom(xs)`` or ``custom(data, params)``; ``limits`` are a `Limits`, or its
    fields by name, such as ``{"cpu_s": 2, "memory_mb": 256, "wall_s": 10}``.
    Shapes: samples (n,), a signal named ``samples``; (n, k), signals ``samples0``, ``samples1``...;
            or a mapping of each signal's own (n,); n and k may be 0. A `Window` is taken as it is.
    Units:  the samples are taken to be 1 ms apart.
    """
    try:
        job = Job(
            half="onboard",
            method="custom",
            source=source,
            window=window_of(samples),
            params=dict(params or {}),
            state=state,
            iteration=iteration,
            limits=limits if isinstance(limits, Limits) else _limits_of(limits or {}),
            vehicle="trial",
        )
    except (TypeError, ValueError, msgspec.ValidationError) as error:
        return refused("params", f"this cannot be tried: {error}")
    return _shared().run(job)


def window_of(samples: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> Window:
    """Return the window that `run` makes of an array, or of one for each signal.

    Raises: ValueError, for what is not made of real numbers or has more than two dimensions.
    """
    if isinstance(samples, Window):
        return samples
    if isinstance(samples, Mapping):
        return _window({str(s): _numbers(v, str(s), 1).ravel() for s, v in samples.items()})
    array = _numbers(samples, "samples", 2)
    columns = array.T if array.ndim == 2 else array.reshape(1, -1)
    names = ["samples"] if array.ndim <= 1 else [f"samples{i}" for i in range(len(columns))]
    return _window(dict(zip(names, columns, strict=True)))


def _numbers(given: npt.ArrayLike, name: str, most_dimensions: int) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(given)
        if array.dtype.kind == "c" or (array.dtype == object and None in array):
            raise ValueError(f"they are of dtype {array.dtype}")
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} are to be real numbers: {error}") from None
    if array.ndim > most_dimensions:
        raise ValueError(f"{name} has {array.ndim} dimensions; at most {most_dimensions}")
    return array


def _limits_of(fields: Mapping[str, Json]) -> Limits:
    if not isinstance(fields, Mapping):
        raise TypeError(f"limits are a Limits or a mapping of its fields, not {fields!r:.80}")
    return msgspec.convert(dict(fields), Limits)


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
def _made_once() -> Sandbox:
    sandbox = Sandbox(SandboxConfig(output_bytes=output_bytes(VALUE_BYTES)))
    atexit.register(sandbox.close)
    return sandbox


def _shared() -> Sandbox:
    """One sandbox for all trials of a process, ended with it."""
    with _MAKING:
        return _made_once()
