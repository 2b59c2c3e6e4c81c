"""All that a vehicle's databases define, under the names by which analysts ask for it.

A name is a VSS path of the mapping, ``Message.Signal``, or ``channel:`` before either where two
channels have it; ``Message@SA.Signal`` asks for one source address of a J1939 message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from dbc.mapping import MappedSignal, Transform
from dbc.model import MessageDef, Repair, SignalDef
from dbc.names import NameIndex
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.messages import SignalInfo

__all__ = ["Catalog", "SignalRef"]


@dataclass(frozen=True, slots=True)
class SignalRef:
    """Where a named signal is found: a message and a column of its decoded values.

    ``transform`` turns the decoded values into what the name stands for; None: they are taken as
    they are. ``source`` is the one J1939 source address asked for; None: any.
    """

    name: str
    message: int
    column: int
    transform: Transform | None
    unit: str
    source: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name that the catalog lists."""

    ref: SignalRef
    channel: str | None
    vss: bool


@dataclass(frozen=True)
class Catalog:
    """The messages of a vehicle's databases, in the order of the files.

    ``hash`` (sha256, hex) covers the content of all files, their channels and the mapping.
    ``unmapped`` names the VSS paths whose signal no database defines.
    """

    messages: tuple[MessageDef, ...]
    repairs: tuple[Repair, ...] = ()
    hash: str = ""
    mapping: tuple[MappedSignal, ...] = ()
    channels: tuple[str, ...] = field(default=())
    """The channels that messages of every channel were laid out for; see `bind`."""

    def bind(self, channels: Sequence[str]) -> "Catalog":
        """Return a catalog for these channels, in which every message belongs to one of them.

        A message of every channel appears once on each, unless a database of that channel alone
        has the same id; messages of other channels stay, and match nothing.
        """
        bound: dict[tuple[str | None, int, bool, bool], MessageDef] = {}
        for message in self.messages:
            for channel in channels if message.channel is None else (message.channel,):
                key = (channel, message.can_id, message.extended, message.j1939)
                if message.channel is None and key in bound:
                    continue
                bound.pop(key, None)
                bound[key] = msgspec.structs.replace(message, channel=channel)
        return replace(self, messages=tuple(bound.values()), channels=tuple(channels))

    def signals(self) -> tuple[SignalInfo, ...]:
        """Describe every signal once, by the name that `resolve` prefers: the VSS path if any."""
        mapped = {(e.ref.message, e.ref.column) for e in self._entries.values() if e.vss}
        return tuple(
            self._info(name, entry)
            for name, entry in self._entries.items()
            if entry.vss or (entry.ref.message, entry.ref.column) not in mapped
        )

    def resolve(self, name: str) -> SignalRef:
        """Return where the signal of this name is found.

        Raises: UnknownSignal, with the nearest names, or with all of them if the name is ambiguous.
        """
        entry = self._entries.get(name) or self._on_channel(name)
        if entry is not None:
            return entry.ref
        plain, source = _without_source(name)
        if source is not None:
            entry = self._entries.get(plain) or self._on_channel(plain)
            if entry is not None and self.messages[entry.ref.message].j1939:
                return replace(entry.ref, name=name, source=source)
        if choices := self._ambiguous.get(name):
            raise UnknownSignal(name, near=choices)
        raise UnknownSignal(name, near=self._index.nearest(name))

    def _on_channel(self, name: str) -> _Entry | None:
        """Find a name that is qualified by its channel though it need not be."""
        channel, colon, rest = name.partition(":")
        entry = self._entries.get(rest) if colon else None
        return entry if entry is not None and entry.channel == channel else None

    @cached_property
    def unmapped(self) -> tuple[str, ...]:
        """The VSS paths of the mapping whose signal no database defines."""
        return tuple(m.path for m in self.mapping if not self._behind(m))

    def mapped_signals(self) -> list[tuple[MappedSignal, SignalDef]]:
        """Return each entry of the mapping with every signal that stands behind it."""
        return [
            (mapped, self.messages[index].signals[column])
            for mapped in self.mapping
            for index, column in self._behind(mapped)
        ]

    @cached_property
    def _by_signal(self) -> dict[str, list[tuple[int, int]]]:
        """Where a signal is defined, by its bare name and by ``Message.Signal``."""
        found: dict[str, list[tuple[int, int]]] = {}
        for index, message in enumerate(self.messages):
            for column, signal in enumerate(message.signals):
                found.setdefault(f"{message.name}.{signal.name}", []).append((index, column))
                found.setdefault(signal.name, []).append((index, column))
        return found

    def _behind(self, mapped: MappedSignal) -> list[tuple[int, int]]:
        """Return where a mapped signal is defined, at most one place a channel, the first."""
        first: dict[str | None, tuple[int, int]] = {}
        for index, column in self._by_signal.get(mapped.signal, ()):
            first.setdefault(self.messages[index].channel, (index, column))
        return list(first.values())

    @cached_property
    def _listed(self) -> tuple[dict[str, _Entry], dict[str, tuple[str, ...]]]:
        """Every name with one meaning, and those with several, with what to say instead."""
        named: dict[str, list[_Entry]] = {}
        for mapped in self.mapping:
            for index, column in self._behind(mapped):
                self._add(named, mapped.path, index, column, mapped)
        for index, message in enumerate(self.messages):
            for column, signal in enumerate(message.signals):
                self._add(named, f"{message.name}.{signal.name}", index, column, None)
        listed: dict[str, _Entry] = {}
        ambiguous: dict[str, tuple[str, ...]] = {}
        for name, entries in named.items():
            qualified = {f"{e.channel}:{name}": e for e in entries}
            if len(entries) == 1:
                listed[name] = entries[0]
            else:
                ambiguous[name] = tuple(qualified)
                for full, entry in qualified.items():
                    listed[full] = replace(entry, ref=replace(entry.ref, name=full))
        return listed, ambiguous

    def _add(
        self,
        named: dict[str, list[_Entry]],
        name: str,
        index: int,
        column: int,
        mapped: MappedSignal | None,
    ) -> None:
        message = self.messages[index]
        signal = message.signals[column]
        transform, unit = None, signal.unit
        if mapped is not None:
            transform = mapped.transform(signal)
            unit = mapped.unit or ("" if transform is not None else signal.unit)
        ref = SignalRef(name, index, column, transform, unit)
        named.setdefault(name, []).append(_Entry(ref, message.channel, mapped is not None))

    @property
    def _entries(self) -> dict[str, _Entry]:
        return self._listed[0]

    @property
    def _ambiguous(self) -> dict[str, tuple[str, ...]]:
        return self._listed[1]

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex([*self._entries, *self._ambiguous])

    def _info(self, name: str, entry: _Entry) -> SignalInfo:
        message = self.messages[entry.ref.message]
        signal = message.signals[entry.ref.column]
        transform = entry.ref.transform
        return SignalInfo(
            name=name,
            unit=entry.ref.unit,
            message=message.name,
            channel=message.channel or "",
            vss=entry.vss,
            minimum=signal.minimum if transform is None else None,
            maximum=signal.maximum if transform is None else None,
            choices=_choices(signal) if transform is None else dict(transform.choices),
        )


def _choices(signal: SignalDef) -> dict[int, str]:
    """Return the names of decoded values; those of a value that is no whole number are left out."""
    return {int(v): name for v, name in signal.value_names.items() if v.is_integer()}


def _without_source(name: str) -> tuple[str, int | None]:
    """Split ``Message@1C.Signal`` into ``Message.Signal`` and the source address 0x1C."""
    head, at, tail = name.partition("@")
    address, dot, signal = tail.partition(".")
    if not (at and dot) or len(address) != 2:
        return name, None
    try:
        return f"{head}.{signal}", int(address, 16)
    except ValueError:
        return name, None
