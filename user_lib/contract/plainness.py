"""What is a JSON value and what is not, to the place in it: for all that others hand in.

msgpack and Python hold more than JSON does: keys that are no strings, bytes, times, sets. JSON, in
which assignments are kept and jobs are handed to sandboxes, changes some of it in silence and
fails at the rest. So it is refused where it comes in.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MAX_DEPTH", "NotJson", "check_json"]

MAX_DEPTH = 32
"""Of lists and mappings within each other, in what others hand in and in what code returns."""
PATH_CHARS = 200
ALLOWED = "allowed are numbers, strings, true, false, null, lists and mappings with string keys"
_SCALARS = frozenset({float, int, str, bool, type(None)})


class NotJson(ValueError):
    """A value is not JSON; ``path`` is the place in it."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.steps: list[str] = []
        """What leads there, innermost first; paths cost nothing where all is well."""

    @property
    def path(self) -> str:
        """The place in the value, as `check_json` was told to call that."""
        path = "".join(reversed(self.steps))
        return path if len(path) <= PATH_CHARS else f"{path[:PATH_CHARS]}..."


def check_json(value: object, path: str, *, finite: bool, most: int) -> None:
    """Refuse what JSON would change in silence or not hold; a tuple counts as a list.

    ``finite``: refuse numbers as well that are not; ``most``: how many lists and mappings it may
    hold, since each takes time.
    Raises: NotJson, with the place, what was found there and what is allowed.
    """
    try:
        _Check(finite, most).of(value, 0)
    except NotJson as error:
        error.steps.append(path)
        raise


class _Check:
    def __init__(self, finite: bool, most: int) -> None:
        self._finite, self._most = finite, most
        self._left = most

    def of(self, value: object, depth: int) -> None:
        if isinstance(value, Mapping | list | tuple):
            self._of_many(value, depth)
        elif isinstance(value, float):
            if self._finite and not math.isfinite(value):
                raise NotJson(f"{value} is no number of JSON; only finite ones travel")
        elif value is not None and not isinstance(value, str | int):
            raise NotJson(f"{value!r:.80} is of type {type(value).__name__}; {ALLOWED}")

    def _of_many(self, value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
        self._left -= 1
        if self._left < 0:
            raise NotJson(f"brings the lists and mappings to more than {self._most}")
        if isinstance(value, Mapping):
            _check_keys(value)
            self._of_each(value.values(), value.items(), ".{}", depth)
        else:
            self._of_each(value, enumerate(value), "[{}]", depth)

    def _of_each(
        self, values: Iterable[Any], placed: Iterable[tuple[Any, Any]], step: str, depth: int
    ) -> None:
        if self._all_fine(values):
            return
        for place, inner in placed:
            try:
                self.of(inner, depth + 1)
            except NotJson as error:
                error.steps.append(step.format(place))
                raise

    def _all_fine(self, values: Iterable[Any]) -> bool:
        """Whether there is nothing to look at one by one: there may be millions of numbers."""
        kinds = set(map(type, values))
        if self._finite and float in kinds:
            return kinds == {float} and all(map(math.isfinite, values))
        return kinds <= _SCALARS


def _check_keys(value: Mapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise NotJson(f"has the key {key!r:.80}; keys are strings: write str(key)")
