"""The largest sample of each signal."""

from agent.sandbox.methods import moments
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.moments import Moments

__all__ = ["METHOD"]


def _statistic(m: Moments) -> float | None:
    return m.max


METHOD = Method(
    name="max",
    doc="the largest sample of each signal",
    params=(),
    compute=moments.compute_with(_statistic, extremes=True),
    merge=moments.merge_with(_statistic),
)
