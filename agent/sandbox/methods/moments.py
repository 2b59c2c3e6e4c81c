"""Count, mean and spread that pool exactly: what sum, mean, std, min, max and count keep.

A partial is, for each signal, ``{"n", "gaps", "sum", "m2"}``, and of min and max these two as well:
they are samples, which the others must not let out. ``m2`` is the sum of squared deviations from
the mean. Pooling two follows Chan, Golub and LeVeque (1979).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.method import Compute, Merge, MethodOutput, Prior, finite
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["Moments", "Statistic", "compute_with", "merge_with", "of", "pool", "pooled"]


class Moments(msgspec.Struct, frozen=True):
    """The moments of one signal's finite samples; ``gaps`` counts what was NaN."""

    n: int = 0
    gaps: int = 0
    sum: float = 0.0
    m2: float = 0.0
    min: float | None = None
    max: float | None = None

    @property
    def mean(self) -> float:
        """The mean of the samples; 0 without samples."""
        return self.sum / self.n if self.n else 0.0


Statistic: TypeAlias = Callable[[Moments], Json]


def of(window: Window, signal: str) -> Moments:
    """Return the moments of one signal of a window."""
    values, gaps = finite(window, signal)
    if not len(values):
        return Moments(gaps=gaps)
    total = float(values.sum())
    return Moments(
        n=len(values),
        gaps=gaps,
        sum=total,
        m2=float(((values - total / len(values)) ** 2).sum()),
        min=float(values.min()),
        max=float(values.max()),
    )


def pool(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all samples together."""
    known = [p for p in parts if p.n]
    gaps = sum(p.gaps for p in parts)
    if not known:
        return Moments(gaps=gaps)
    n = sum(p.n for p in known)
    total = math.fsum(p.sum for p in known)
    mean = total / n
    return Moments(
        n=n,
        gaps=gaps,
        sum=total,
        m2=math.fsum(p.m2 + p.n * (p.mean - mean) ** 2 for p in known),
        min=min((p.min for p in known if p.min is not None), default=None),
        max=max((p.max for p in known if p.max is not None), default=None),
    )


def pooled(inputs: Sequence[RoundInput]) -> dict[str, Moments]:
    """Pool the partials of a round, signal by signal; a vehicle without a signal adds nothing."""
    by_signal: dict[str, list[Moments]] = {}
    for given in inputs:
        partial = msgspec.convert(given.partial, dict[str, Moments])
        for signal, moments in partial.items():
            by_signal.setdefault(signal, []).append(moments)
    return {signal: pool(parts) for signal, parts in by_signal.items()}


def compute_with(statistic: Statistic, *, extremes: bool = False) -> Compute:
    """Return the on-board half of a method that reads ``statistic`` off the moments.

    Its partials hold the least and the greatest sample only with ``extremes``.
    """

    def compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
        moments = {signal: of(window, signal) for signal in window.signals}
        return MethodOutput(
            value={signal: statistic(m) for signal, m in moments.items()},
            weight=float(max((m.n for m in moments.values()), default=0)),
            partial=msgspec.to_builtins(
                moments if extremes else {s: _without_extremes(m) for s, m in moments.items()}
            ),
        )

    return compute


def _without_extremes(m: Moments) -> Moments:
    return msgspec.structs.replace(m, min=None, max=None)


def merge_with(statistic: Statistic) -> Merge:
    """Return the merge of such a method: the same statistic, of all samples together."""

    def merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
        return {signal: statistic(m) for signal, m in pooled(inputs).items()}

    return merge
