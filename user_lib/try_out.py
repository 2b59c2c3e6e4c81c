"""Trying custom code on the analyst's own machine, in the sandbox that a vehicle would use."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.sandbox import Limits, Outcome, run
from user_lib.contract.errors import CodeError
from user_lib.custom_source import Code, source_of

__all__ = ["try_code"]


Samples = Iterable[float] | Mapping[str, Iterable[float]]
"""The values of one signal, which is called ``samples``, or of several by their names."""


def try_code(
    code: Code,
    samples: Samples,
    limits: Limits | None = None,
    params: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run a custom module once on ``samples``, as its window, and tell what came.

    Nothing is raised for what the code does: see ``status``, ``value``, ``detail`` and ``prints``.
    ``params`` is what ``onboard_params`` would hold. Samples are taken to be 1 ms apart.

    Raises: CodeError, when the module would be refused before it runs, or samples are no numbers.
    """
    source = source_of(code)
    if isinstance(samples, Mapping):
        given = {str(name): _numbers(values, str(name)) for name, values in samples.items()}
    else:
        given = {"samples": _numbers(samples, "samples")}
    return run(source, given, limits or Limits(), params)


def _numbers(values: Iterable[float], name: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(list(values), np.float64)
    except (TypeError, ValueError) as error:
        raise CodeError(f"{name} holds no list of numbers to try the module on: {error}") from None
