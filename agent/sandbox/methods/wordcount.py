"""MapReduce on a drive: values become words, words are counted, counts are added."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.method import Method, MethodOutput, Param, ParamsError, Prior, finite
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD"]


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    value: dict[str, Json] = {}
    most = 0
    for signal in window.signals:
        values, _ = finite(window, signal)
        most = max(most, len(values))
        value[signal] = _count(values, params)
    return MethodOutput(value, weight=float(most), partial=value)


def _count(values: NDArray[np.float64], params: Mapping[str, Json]) -> dict[str, int]:
    if params["edges"] is not None:
        return _by_label(values, [float(e) for e in params["edges"]], params["labels"])
    if params["labels"] is not None:
        raise ParamsError("labels need edges", path="onboard_params.labels")
    width = float(params["width"])
    bins, counts = np.unique(np.floor(values / width), return_counts=True)
    words = [f"{b * width + 0.0:g}" for b in bins.tolist()]
    return _summed(words, counts.tolist())


def _by_label(
    values: NDArray[np.float64], edges: list[float], labels: Sequence[str] | None
) -> dict[str, int]:
    if any(b <= a for a, b in itertools.pairwise(edges)):
        raise ParamsError("increasing numbers are expected", path="onboard_params.edges")
    words = list(labels) if labels is not None else _interval_words(edges)
    if len(words) != len(edges) + 1:
        raise ParamsError(
            f"{len(edges)} edges make {len(edges) + 1} words, found {len(words)} labels",
            path="onboard_params.labels",
        )
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(words))
    return _summed(words, counts.tolist())


def _interval_words(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["all"]
    inner = [f"{a:g}..{b:g}" for a, b in itertools.pairwise(edges)]
    return [f"<{edges[0]:g}", *inner, f">={edges[-1]:g}"]


def _summed(words: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    """Add up equal words; a word that never occurs is left out."""
    total: Counter[str] = Counter()
    for word, count in zip(words, counts, strict=True):
        if count:
            total[word] += count
    return dict(total)


def _merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    total: dict[str, Counter[str]] = {}
    for given in inputs:
        for signal, words in msgspec.convert(given.partial, dict[str, dict[str, int]]).items():
            total.setdefault(signal, Counter()).update(words)
    return {signal: dict(words) for signal, words in total.items()}


METHOD = Method(
    name="wordcount",
    doc="values become words, words are counted: {signal: {word: count}}; with edges, a value is "
    "the word of its interval (lower edge included); else its multiple of width, rounded down",
    params=(
        Param("edges", "numbers", "where one word ends and the next begins", default=None),
        Param("labels", "strings", "the words, one more than edges", default=None),
        Param("width", "number", "the width of an interval when edges is not given", 10, low=1e-9),
    ),
    compute=_compute,
    merge=_merge,
    fits=lambda params: _count(np.empty(0), params),
)
