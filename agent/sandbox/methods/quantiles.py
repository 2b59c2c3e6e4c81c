"""Quantiles: exact on a vehicle, within a stated relative error when merged."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import RoundInput
from agent.sandbox.methods import sketch
from agent.sandbox.methods.method import Method, MethodOutput, Param, Prior, finite
from agent.sandbox.methods.sketch import Sketch
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["ACCURACY", "METHOD", "merged_sketches", "sketched"]

ACCURACY = Param(
    "accuracy", "number", "relative error of a merged quantile", 0.01, low=0.0001, high=0.2
)


def sketched(window: Window, accuracy: float) -> tuple[dict[str, NDArray[np.float64]], Json, float]:
    """Return each signal's finite values, their sketches as a partial, and the weight."""
    values = {signal: finite(window, signal)[0] for signal in window.signals}
    partial = msgspec.to_builtins(
        {signal: sketch.of(v, accuracy) for signal, v in values.items()}, str_keys=True
    )
    return values, partial, float(max(map(len, values.values()), default=0))


def merged_sketches(inputs: Sequence[RoundInput]) -> dict[str, Sketch]:
    """Merge the partials of a round, signal by signal.

    Raises: ValueError, if vehicles sketched with different accuracies.
    """
    by_signal: dict[str, list[Sketch]] = {}
    for given in inputs:
        partial = msgspec.convert(given.partial, dict[str, Sketch], strict=False)
        for signal, one in partial.items():
            by_signal.setdefault(signal, []).append(one)
    return {signal: sketch.merged(parts) for signal, parts in by_signal.items()}


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    values, partial, weight = sketched(window, params["accuracy"])
    value = {
        signal: {f"{q:g}": float(np.quantile(v, q)) if len(v) else None for q in params["q"]}
        for signal, v in values.items()
    }
    partial = {"q": list(params["q"]), "sketches": partial}
    return MethodOutput(value, weight, partial)


def _merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    asked = sorted({q for given in inputs for q in given.partial["q"]})
    inner = [msgspec.structs.replace(i, partial=i.partial["sketches"]) for i in inputs]
    return {
        signal: {f"{q:g}": sketch.quantile(one, q) for q in asked}
        | {"relative_error": one.accuracy, "samples": one.n}
        for signal, one in merged_sketches(inner).items()
    }


METHOD = Method(
    name="quantiles",
    doc="quantiles of each signal: {signal: {'0.5': value}}, exact on a vehicle; merged from "
    "DDSketches: within accuracy (relative) of the sample of rank floor(q * (n - 1)) of all, "
    "with relative_error and samples beside it",
    params=(
        Param("q", "numbers", "which quantiles, 0 to 1", [0.25, 0.5, 0.75], low=0, high=1),
        ACCURACY,
    ),
    compute=_compute,
    merge=_merge,
)
