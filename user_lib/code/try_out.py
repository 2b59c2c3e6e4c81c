"""Trying custom code on the analyst's own machine, in the sandbox that a vehicle would use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.sandbox import Limits, Outcome, run
from agent.signals import run_on_log
from dbc import DatabaseRef, load
from hw import read_log
from user_lib.code.source import Code, source_of
from user_lib.contract.assignment import Assignment, WindowSpec
from user_lib.contract.errors import CodeError, UnknownSignal
from user_lib.contract.window import Window

__all__ = ["try_code", "windows_on_log"]


Samples = Iterable[float] | Mapping[str, Iterable[float]]
"""The values of one signal, which is called ``samples``, or of several by their names."""


def try_code(
    code: Code,
    samples: Samples,
    limits: Limits | None = None,
    params: Mapping[str, Any] | None = None,
    state: Any = None,  # noqa: ANN401 - whatever the module returned as its state
    iteration: int = 1,
) -> Outcome:
    """Run a custom module once on ``samples``, as its window, and tell what came.

    Nothing is raised for what the code does: see ``status``, ``value``, ``detail`` and ``prints``.
    ``params`` is what ``onboard_params`` would hold, ``state`` what the iteration before returned.
    Samples are taken to be 1 ms apart; windows of a recorded log come from `windows_on_log`.

    Raises: CodeError, when the module would be refused before it runs, or samples are no numbers.
    """
    source = source_of(code)
    given: Mapping[str, npt.NDArray[np.float64]]
    if isinstance(samples, Window):
        given = samples
    elif isinstance(samples, Mapping):
        given = {str(name): _numbers(values, str(name)) for name, values in samples.items()}
    else:
        given = {"samples": _numbers(samples, "samples")}
    return run(source, given, limits or Limits(), params, state, iteration)


def windows_on_log(
    log: Path,
    databases: Sequence[DatabaseRef],
    signals: Sequence[str],
    window: WindowSpec,
    mapping: Path | None = None,
) -> Iterator[Window]:
    """Yield the windows that custom code would get on a vehicle that saw this recorded log.

    Raises: SourceError, for the log; DatabaseError; UnknownSignal, with the nearest that there is.
    """
    catalog = load(databases, mapping=mapping)
    recorded = read_log(log)
    for _ in recorded:  # once through, for the channels
        pass
    spec = Assignment(signals=tuple(signals), onboard="custom", window=window)
    try:
        yield from run_on_log(spec, catalog, recorded, recorded.channels)
    except UnknownSignal as error:
        where = f"in the databases given for {log}"
        raise UnknownSignal(error.signal, near=error.near, where=where) from None


def _numbers(values: Iterable[float], name: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(list(values), np.float64)
    except (TypeError, ValueError) as error:
        raise CodeError(f"{name} holds no list of numbers to try the module on: {error}") from None
