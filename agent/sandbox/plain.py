"""What code may return: numbers, strings, booleans, lists, dicts, and numpy arrays of them.

`plain` runs twice: in the worker, where its message helps the analyst, and in the agent, which
believes nothing that a worker says.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.assignment import Json

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "NotPlain", "plain"]

MAX_DEPTH = 32
MAX_ITEMS = 1_000_000
SMALLEST, LARGEST = -(2**63), 2**64 - 1


class NotPlain(ValueError):
    """A value cannot travel; the message names the place in it and what is allowed."""


def plain(value: object, *, allow_none: bool = False, path: str = "value") -> Json:
    """Return ``value`` as JSON builtins.

    Numpy scalars and arrays become numbers and lists, tuples become lists. ``allow_none`` is for
    state and for built-in methods, which write None where a signal had no samples.
    Raises: NotPlain, for any other type, a number that is not finite, a dict key that is no string,
            more than MAX_DEPTH levels or MAX_ITEMS values.
    """
    return _Plainer(allow_none).convert(value, path, 0)


class _Plainer:
    def __init__(self, allow_none: bool) -> None:
        self._allow_none = allow_none
        self._items = 0

    def convert(self, value: object, path: str, depth: int) -> Json:
        self._count(1, path)
        if depth > MAX_DEPTH:
            raise NotPlain(f"{path[:200]}... is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, np.ndarray):
            return self._array(value, path, depth)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, dict):
            return {_key(k, path): self.convert(v, f"{path}[{k!r}]", depth + 1)
                    for k, v in value.items()}  # fmt: skip
        if isinstance(value, list | tuple):
            return [self.convert(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        return self._scalar(value, path)

    def _scalar(self, value: object, path: str) -> Json:
        if isinstance(value, bool) or (value is None and self._allow_none):
            return value
        if isinstance(value, int):
            return _whole(int(value), path)
        if isinstance(value, float):
            return _finite(float(value), path)
        if isinstance(value, str):
            return _text(str(value), path)
        raise NotPlain(_wrong_type(value, path))

    def _array(self, array: NDArray[Any], path: str, depth: int) -> Json:
        if depth + array.ndim > MAX_DEPTH:
            raise NotPlain(f"{path} is nested deeper than {MAX_DEPTH} levels")
        if array.dtype.kind not in "biuf":
            return self.convert(array.tolist(), path, depth + 1)
        self._count(array.size, path)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(np.atleast_1d(array)))[0]
            at = ", ".join(map(str, where))
            found = np.atleast_1d(array)[tuple(where)]
            raise NotPlain(f"{path}[{at}] is {found}; only finite numbers can be sent")
        return array.tolist()

    def _count(self, items: int, path: str) -> None:
        self._items += items
        if self._items > MAX_ITEMS:
            raise NotPlain(f"more than {MAX_ITEMS} values (at {path[:200]})")


def _key(key: object, path: str) -> str:
    if isinstance(key, str):
        return _text(str(key), path)
    raise NotPlain(f"{path} has the key {key!r:.80}; keys are strings: write str(key)")


def _whole(value: int, path: str) -> int:
    if SMALLEST <= value <= LARGEST:
        return value
    raise NotPlain(f"{path} is an integer beyond 64 bits; send it as a float or a string")


def _finite(value: float, path: str) -> float:
    if math.isfinite(value):
        return value
    raise NotPlain(f"{path} is {value}; only finite numbers can be sent")


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{path} is a string with a lone surrogate; it cannot be encoded") from None
    return value


def _wrong_type(value: object, path: str) -> str:
    allowed = "numbers, strings, booleans, lists, dicts and numpy arrays of them"
    if value is None:
        hint = "; does every way through custom() end in a return?" if path == "value" else ""
        return f"{path} is None{hint} Allowed are {allowed}" if hint else f"{path} is None"
    hint = "; make it a list" if isinstance(value, set | frozenset) else ""
    return f"{path} is of type {type(value).__name__}{hint}; allowed are {allowed}"
