"""How often each signal's samples fall into given bins; merged by adding."""

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.method import Method, MethodOutput, Param, ParamsError, Prior, finite
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD"]

MAX_BINS = 10_000


class _Histogram(msgspec.Struct, frozen=True):
    edges: list[float]
    counts: list[int]
    below: int
    above: int
    gaps: int


def _edges(params: Mapping[str, Json]) -> list[float]:
    """Return the bins' edges; the same on every vehicle, or their counts could not be added."""
    if params["edges"] is not None:
        edges = [float(e) for e in params["edges"]]
        if len(edges) < 2 or any(b <= a for a, b in itertools.pairwise(edges)):
            raise ParamsError("two or more increasing numbers", path="onboard_params.edges")
        return edges
    low, high = params["low"], params["high"]
    if low is None or high is None or low >= high:
        raise ParamsError("give edges, or low < high (and bins)", path="onboard_params")
    return [float(edge) for edge in np.linspace(low, high, params["bins"] + 1)]


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    edges = _edges(params)
    value: dict[str, Json] = {}
    most = 0
    for signal in window.signals:
        values, gaps = finite(window, signal)
        counts, _ = np.histogram(values, edges)
        below = int(np.count_nonzero(values < edges[0]))
        above = int(np.count_nonzero(values > edges[-1]))
        most = max(most, len(values))
        value[signal] = msgspec.to_builtins(_Histogram(edges, counts.tolist(), below, above, gaps))
    return MethodOutput(value, weight=float(most), partial=value)


def _merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    merged: dict[str, _Histogram] = {}
    for given in inputs:
        for signal, one in msgspec.convert(given.partial, dict[str, _Histogram]).items():
            merged[signal] = _added(merged[signal], one, given) if signal in merged else one
    return msgspec.to_builtins(merged)


def _added(a: _Histogram, b: _Histogram, given: RoundInput) -> _Histogram:
    if a.edges != b.edges:
        raise ParamsError(f"vehicle {given.vehicle} counted into other bins: they cannot be added")
    counts = [x + y for x, y in zip(a.counts, b.counts, strict=True)]
    return _Histogram(a.edges, counts, a.below + b.below, a.above + b.above, a.gaps + b.gaps)


METHOD = Method(
    name="histogram",
    doc="how many samples fall into each bin: {signal: {edges, counts, below, above, gaps}}; "
    "a bin holds its lower edge, the last one both; merged by adding, exactly",
    params=(
        Param("edges", "numbers", "the edges of the bins, increasing", default=None),
        Param("low", "number", "the lowest edge, when edges is not given", default=None),
        Param("high", "number", "the highest edge, when edges is not given", default=None),
        Param("bins", "integer", "how many bins from low to high", 10, low=1, high=MAX_BINS),
    ),
    compute=_compute,
    merge=_merge,
    fits=_edges,
)
