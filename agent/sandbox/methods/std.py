"""The standard deviation of each signal's samples."""

import math

from agent.sandbox.methods import moments
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.moments import Moments

__all__ = ["METHOD"]


def _statistic(m: Moments) -> float | None:
    return math.sqrt(m.m2 / m.n) if m.n else None


METHOD = Method(
    name="std",
    doc="the standard deviation of each signal's samples (of the population, numpy's ddof=0); "
    "merged, of all samples of all vehicles about their common mean",
    params=(),
    compute=moments.compute_with(_statistic),
    merge=moments.merge_with(_statistic),
)
