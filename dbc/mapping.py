"""The VSS mapping: which signal of the databases stands behind a VSS path, and how it is converted.

The format is KUKSA's: a YAML file of ``path: {datatype, unit, dbc2vss: {signal, transform,
interval_ms, on_change}}``, or the JSON tree into which its tools merge that; ``dbc`` is its older
name of ``dbc2vss``. What it says of the other direction, ``vss2dbc``, is passed over: nothing here
writes to a bus. An entry that is wrong is named and costs itself only.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dbc.model import Repair, SignalDef
from user_lib.contract.errors import DatabaseError, ExpressionError, nearest
from user_lib.contract.expressions import Expression, parse_arithmetic

__all__ = ["MappedSignal", "ParsedMapping", "Transform", "parse_mapping"]

_KEYS = ("signal", "transform", "interval_ms", "on_change")
_TRANSFORMS = ("math", "mapping")
_CONSTANTS = {"E": math.e, "PI": math.pi}
_MOST_INT = 1 << 64
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
            result = np.asarray(self.math.evaluate({"x": values, **_CONSTANTS}), np.float64)
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
        by_source: dict[float, float] = {}
        for written, to in self.table:
            source = _source(written, signal)
            if source is not None:  # of two rows for one value the first counts, as in KUKSA
                by_source.setdefault(
                    source, float(names.index(to)) if isinstance(to, str) else float(to)
                )
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
    except (TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class ParsedMapping:
    """What a mapping file says, what of it was dropped, and the paths that it maps onto the bus."""

    signals: tuple[MappedSignal, ...]
    repairs: tuple[Repair, ...] = ()
    to_bus: tuple[str, ...] = ()


def parse_mapping(content: bytes, file: str) -> ParsedMapping:
    """Return what a mapping file says; entries that map nothing are passed over.

    Raises: DatabaseError, if it is no mapping at all, naming file and cause.
    """
    text = content.decode("utf-8-sig", errors="replace")
    try:
        if text.lstrip().startswith("{"):
            tree = json.loads(text)
        else:
            tree = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatabaseError(f"{file} is not a mapping: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise DatabaseError(
            f"{file} is not a mapping: expected 'VSS.Path: {{dbc2vss: ...}}' entries"
        )
    reader = _Reader(text, file)
    signals = [
        mapped
        for path, entry in _leaves(tree)
        if isinstance(entry, dict) and (mapped := reader.entry(path, entry)) is not None
    ]
    return ParsedMapping(tuple(signals), tuple(reader.repairs), tuple(reader.to_bus))


def _leaves(tree: dict[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of a VSS tree, or of a flat file, by their dotted paths."""
    leaves: list[tuple[str, Any]] = []
    for name, node in tree.items():
        children = node.get("children") if isinstance(node, dict) else None
        if isinstance(children, dict):
            leaves += _leaves(children, f"{prefix}{name}.")
        else:
            leaves.append((f"{prefix}{name}", node))
    return leaves


class _Reader:
    """Reads entry by entry, and remembers what was wrong with them."""

    def __init__(self, text: str, file: str) -> None:
        self.repairs: list[Repair] = []
        self.to_bus: list[str] = []
        self._text, self._file = text, file

    def entry(self, path: str, entry: dict[str, Any]) -> MappedSignal | None:
        """Return what an entry maps; None, if that is nothing or wrong."""
        if entry.get("vss2dbc") is not None:
            self.to_bus.append(path)
        source = entry.get("dbc2vss") or entry.get("dbc")
        if source is None:
            return None
        try:
            return self._signal(path, entry, source)
        except (DatabaseError, ExpressionError) as error:
            self._repair(path, f"{error}; dropped")
            return None

    def _repair(self, path: str, what: str) -> None:
        last = re.escape(path.rpartition(".")[2])
        found = re.search(rf'^[ \t]*["\']?(?:{re.escape(path)}|{last})["\']?\s*:', self._text, re.M)
        line = self._text.count("\n", 0, found.start()) + 1 if found else 0
        self.repairs.append(Repair(self._file, line, f"{path}: {what}"))

    def _signal(self, path: str, entry: dict[str, Any], source: Any) -> MappedSignal:  # noqa: ANN401
        name = source.get("signal") if isinstance(source, dict) else None
        if not isinstance(name, str) or not name:
            raise DatabaseError("dbc2vss needs 'signal: Message.Signal' or 'signal: Name'")
        self._check_keys(path, source, _KEYS)
        transform = source.get("transform") or {}
        if not isinstance(transform, dict):
            raise DatabaseError(f"transform is {transform!r}; expected 'math' or 'mapping'")
        self._check_keys(path, transform, _TRANSFORMS)
        if len([key for key in _TRANSFORMS if key in transform]) != bool(transform):
            raise DatabaseError("transform needs either 'math' or 'mapping'")
        on_change = source.get("on_change")
        if not isinstance(on_change, bool | None):
            self._repair(path, f"on_change is {on_change!r}; expected true or false; ignored")
            on_change = None
        return MappedSignal(
            path=path,
            signal=name,
            unit=str(entry.get("unit") or ""),
            datatype=str(entry.get("datatype") or ""),
            interval_ms=self._milliseconds(path, source.get("interval_ms")),
            on_change=on_change,
            math=_math(transform.get("math")),
            table=_table(transform.get("mapping")),
        )

    def _check_keys(self, path: str, found: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        for key in found:
            if key not in allowed:
                near = nearest(str(key), allowed)
                hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(allowed)}"
                self._repair(path, f"unknown key {key!r}; {hint}; ignored")

    def _milliseconds(self, path: str, value: Any) -> float | None:  # noqa: ANN401 - a YAML scalar
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            self._repair(path, f"interval_ms is {value!r}; expected a number, 0 or more; ignored")
            return None
        return float(value)


def _math(text: Any) -> Expression | None:  # noqa: ANN401 - a YAML scalar
    """Read KUKSA's arithmetic, which has ``^`` for powers and a function ``if``."""
    if text is None:
        return None
    plain = re.sub(r"\bif\s*\(", "where(", str(text).replace("^", "**"))
    expression = parse_arithmetic(plain, path="transform.math")
    unknown = [name for name in expression.names if name != "x" and name not in _CONSTANTS]
    if unknown:
        raise DatabaseError(f"transform.math reads {unknown[0]!r}; it has only x")
    try:
        np.asarray(expression.evaluate({"x": np.zeros(1), **_CONSTANTS}), np.float64)
    except (TypeError, ValueError) as error:
        raise DatabaseError(f"transform.math {text!r} gives no number") from error
    return expression


def _table(rows: Any) -> tuple[tuple[Any, Any], ...] | None:  # noqa: ANN401 - YAML
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and {"from", "to"} <= set(row) for row in rows
    ):
        raise DatabaseError("transform.mapping needs a list of 'from: ..., to: ...'")
    for row in rows:
        if not isinstance(row["to"], bool | int | float | str):
            raise DatabaseError(f"'to: {row['to']!r}' is no number, boolean or string")
        if isinstance(row["to"], int) and abs(row["to"]) > _MOST_INT:
            raise DatabaseError("a 'to:' has more than 64 bits")
    return tuple((row["from"], row["to"]) for row in rows)
