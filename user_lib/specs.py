"""An assignment as an analyst writes it: a mapping, a YAML file, single keys, numpy arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import AssignmentError
from user_lib.contract.plainness import MAX_DEPTH
from user_lib.contract.validation import parse
from user_lib.methods import check_params
from user_lib.wire.config import read_yaml

__all__ = ["Spec", "read_spec"]

Spec: TypeAlias = Mapping[str, Any] | Assignment | str | Path
"""An assignment in the grammar, or the path of a YAML file that holds one."""

_PARAMS = ("onboard_params", "offboard_params")
MAX_GIVEN_BYTES = 1 << 30
"""Params larger than this are a mistake; what a cloud takes is its operator's choice."""


def read_spec(spec: Spec | None, keys: Mapping[str, Any]) -> Assignment:
    """Return the checked assignment of a mapping, a YAML file and single keys, which win.

    Raises: AssignmentError, with the path of the key at fault; ConfigError, for a file that cannot
            be read.
    """
    plain: dict[str, Any]
    if spec is None:
        plain = {}
    elif isinstance(spec, (str, Path)):
        plain = read_yaml(Path(spec).expanduser())
    elif isinstance(spec, Assignment):
        plain = spec.to_dict()
    elif isinstance(spec, Mapping):
        plain = dict(spec)
    else:
        raise AssignmentError(f"give a mapping or the path of a YAML file, not {spec!r:.60}")
    assignment = parse(_listed({**plain, **keys}), params_bytes=MAX_GIVEN_BYTES)
    check_params(assignment)
    return assignment


def _listed(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification whose params hold lists where they held numpy arrays."""
    params = {key: _without_arrays(spec[key]) for key in _PARAMS if key in spec}
    return {**spec, **params}


def _without_arrays(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - whatever was given
    if depth > MAX_DEPTH:
        return value  # it is refused for that
    if isinstance(value, Mapping):
        return {key: _without_arrays(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(inner, depth + 1) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
