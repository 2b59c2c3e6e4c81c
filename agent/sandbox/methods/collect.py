"""The samples themselves."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.method import Method, MethodOutput, Prior
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD", "by_vehicle", "samples"]


def samples(window: Window, signal: str, which: NDArray[np.bool_] | slice) -> dict[str, Json]:
    """Return the finite ones of the selected samples, with their times."""
    values, times = window[signal][which], window.times[signal][which]
    known = np.isfinite(values)
    return {"times_ns": times[known].tolist(), "values": values[known].tolist()}


def by_vehicle(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    """Keep every vehicle's value under its name."""
    return {given.vehicle: given.value for given in inputs}


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    value = {signal: samples(window, signal, slice(None)) for signal in window.signals}
    most = max((len(v["values"]) for v in value.values()), default=0)
    return MethodOutput(value, weight=float(most))


METHOD = Method(
    name="collect",
    doc="every sample with its time, ns: {signal: {times_ns, values}}",
    params=(),
    compute=_compute,
    merge=by_vehicle,
)
