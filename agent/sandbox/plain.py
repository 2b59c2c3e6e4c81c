"""What code may return: numbers, strings, booleans, lists, dicts, and numpy arrays of them.

`plain` runs twice: in the worker, where its message helps the analyst, and in the agent, which
believes nothing that a worker says.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.assignment import Json
from user_lib.contract.plainness import MAX_DEPTH

__all__ = ["MAX_CONTAINERS", "MAX_ITEMS", "NotPlain", "plain"]

MAX_ITEMS = 4_000_000
"""As numbers in a list, some 130 MB of memory while they are converted."""
MAX_CONTAINERS = 100_000
"""Lists and dicts: an empty one is two bytes on the way and thirty times that in the agent."""
SMALLEST, LARGEST = -(2**63), 2**64 - 1
PLACE_CHARS = 200
ALLOWED = "Allowed are numbers, strings, booleans, lists, dicts and numpy arrays of them"


class NotPlain(ValueError):
    """A value cannot travel; the message names the place in it and what is allowed."""


def plain(value: object, *, allow_none: bool = False, path: str = "value") -> Json:
    """Return ``value`` as JSON builtins.

    Numpy scalars and arrays become numbers and lists, tuples become lists. ``allow_none`` is for
    state and for built-in methods, which write None where a signal had no samples.
    Raises: NotPlain, for any other type, a number that is not finite, a dict key that is no string,
            more than MAX_DEPTH levels, MAX_ITEMS values or MAX_CONTAINERS lists and dicts.
    """
    try:
        return _Plainer(allow_none).convert(value, 0)
    except _Bad as bad:
        place = "".join(reversed(bad.steps))
        if len(place) > PLACE_CHARS:
            place = f"{place[:PLACE_CHARS]}..."
        raise NotPlain(f"{path}{place} {bad.what}") from None


class _Bad(Exception):
    """What is wrong, with the steps that lead there, innermost first; paths cost nothing before."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps: list[str] = []


class _Plainer:
    def __init__(self, allow_none: bool) -> None:
        self._allow_none = allow_none
        self._items = 0
        self._containers = 0

    def convert(self, value: object, depth: int) -> Json:
        kind = type(value)
        if kind is float or kind is int or kind is str or kind is bool:
            return _scalar(value)
        if depth > MAX_DEPTH:
            raise _Bad(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, np.ndarray):
            return self._array(value, depth)
        if isinstance(value, np.generic):
            return self.convert(value.item(), depth + 1)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        if value is None and self._allow_none:
            return None
        return _scalar(value)

    def _list(self, values: list[object] | tuple[object, ...], depth: int) -> list[Json]:
        self._count(len(values))
        plain_values: list[Json] = []
        try:
            for value in values:
                plain_values.append(self.convert(value, depth + 1))
        except _Bad as bad:
            bad.steps.append(f"[{len(plain_values)}]")
            raise
        return plain_values

    def _dict(self, values: dict[object, object], depth: int) -> dict[str, Json]:
        self._count(len(values))
        plain_values: dict[str, Json] = {}
        for key, value in values.items():
            if not isinstance(key, str):
                raise _Bad(f"has the key {key!r:.80}; keys are strings: write str(key)")
            try:
                plain_values[_text(str.__str__(key))] = self.convert(value, depth + 1)
            except _Bad as bad:
                bad.steps.append(f"[{key!r:.80}]")
                raise
        return plain_values

    def _array(self, array: NDArray[Any], depth: int) -> Json:
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise _Bad("has masked values; say what stands for them with .filled()")
        array = np.asarray(array)
        if depth + array.ndim > MAX_DEPTH:
            raise _Bad(f"is nested deeper than {MAX_DEPTH} levels")
        if array.dtype.kind not in "biuf":
            return self.convert(array.tolist(), depth + 1)
        self._count(array.size, _rows(array))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            flat = np.atleast_1d(array)
            where = np.argwhere(~np.isfinite(flat))[0]
            bad = _Bad(f"is {flat[tuple(where)]}; only finite numbers can be sent")
            bad.steps.append(f"[{', '.join(map(str, where))}]")
            raise bad
        return array.tolist()

    def _count(self, items: int, containers: int = 1) -> None:
        self._items += items
        self._containers += containers
        if self._containers > MAX_CONTAINERS:
            raise _Bad(f"brings the lists and dicts to more than {MAX_CONTAINERS}")
        if self._items > MAX_ITEMS:
            raise _Bad(f"brings the values to more than {MAX_ITEMS}")


def _rows(array: NDArray[Any]) -> int:
    """Return how many lists an array becomes."""
    return 1 + sum(math.prod(array.shape[:i]) for i in range(1, array.ndim))


def _scalar(value: object) -> Json:
    """Return a scalar of exactly a builtin type; what a subclass overrides is not asked."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float.__float__(value)
        raise _Bad(f"is {value}; only finite numbers can be sent")
    if isinstance(value, int):
        number = int.__int__(value)
        if SMALLEST <= number <= LARGEST:
            return number
        raise _Bad("is an integer beyond 64 bits; send it as a float or a string")
    if isinstance(value, str):
        return _text(str.__str__(value))
    raise _Bad(_wrong_type(value))


def _text(value: str) -> str:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Bad("is a string with a lone surrogate; it cannot be encoded") from None
    return value


def _wrong_type(value: object) -> str:
    if value is None:
        return "is None; does every way through the code end in a return? " + ALLOWED
    hint = "; make it a list" if isinstance(value, set | frozenset) else ""
    return f"is of type {type(value).__name__}{hint}. {ALLOWED}"
