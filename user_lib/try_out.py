"""Trying custom code on the analyst's own machine, in the sandbox that a vehicle would use."""

from collections.abc import Iterable

import numpy as np

from agent.sandbox import Limits, Outcome, run
from user_lib.custom_source import Code, source_of

__all__ = ["try_code"]


def try_code(code: Code, samples: Iterable[float], limits: Limits | None = None) -> Outcome:
    """Run a custom module once on ``samples``, as the window of one signal, and tell what came.

    Nothing is raised for what the code does: see ``status``, ``value``, ``detail`` and ``prints``.

    Raises: CodeError, when the module would be refused before it runs.
    """
    values = np.asarray(list(samples), np.float64)
    return run(source_of(code), values, limits or Limits())
