"""How many samples each signal has."""

from agent.sandbox.methods import moments
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.moments import Moments

__all__ = ["METHOD"]


def _statistic(m: Moments) -> int:
    return m.n


METHOD = Method(
    name="count",
    doc="how many samples each signal has; gaps are not counted",
    params=(),
    compute=moments.compute_with(_statistic),
    merge=moments.merge_with(_statistic),
)
