"""The median of each signal's samples: exact on a vehicle, a sketch's estimate when merged."""

from collections.abc import Mapping, Sequence

import numpy as np

from agent.sandbox.job import RoundInput
from agent.sandbox.methods import sketch
from agent.sandbox.methods.method import Method, MethodOutput, Prior
from agent.sandbox.methods.quantiles import ACCURACY, merged_sketches, sketched
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD"]


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    values, partial, weight = sketched(window, params["accuracy"])
    value = {signal: float(np.median(v)) if len(v) else None for signal, v in values.items()}
    return MethodOutput(value, weight, partial)


def _merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    return {
        signal: {
            "median": sketch.quantile(one, 0.5),
            "relative_error": one.accuracy,
            "samples": one.n,
        }
        for signal, one in merged_sketches(inputs).items()
    }


METHOD = Method(
    name="median",
    doc="the median of each signal, exact on a vehicle; merged from DDSketches: {signal: {median, "
    "relative_error, samples}}, within accuracy (relative) of the lower median of all samples",
    params=(ACCURACY,),
    compute=_compute,
    merge=_merge,
)
