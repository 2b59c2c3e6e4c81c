"""The mean of each signal's samples."""

from agent.sandbox.methods import moments
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.moments import Moments

__all__ = ["METHOD"]


def _statistic(m: Moments) -> float | None:
    return m.mean if m.n else None


METHOD = Method(
    name="mean",
    doc="the mean of each signal's samples; merged, of all samples of all vehicles",
    params=(),
    compute=moments.compute_with(_statistic),
    merge=moments.merge_with(_statistic),
)
