"""What came back as columns of numbers, for numpy and what builds on it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.assignment import Json
from user_lib.contract.escaping import LINES, escaped
from user_lib.results import Round, VehicleResult
from user_lib.tables import MAX_DEPTH

__all__ = ["Columns", "columns_of_results", "columns_of_rounds"]


class Columns(Mapping[str, NDArray[Any]]):
    """Results as columns, one row each, oldest first: ``columns["Vehicle.Speed"]``.

    Shapes: ``vehicle`` (n,) str; ``iteration`` (n,) int64; ``code_version`` (n,) str; then one
            column for each number in the values, named by its dotted path (``value`` when the
            value is a bare number): numbers (n,) float64; lists of one length k (n, k) float64;
            anything else (n,) object.
    Gaps:   NaN where a result has no such number; None in an object column.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self._columns[name]
        except KeyError:
            known = ", ".join(self._columns)
            raise KeyError(f"no column {name!r}; there are {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def rows(self) -> int:
        """How many results there are."""
        return len(self._columns["iteration"])

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that `matrix` stacks, in its order."""
        return tuple(name for name in self._columns if self._is_scalar(name))

    def matrix(self) -> NDArray[np.float64]:
        """Stack the columns of plain numbers.

        Shapes: (rows, len(names)) float64.
        Gaps:   NaN where a result has no such number.
        """
        if not self.names:
            return np.empty((self.rows, 0), np.float64)
        return np.column_stack([self._columns[name] for name in self.names])

    def _is_scalar(self, name: str) -> bool:
        column = self._columns[name]
        return name != "iteration" and column.ndim == 1 and column.dtype == np.float64

    def __repr__(self) -> str:
        shown = (f"{name} {c.shape} {c.dtype}" for name, c in self._columns.items())
        return escaped("\n".join(shown), keep=LINES)


def columns_of_results(results: Iterable[VehicleResult]) -> Columns:
    """Return one row for each successful result."""
    good = [r for r in results if r.ok]
    return _columns(
        [r.vehicle for r in good],
        [r.iteration for r in good],
        [r.code_version for r in good],
        [r.value for r in good],
    )


def columns_of_rounds(rounds: Iterable[Round]) -> Columns:
    """Return one row for each aggregate; ``vehicle`` names its vehicles, joined by blanks."""
    rows = [(r, g) for r in rounds for g in r.groups if not g.error]
    return _columns(
        [" ".join(g.vehicles) for _, g in rows],
        [r.number for r, _ in rows],
        [g.code_version for _, g in rows],
        [g.value for _, g in rows],
    )


def _columns(
    vehicles: list[str], iterations: list[int], versions: list[str], values: list[Json]
) -> Columns:
    flat = [dict(_leaves(value, "")) for value in values]
    names = dict.fromkeys(name for row in flat for name in row)
    columns: dict[str, NDArray[Any]] = {
        "vehicle": np.array(vehicles, dtype=np.str_),
        "iteration": np.array(iterations, dtype=np.int64),
        "code_version": np.array(versions, dtype=np.str_),
    }
    for name in names:
        columns[name] = _column([row.get(name) for row in flat])
    return Columns(columns)


def _leaves(value: Json, path: str, depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Yield the dotted path and value of everything in ``value`` that is not a mapping.

    What is nested deeper than any method returns is one cell.
    """
    if isinstance(value, Mapping) and depth <= MAX_DEPTH:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key), depth + 1)
    else:
        yield path or "value", value


def _column(cells: list[Json]) -> NDArray[Any]:
    if all(cell is None or _is_number(cell) for cell in cells):
        return np.array([np.nan if c is None else float(c) for c in cells], np.float64)
    lengths = {len(c) if _is_numbers(c) else -1 for c in cells}
    if len(lengths) == 1 and lengths != {-1}:
        return np.array(cells, np.float64)
    column = np.empty(len(cells), object)
    for i, cell in enumerate(cells):
        column[i] = np.array(cell, np.float64) if _is_numbers(cell) else cell
    return column


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(v) for v in value)
