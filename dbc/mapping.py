"""The VSS mapping: which signal of the databases stands behind a VSS path, and how it is converted.

The format is KUKSA's: a YAML file of ``path: {datatype, unit, dbc2vss: {signal, transform,
interval_ms, on_change}}``, or the JSON tree into which its tools merge that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dbc.model import SignalDef
from user_lib.contract.errors import DatabaseError, ExpressionError, nearest
from user_lib.contract.expressions import Expression, parse_arithmetic

__all__ = ["MappedSignal", "Transform", "parse_mapping"]

_KEYS = ("signal", "transform", "interval_ms", "on_change")
_TRANSFORMS = ("math", "mapping")
_TRUE, _FALSE = ("on", "yes", "true"), ("off", "no", "false")


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """Turns decoded values into those of the VSS path; element-wise, NaN stays NaN.

    Either ``math``, an expression in ``x``, or a table from decoded values to new ones, where a
    value that the table lacks becomes NaN. Booleans become 0 and 1. Strings cannot be float64: they
    become numbers in the order of the table, and ``choices`` gives their names.
    """

    math: Expression | None = None
    sources: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    targets: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    choices: Mapping[int, str] = field(default_factory=dict)

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the converted values, a new array of the same shape."""
        if self.math is not None:
            result = np.asarray(self.math.evaluate({"x": values}), np.float64)
            return np.where(np.isnan(values), np.nan, result)
        if not len(self.sources):
            return np.full(values.shape, np.nan)
        place = np.minimum(np.searchsorted(self.sources, values), len(self.sources) - 1)
        return np.where(self.sources[place] == values, self.targets[place], np.nan)


@dataclass(frozen=True, slots=True)
class MappedSignal:
    """One VSS path of a mapping file. ``signal`` is ``Message.Signal`` or a signal's bare name."""

    path: str
    signal: str
    unit: str = ""
    datatype: str = ""
    interval_ms: float | None = None
    on_change: bool | None = None
    math: Expression | None = None
    table: tuple[tuple[Any, Any], ...] | None = None

    def transform(self, signal: SignalDef) -> Transform | None:
        """Return what converts this signal's values; None, if they are taken as they are."""
        if self.math is not None:
            return Transform(math=self.math)
        if self.table is None:
            return None
        names = list(dict.fromkeys(to for _, to in self.table if isinstance(to, str)))
        by_source = {
            source: float(names.index(to)) if isinstance(to, str) else float(to)
            for written, to in self.table
            if (source := _source(written, signal)) is not None
        }
        sources = sorted(by_source)
        return Transform(
            sources=np.array(sources, np.float64),
            targets=np.array([by_source[s] for s in sources], np.float64),
            choices=dict(enumerate(names)),
        )

    def unknown_values(self, signal: SignalDef) -> tuple[str, ...]:
        """Return what the table calls a value and the signal's value table does not know."""
        rows = self.table or ()
        return tuple(str(written) for written, _ in rows if _source(written, signal) is None)


def _source(written: Any, signal: SignalDef) -> float | None:  # noqa: ANN401 - a YAML scalar
    """Return the decoded value that a table's ``from`` means: a number or a choice's name."""
    by_name = {name: value for value, name in signal.value_names.items()}
    if isinstance(written, str) and written in by_name:
        return by_name[written]
    if isinstance(written, bool):  # YAML reads a bare On, Off, Yes, No as a boolean
        words = _TRUE if written else _FALSE
        return next((v for n, v in by_name.items() if n.casefold() in words), float(written))
    try:
        return float(written)
    except (TypeError, ValueError):
        return None


def parse_mapping(content: bytes, file: str) -> tuple[MappedSignal, ...]:
    """Return the mapped paths of a mapping file; entries without ``dbc2vss`` are passed over.

    Raises: DatabaseError, naming file, path and cause.
    """
    try:
        if content.lstrip().startswith(b"{"):
            tree = _flat(json.loads(content))
        else:
            tree = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatabaseError(f"{file} is not a mapping: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise DatabaseError(
            f"{file} is not a mapping: expected 'VSS.Path: {{dbc2vss: ...}}' entries"
        )
    entries = [
        (str(path), entry)
        for path, entry in tree.items()
        if isinstance(entry, dict) and entry.get("dbc2vss") is not None
    ]
    return tuple(_entry(path, entry, file) for path, entry in entries)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - foreign JSON
    """Return the leaves of a VSS tree by their dotted path."""
    flat: dict[str, Any] = {}
    for name, node in tree.items() if isinstance(tree, dict) else ():
        if isinstance(node, dict) and "children" in node:
            flat |= _flat(node["children"], f"{prefix}{name}.")
        else:
            flat[prefix + name] = node
    return flat


def _entry(path: str, entry: dict[str, Any], file: str) -> MappedSignal:
    source = entry["dbc2vss"]
    where = f"{file}: {path}"
    if not isinstance(source, dict) or not isinstance(source.get("signal"), str):
        raise DatabaseError(f"{where}: dbc2vss needs 'signal: Message.Signal' or 'signal: Name'")
    _check_keys(source, _KEYS, where)
    transform = source.get("transform") or {}
    if not isinstance(transform, dict):
        raise DatabaseError(f"{where}: transform is {transform!r}; expected 'math' or 'mapping'")
    _check_keys(transform, _TRANSFORMS, where)
    return MappedSignal(
        path=path,
        signal=source["signal"],
        unit=str(entry.get("unit") or ""),
        datatype=str(entry.get("datatype") or ""),
        interval_ms=_milliseconds(source.get("interval_ms"), where),
        on_change=source.get("on_change"),
        math=_math(transform.get("math"), where),
        table=_table(transform.get("mapping"), where),
    )


def _check_keys(found: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in allowed:
            near = nearest(str(key), allowed)
            hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(allowed)}"
            raise DatabaseError(f"{where}: unknown key {key!r}; {hint}")


def _milliseconds(value: Any, where: str) -> float | None:  # noqa: ANN401 - a YAML scalar
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise DatabaseError(f"{where}: interval_ms is {value!r}; expected a number, 0 or more")
    return float(value)


def _math(text: Any, where: str) -> Expression | None:  # noqa: ANN401 - a YAML scalar
    if text is None:
        return None
    try:
        expression = parse_arithmetic(str(text).replace("^", "**"), path="transform.math")
    except ExpressionError as error:
        raise DatabaseError(f"{where}: {error}") from error
    unknown = [name for name in expression.names if name != "x"]
    if unknown:
        raise DatabaseError(f"{where}: transform.math reads {unknown[0]!r}; it has only x")
    return expression


def _table(rows: Any, where: str) -> tuple[tuple[Any, Any], ...] | None:  # noqa: ANN401 - YAML
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and {"from", "to"} == set(row) for row in rows
    ):
        raise DatabaseError(f"{where}: transform.mapping needs a list of 'from: ..., to: ...'")
    for row in rows:
        if not isinstance(row["to"], bool | int | float | str):
            raise DatabaseError(f"{where}: 'to: {row['to']!r}' is no number, boolean or string")
    return tuple((row["from"], row["to"]) for row in rows)
