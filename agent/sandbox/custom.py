"""Run the analyst's module: a fresh namespace each time, ``custom`` called, its result checked."""

import inspect
import linecache
import resource
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from agent.sandbox.job import RoundInput
from user_lib.contract.assignment import Json
from user_lib.contract.code import ENTRY_POINT, Result
from user_lib.contract.window import Window

__all__ = ["FILENAME", "BadModule", "Params", "RoundValues", "call", "load"]

FILENAME = "custom.py"
MODULE = "custom_code"
BYTE_ORDER_MARK = "\ufeff"
"""What some editors put before the first line; in a file, Python skips it as well."""
BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
TAKES_ANY = inspect.CO_VARARGS
PARSER_KB = 8 * 1024
"""What the parser may have taken when it gave up at its own limit, and not at the memory's."""


class BadModule(Exception):
    """A module has no usable ``custom``."""


class Params(Mapping[str, Json]):
    """The assignment's params, as items and as attributes, and what the platform adds.

    ``state`` is what the previous iteration returned as `Result.state`; ``feedback``, the off-board
    output of the previous round; ``iteration``, counted from 1; ``vehicle``, this vehicle's id.
    """

    def __init__(self, given: Mapping[str, Json], reserved: Mapping[str, Json]) -> None:
        self._all = {**given, **reserved}

    def __getitem__(self, key: str) -> Json:
        try:
            return self._all[key]
        except KeyError:
            raise KeyError(f"no param {key!r}; there are {', '.join(self._all)}") from None

    def __getattr__(self, key: str) -> Json:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._all[key]
        except KeyError:
            raise AttributeError(f"no param {key!r}; there are {', '.join(self._all)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class RoundValues(Mapping[str, Json]):
    """What off-board code gets: ``data[vehicle]`` is that vehicle's value of the round."""

    def __init__(self, inputs: Sequence[RoundInput]) -> None:
        self._values = {i.vehicle: i.value for i in inputs}
        self.weights: dict[str, float] = {i.vehicle: i.weight for i in inputs}
        self.partials: dict[str, Json] = {i.vehicle: i.partial for i in inputs}

    def __getitem__(self, vehicle: str) -> Json:
        return self._values[vehicle]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def load(source: str) -> Callable[..., object]:
    """Execute a module in a fresh namespace and return its ``custom``.

    Raises: BadModule, without a usable ``custom``; whatever the module itself raises.
    """
    source = source.removeprefix(BYTE_ORDER_MARK)
    linecache.cache[FILENAME] = (len(source), None, source.splitlines(keepends=True), FILENAME)
    code = _compiled(source)
    module = types.ModuleType(MODULE)
    module.__dict__.update(Result=Result, __file__=FILENAME)
    sys.modules[MODULE] = module
    exec(code, module.__dict__)  # noqa: S102 - the one place where an analyst's code runs
    custom = module.__dict__.get(ENTRY_POINT)
    if not callable(custom):
        raise BadModule("the module defines no function custom(data, params) or custom(xs)")
    return cast(Callable[..., object], custom)


def _compiled(source: str) -> types.CodeType:
    """Compile a module. Raises: BadModule, SyntaxError; MemoryError, when the memory ended."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return compile(source, FILENAME, "exec", dont_inherit=True)
    except (RecursionError, ValueError) as error:
        raise BadModule(f"the module cannot be compiled: {error}") from None
    except MemoryError:  # also what the parser raises for what is nested too deeply for it
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb > PARSER_KB:
            raise
        raise BadModule("the module cannot be compiled: it is nested too deeply") from None


def call(
    custom: Callable[..., object], data: Window | RoundValues, params: Params
) -> tuple[object, object]:
    """Call ``custom`` in the form that it is written in; return its value and its state.

    Raises: BadModule, when it takes neither one nor two arguments, or the short form meets several
            signals; whatever it raises.
    """
    positional, any_number, needed = _arguments(custom)
    if needed > 2:
        raise BadModule(
            f"custom needs {needed} arguments; write custom(data, params) or custom(xs)"
        )
    if positional >= 2 or any_number:
        returned = custom(data, params)
    elif positional == 1:
        returned = custom(_short(data))
    else:
        raise BadModule("custom takes no argument; write custom(data, params) or custom(xs)")
    if isinstance(returned, Result):
        return returned.value, returned.state
    return returned, None


def _arguments(custom: Callable[..., object]) -> tuple[int, bool, int]:
    """Return how many arguments go in by place, whether any number does, how many are needed.

    Raises: BadModule, for what does not say, or needs an argument by name.
    """
    if isinstance(custom, types.FunctionType) and _is_plain(custom):
        code = custom.__code__
        return code.co_argcount, False, code.co_argcount - len(custom.__defaults__ or ())
    try:
        parameters = inspect.signature(custom).parameters.values()
    except (TypeError, ValueError):
        raise BadModule(
            "custom does not say which arguments it takes; write def custom(data, params)"
        ) from None
    by_place = [p for p in parameters if p.kind in BY_PLACE]
    for p in parameters:
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is p.empty:
            raise BadModule(
                f"custom needs {p.name} by name; it is called as custom(data, params) or custom(xs)"
            )
    any_number = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    return len(by_place), any_number, sum(p.default is p.empty for p in by_place)


def _is_plain(custom: types.FunctionType) -> bool:
    """Whether a function's own code tells all about its arguments; asking it is much cheaper."""
    code = custom.__code__
    return not (code.co_kwonlyargcount or code.co_flags & TAKES_ANY or custom.__dict__)


def _short(data: Window | RoundValues) -> Any:  # noqa: ANN401 - an array or a list of values
    if isinstance(data, RoundValues):
        return list(data.values())
    if len(data) == 1:
        return data[data.signals[0]]
    raise BadModule(
        f"custom(xs) is for one signal, this window has {len(data)}; write custom(data, params)"
    )
