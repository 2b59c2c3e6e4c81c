"""Rows of structs that a person reads: a text table in a terminal, an HTML one in a notebook."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from user_lib.contract.escaping import escaped
from user_lib.plain import plain

__all__ = ["MAX_DEPTH", "Table", "last_words", "render_text", "say"]

T = TypeVar("T")
Column = Callable[[T], object]

MAX_CELL = 60
MAX_DEPTH = 32
"""Of lists and mappings in each other; no method returns more, a hostile vehicle may."""
MAX_LAST_WORDS = 160


def say(value: object, *, width: int = MAX_CELL) -> str:
    """Return a value in few characters: numbers to six digits, mappings as ``key value``.

    What would steer a terminal is written out.
    """
    text = escaped(" ".join(_say(value).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def last_words(text: str) -> str:
    """Return what a traceback ends with, the exception and its message; other text as it is.

    An exception's lines are those below its last frame, which is indented. What was said before
    the traceback, such as a limit, stays.
    """
    before, trace, _ = text.partition("Traceback (most recent call last):")
    lines = text.rstrip().splitlines()
    message = lines[-1:]
    for line in reversed(lines[:-1]):
        if not line or line[0].isspace():
            break
        message.insert(0, line)
    last = "\n".join(message)
    said = f"{before.strip()}; {last}" if trace and before.strip() else last
    return say(said, width=MAX_LAST_WORDS)


def _say(value: object, depth: int = 0) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (Mapping, list, tuple)) and depth > MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_say(inner, depth + 1)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return _say_sequence(value, depth + 1)
    return str(value)


def _say_sequence(values: Sequence[object], depth: int) -> str:
    """Return the first few of many numbers, with how many there are."""
    if not values:
        return "none"
    if len(values) > 8 and all(isinstance(v, (int, float)) for v in values):
        head = ", ".join(_say(v) for v in values[:3])
        return f"[{head}, … {len(values)} values]"
    return ", ".join(_say(v, depth) for v in values)


def render_text(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns under their headings, without trailing blanks; a row is a line."""
    lines = [[escaped(cell) for cell in line] for line in (headings, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


class Table(Sequence[T], Generic[T]):
    """A read-only sequence of structs that shows itself as a table.

    ``table[0]`` and iteration give the structs; `to_dicts` gives plain dictionaries, for
    ``pandas.DataFrame(table.to_dicts())`` and the like.
    """

    def __init__(self, items: Iterable[T], columns: Mapping[str, Column[T]], empty: str) -> None:
        self._items = tuple(items)
        self._columns = columns
        self._empty = empty

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return every row as a dictionary of plain values."""
        return [plain(item) for item in self._items]

    def __repr__(self) -> str:
        if not self._items:
            return f"({escaped(self._empty)})"
        return render_text(list(self._columns), self._cells())

    def _repr_html_(self) -> str:
        if not self._items:
            return f"<em>{html.escape(self._empty)}</em>"
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self._columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self) -> list[list[str]]:
        return [[say(column(item)) for column in self._columns.values()] for item in self._items]
