"""A built-in off-board method run once more, in this process: to verify what a cloud made of it."""

from collections.abc import Sequence

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.registry import merge
from agent.sandbox.plain import plain
from user_lib.contract.assignment import OFFBOARD_METHODS, Assignment, Json

__all__ = ["can_recompute", "recompute"]


def can_recompute(spec: Assignment) -> bool:
    """Whether the off-board half is a built-in method, whose values follow from the results.

    No such method takes parameters that are too large for the assignment.
    """
    return spec.offboard in OFFBOARD_METHODS and spec.offboard_content is None


def recompute(spec: Assignment, inputs: Sequence[RoundInput]) -> Json:
    """Return the aggregate of a round, to the bit what the cloud's worker returns.

    Raises: ParamsError, for values that the method cannot combine.
    """
    in_order = sorted(inputs, key=lambda i: i.vehicle)
    return plain(
        merge(spec.offboard, in_order, spec.offboard_params, spec.onboard), allow_none=True
    )
