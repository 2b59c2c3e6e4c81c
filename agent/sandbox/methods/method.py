"""What a built-in method is: a name, declared params, a computation, a merge of its partials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import RoundInput
from user_lib.contract.assignment import Json
from user_lib.contract.errors import AssignmentError, nearest
from user_lib.contract.window import Window

__all__ = [
    "REQUIRED",
    "Compute",
    "Merge",
    "Method",
    "MethodOutput",
    "Offboard",
    "Param",
    "ParamsError",
    "Prior",
    "finite",
]


class ParamsError(AssignmentError):
    """A method's params are not what it declares."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
"""The default of a param that must be given."""


@dataclass(frozen=True, slots=True)
class Param:
    """One declared param: its type in plain words, its default, and what it may hold."""

    name: str
    kind: str
    """``number``, ``integer``, ``string``, ``numbers``, ``strings``, ``boolean`` or ``mapping``."""
    doc: str
    default: Json | _Required = REQUIRED
    low: float | None = None
    high: float | None = None

    def check(self, given: Mapping[str, Json], path: str) -> Json:
        """Return the value given or the default.

        Raises: ParamsError.
        """
        if self.name not in given:
            if isinstance(self.default, _Required):
                raise ParamsError(f"required: {self.doc}", path=f"{path}.{self.name}")
            return self.default
        value = given[self.name]
        if value is None and self.default is None:
            return None
        if not _KINDS[self.kind](value):
            raise ParamsError(
                f"expected {_article(self.kind)}, found {value!r:.80}", path=f"{path}.{self.name}"
            )
        self._check_range(value, f"{path}.{self.name}")
        return value

    def _check_range(self, value: Json, path: str) -> None:
        for one in value if isinstance(value, list | tuple) else (value,):
            if self.low is not None and one < self.low:
                raise ParamsError(f"at least {self.low:g} is allowed, found {one}", path=path)
            if self.high is not None and one > self.high:
                raise ParamsError(f"at most {self.high:g} is allowed, found {one}", path=path)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _is_list(value: object, of: Callable[[object], bool]) -> bool:
    return isinstance(value, list | tuple) and all(of(v) for v in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "number": _is_number,
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "numbers": lambda v: _is_list(v, _is_number),
    "strings": lambda v: _is_list(v, lambda s: isinstance(s, str)),
    "mapping": lambda v: isinstance(v, Mapping),
}


def _article(kind: str) -> str:
    if kind.endswith("s"):
        return f"a list of {kind}"
    return f"an {kind}" if kind == "integer" else f"a {kind}"


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier iterations left: the method's own state and the round's feedback."""

    state: Json = None
    feedback: Json = None
    iteration: int = 0


@dataclass(frozen=True, slots=True)
class MethodOutput:
    """What one half produced; see `agent.sandbox.job.Outcome` for the words."""

    value: Json
    weight: float
    partial: Json = None
    state: Json = None


Compute: TypeAlias = Callable[[Window, Mapping[str, Json], Prior], MethodOutput]
Merge: TypeAlias = Callable[[Sequence[RoundInput], Mapping[str, Json]], Json]


@dataclass(frozen=True, slots=True)
class _Declared:
    name: str
    doc: str
    params: tuple[Param, ...]

    def check(self, given: Mapping[str, Json], path: str = "") -> dict[str, Json]:
        """Return every declared param, given or default.

        Raises: ParamsError, for an unknown key (with the nearest known), a missing or a wrong one.
        """
        path = path or self._path
        known = [p.name for p in self.params]
        for key in given:
            if key not in known:
                near = nearest(key, known)
                hint = f"did you mean {' or '.join(near)}?" if near else self._takes(known)
                raise ParamsError(f"no such param; {hint}", path=f"{path}.{key}", near=near)
        return {p.name: p.check(given, path) for p in self.params}

    def _takes(self, known: Sequence[str]) -> str:
        return f"{self.name} takes {', '.join(known)}" if known else f"{self.name} takes none"

    @property
    def _path(self) -> str:
        return "onboard_params"


@dataclass(frozen=True, slots=True)
class Method(_Declared):
    """An on-board method; ``merge`` pools the partials of many vehicles into one value."""

    compute: Compute
    merge: Merge
    fits: Callable[[Mapping[str, Json]], object] = dict
    """Raises ParamsError for params that are right one by one, but not together."""

    def check(self, given: Mapping[str, Json], path: str = "") -> dict[str, Json]:
        """Return every declared param, given or default.

        Raises: ParamsError, also for params that do not go together.
        """
        params = _Declared.check(self, given, path)  # with slots, super() finds the wrong class
        self.fits(params)
        return params


@dataclass(frozen=True, slots=True)
class Offboard(_Declared):
    """An off-board method, over the values of a round."""

    combine: Merge

    @property
    def _path(self) -> str:
        return "offboard_params"


def finite(window: Window, signal: str) -> tuple[NDArray[np.float64], int]:
    """Return a signal's values without the gaps, and how many gaps there were."""
    values = window[signal]
    known = np.isfinite(values)
    gaps = int(len(values) - np.count_nonzero(known))
    return (values[known] if gaps else values), gaps
