"""Exactly the samples beyond a threshold: what monitoring sends instead of everything."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent.sandbox.methods.collect import by_vehicle, samples
from agent.sandbox.methods.method import Method, MethodOutput, Param, ParamsError, Prior
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD"]


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    above, below = params["above"], params["below"]
    value: dict[str, Json] = {}
    for signal in window.signals:
        found = samples(window, signal, _beyond(window[signal], above, below))
        value[signal] = {**found, "of": len(window[signal])}
    return MethodOutput(value, weight=float(sum(len(v["values"]) for v in value.values())))


def _fits(params: Mapping[str, Json]) -> None:
    if params["above"] is None and params["below"] is None:
        raise ParamsError("give above or below (or both)", path="onboard_params")


def _beyond(
    values: NDArray[np.float64], above: float | None, below: float | None
) -> NDArray[np.bool_]:
    beyond = np.zeros(len(values), np.bool_)
    if above is not None:
        beyond |= values > above
    if below is not None:
        beyond |= values < below
    return beyond


METHOD = Method(
    name="threshold",
    doc="exactly the samples above or below a threshold, with their times, ns: "
    "{signal: {times_ns, values, of}}; of is how many samples were looked at",
    params=(
        Param("above", "number", "samples greater than this are sent", default=None),
        Param("below", "number", "samples less than this are sent", default=None),
    ),
    compute=_compute,
    merge=by_vehicle,
    fits=_fits,
)
