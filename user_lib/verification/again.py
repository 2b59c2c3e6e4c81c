"""An aggregate computed again of what vehicles signed, which may be made to break the computing."""

import math
from collections.abc import Sequence

from agent.sandbox import ParamsError, RoundInput, recompute
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.messages import Result
from user_lib.verification.completeness import names

__all__ = ["Unfit", "aggregate_again", "same_value", "weight_of"]

_TRIPS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What methods raise of values that no vehicle's own method returns."""


class Unfit(Exception):
    """Nothing can be computed of what some vehicles sent; the message names them."""


def weight_of(results: Sequence[Result]) -> float:
    """Return what results weigh together. Raises: Unfit."""
    none = [f"{r.vehicle_id} ({r.weight:g})" for r in results if not r.weighs]
    if none:
        raise Unfit(f"the weights of {names(none)} are none: finite numbers, 0 or more")
    try:
        return math.fsum(result.weight for result in results)
    except OverflowError:
        heaviest = max(results, key=lambda result: result.weight)
        raise Unfit(
            f"the weights are more than a number can hold, that of {heaviest.vehicle_id} is "
            f"{heaviest.weight:g}"
        ) from None


def aggregate_again(spec: Assignment, inputs: Sequence[RoundInput]) -> Json:
    """Return the aggregate of a round's inputs.

    Raises: ParamsError, for values that the method cannot combine, in its words; Unfit, for those
            that it trips over.
    """
    try:
        return _computed(spec, inputs)
    except (ParamsError, Unfit) as error:
        alone = {given.vehicle: said for given in inputs if (said := _fault(spec, given))}
        if not alone and isinstance(error, ParamsError):
            raise
        who, why = names(sorted(alone)), next(iter(alone.values()), str(error))
        if not alone:
            who = f"{names([given.vehicle for given in inputs])} together"
        raise Unfit(f"nothing can be computed of what came from {who}: {why}") from None


def _computed(spec: Assignment, inputs: Sequence[RoundInput]) -> Json:
    try:
        return recompute(spec, inputs)
    except _TRIPS as error:
        raise Unfit(f"{type(error).__name__}: {error!s:.200}") from None


def _fault(spec: Assignment, given: RoundInput) -> str:
    """Say what a method trips over in one input alone; empty when it does not."""
    try:
        _computed(spec, [given])
    except Unfit as error:
        return str(error)
    except ParamsError:
        return ""  # it says that it combines no such values: that is no fault of who sent them
    return ""


def same_value(one: Json, other: Json) -> bool:
    """Whether two values are equal; what cannot be compared is not."""
    try:
        return bool(one == other)
    except RecursionError:
        return False
