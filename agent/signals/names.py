"""What the signals of a vehicle are called and what stands behind each name.

A `Direct` signal is a column of a message, a `Measure` tells of a message's frames as such. A
`Derived` signal is an expression of others, which has a sample whenever the first signal that the
expression names has one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from agent.signals.quality.measures import Measure, QualityNames
from dbc import Catalog, Transform
from user_lib.contract.errors import AssignmentError, ConfigError, UnknownSignal, nearest
from user_lib.contract.expressions import Expression, parse_arithmetic
from user_lib.contract.messages import SignalInfo

__all__ = [
    "Derivation",
    "Derived",
    "Direct",
    "Leaf",
    "Signal",
    "SignalNames",
    "lead_of",
    "leaves_of",
]


class Derivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a profile defines a derived signal."""

    expression: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Direct:
    """A signal that is sent: a column of a message; ``source`` is the J1939 address asked for."""

    name: str
    unit: str
    message: int
    column: int
    transform: Transform | None = None
    source: int | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """A signal that is computed; ``parts`` are what ``expression`` names, in its order."""

    name: str
    unit: str
    expression: Expression
    parts: tuple["Signal", ...]

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names by which the expression reads its parts."""
        return self.expression.names


Leaf: TypeAlias = Direct | Measure
"""What is read from the rows of one message."""
Signal: TypeAlias = Leaf | Derived


def leaves_of(signal: Signal) -> Iterator[Leaf]:
    """Yield the signals that are read for this one, the leading one first."""
    if isinstance(signal, Derived):
        for part in signal.parts:
            yield from leaves_of(part)
    else:
        yield signal


def lead_of(signal: Signal) -> Leaf:
    """Return the signal that is read at whose times this one has its samples."""
    return next(leaves_of(signal))


class SignalNames:
    """The names of a catalog, of its messages' measures and of a profile's derived signals.

    Raises: ConfigError, if a derived signal cannot be computed: its expression does not parse,
            names what is not there, names nothing, or needs itself.
    """

    def __init__(self, catalog: Catalog, derived: Mapping[str, Derivation] | None = None) -> None:
        self.catalog = catalog
        self._quality = QualityNames(catalog)
        self._derivations = dict(derived or {})
        self._derived: dict[str, Derived] = {}
        for name in self._derivations:
            self._derived[name] = self._derive(name, ())

    def _derive(self, name: str, outer: tuple[str, ...]) -> Derived:
        where = f"derived.{name}"
        if name in outer:
            raise ConfigError(f"{where}: needs itself, by {' -> '.join((*outer, name))}")
        if (known := self._derived.get(name)) is not None:
            return known
        definition = self._derivations[name]
        try:
            expression = parse_arithmetic(definition.expression)
            parts = tuple(
                self._derive(part, (*outer, name))
                if part in self._derivations
                else self._leaf(part)
                for part in expression.names
            )
        except AssignmentError as error:
            raise ConfigError(f"{where}: {error}") from None
        if not parts:
            raise ConfigError(f"{where}: {definition.expression!r} names no signal")
        return Derived(name, definition.unit, expression, parts)

    def _leaf(self, name: str) -> Leaf:
        measure = self._quality.resolve(name)
        if measure is not None:
            return measure
        ref = self.catalog.resolve(name)
        return Direct(name, ref.unit, ref.message, ref.column, ref.transform, ref.source)

    def resolve(self, name: str, *, path: str = "signals") -> Signal:
        """Return what stands behind a name.

        Raises: UnknownSignal, with the nearest names; ``path`` is the key of the assignment.
        """
        if (derived := self._derived.get(name)) is not None:
            return derived
        try:
            return self._leaf(name)
        except UnknownSignal as error:
            near = (*nearest(name, self._derived), *error.near)
            raise UnknownSignal(name, near=near[:3], path=path) from None

    def describe(self) -> tuple[SignalInfo, ...]:
        """Describe every signal that can be asked for: sent, measured, derived."""
        return (
            *(info for info in self.catalog.signals() if info.name not in self._derived),
            *self._quality.describe(),
            *(SignalInfo(name=d.name, unit=d.unit, vss=True) for d in self._derived.values()),
        )
