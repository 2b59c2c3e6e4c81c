"""Combine values of one shape number by number: in lists by place, in dicts by key."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.method import ParamsError
from user_lib.contract.assignment import Json

__all__ = ["Weighted", "combine", "mean_of", "sum_of"]

Weighted: TypeAlias = Sequence[tuple[Json, float]]
"""Numbers beside their weights."""


def sum_of(numbers: Weighted) -> float:
    """Add up, ignoring the weights."""
    return math.fsum(number for number, _ in numbers)


def mean_of(numbers: Weighted) -> float | None:
    """Return the weighted mean; None when no weight is behind it."""
    total = math.fsum(weight for _, weight in numbers)
    return math.fsum(number * weight for number, weight in numbers) / total if total else None


def combine(
    inputs: Sequence[RoundInput],
    reduce: Callable[[Weighted], float | None],
    weight: Callable[[RoundInput], float],
) -> Json:
    """Reduce the values of a round.

    A None is left out, and so is a key that some vehicles lack. Booleans count as 0 and 1.
    Raises: ParamsError, naming vehicle and place, for text or for values of different shapes.
    """
    given = [(i.vehicle, i.value, weight(i)) for i in inputs]
    return _combine(given, reduce, "value")


_Given: TypeAlias = Sequence[tuple[str, Json, float]]


def _combine(given: _Given, reduce: Callable[[Weighted], float | None], path: str) -> Json:
    known = [(vehicle, value, weight) for vehicle, value, weight in given if value is not None]
    if not known:
        return None
    kinds = {_kind(value) for _, value, _ in known}
    if len(kinds) > 1 or "text" in kinds:
        texts = [given for given in known if _kind(given[1]) == "text"]
        vehicle, value, _ = (texts or known)[-1]
        raise ParamsError(
            f"{path} cannot be combined number by number ({' and '.join(sorted(kinds))}; vehicle "
            f"{vehicle} sent {value!r:.60}); offboard: collect keeps values of any shape",
            path="offboard",
        )
    kind = kinds.pop()
    if kind == "number":
        return reduce([(value, weight) for _, value, weight in known])
    if kind == "list":
        return _lists(known, reduce, path)
    keys = dict.fromkeys(key for _, value, _ in known for key in value)
    return {
        key: _combine(
            [(v, value[key], w) for v, value, w in known if key in value],
            reduce,
            f"{path}[{key!r}]",
        )
        for key in keys
    }


def _lists(known: _Given, reduce: Callable[[Weighted], float | None], path: str) -> Json:
    lengths = {len(value) for _, value, _ in known}
    if len(lengths) > 1:
        raise ParamsError(
            f"{path} has {' and '.join(map(str, sorted(lengths)))} elements on different vehicles; "
            "offboard: collect keeps values of any shape",
            path="offboard",
        )
    return [
        _combine([(v, value[i], w) for v, value, w in known], reduce, f"{path}[{i}]")
        for i in range(lengths.pop())
    ]


def _kind(value: Json) -> str:
    if isinstance(value, dict):
        return "dict"
    if isinstance(value, list | tuple):
        return "list"
    return "number" if isinstance(value, int | float) else "text"
