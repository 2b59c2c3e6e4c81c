"""The sum of each signal's samples."""

from agent.sandbox.methods import moments
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.moments import Moments

__all__ = ["METHOD"]


def _statistic(m: Moments) -> float:
    return m.sum


METHOD = Method(
    name="sum",
    doc="the sum of each signal's samples",
    params=(),
    compute=moments.compute_with(_statistic),
    merge=moments.merge_with(_statistic),
)
