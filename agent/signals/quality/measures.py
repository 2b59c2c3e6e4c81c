"""What can be said of a message's frames as such, as signals: ``@message.NAME.gap_ms`` and more.

=================== ==== ===================================================================
``count``                1: sums up to the number of frames
``gap_ms``          ms   time since the frame before
``jitter_ms``       ms   that, less the cycle time in the database; below 0: too early
``counter_errors``       how many of the message's counters did not count on by one
``checksum_errors``      how many of its checksums are wrong
=================== ==== ===================================================================

Each has a sample at each frame, which tells of that frame alone: so they come from whatever part of
the history is at hand, and sum up. What needs the frame before has no sample at the first one that
is kept. `jitter_ms` is there if the database gives a cycle time, the errors if it marks a counter
or a checksum. Frames of a J1939 message are compared with those of the same source address.

Two channels may have a message of one name: then ``channel:`` goes before the ``@``. Of a J1939
message ``@message.NAME@SA.gap_ms`` takes one source address.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dbc import Catalog, MessageDef
from dbc.guards import checksum_columns, counter_columns
from dbc.model import NO_IDENTIFIER
from user_lib.contract.errors import UnknownSignal, nearest
from user_lib.contract.messages import SignalInfo

__all__ = ["Measure", "QualityNames", "names_of_measure"]

_NAME = re.compile(
    r"(?:(?P<channel>[^@]*):)?@message\.(?P<message>[^@]+)"
    r"(?:@(?P<source>[0-9A-Fa-f]{2}))?\.(?P<kind>[^.]*)"
)
_UNITS = {"gap_ms": "ms", "jitter_ms": "ms"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A signal that is measured at the frames of a message; ``source``: of that address only."""

    name: str
    unit: str
    message: int
    kind: str
    source: int | None = None


def _kinds(message: MessageDef) -> Iterator[str]:
    """Yield what can be measured of a message."""
    yield "count"
    yield "gap_ms"
    if message.cycle_time_ms:
        yield "jitter_ms"
    if counter_columns(message):
        yield "counter_errors"
    if checksum_columns(message):
        yield "checksum_errors"


def names_of_measure(message: MessageDef, kind: str) -> set[str]:
    """Return the names by which a measure of all of a message's frames goes."""
    plain = f"@message.{message.name}.{kind}"
    return {plain, f"{message.channel}:{plain}"}


class QualityNames:
    """The measures of a catalog's messages, by name."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @cached_property
    def _by_name(self) -> dict[str, dict[str, int]]:
        """Where each message is, by its name and then its channel."""
        found: dict[str, dict[str, int]] = {}
        for index, message in enumerate(self._catalog.messages):
            if message.can_id != NO_IDENTIFIER:
                found.setdefault(message.name, {})[message.channel or ""] = index
        return found

    def resolve(self, name: str) -> Measure | None:
        """Return the measure of that name; None, if the name is none of a measure.

        Raises: UnknownSignal, with the nearest names.
        """
        parts = _NAME.fullmatch(name)
        if parts is None:
            return None
        channels = self._by_name.get(parts["message"], {})
        if parts["channel"] is not None:
            channels = {c: m for c, m in channels.items() if c == parts["channel"]}
        if len(channels) != 1:
            raise UnknownSignal(name, near=self._near(parts["message"], parts["kind"]))
        (index,) = channels.values()
        message, kind = self._catalog.messages[index], parts["kind"]
        source = None if parts["source"] is None else int(parts["source"], 16)
        if kind not in _kinds(message) or (source is not None and not message.j1939):
            prefix = (
                name[: parts.start("source") - 1] if source is not None else name.rpartition(".")[0]
            )
            offered = tuple(f"{prefix}.{known}" for known in _kinds(message))
            raise UnknownSignal(name, near=nearest(name, offered) or offered[:3])
        return Measure(name, _UNITS.get(kind, ""), index, kind, source)

    def _near(self, message: str, kind: str) -> tuple[str, ...]:
        known = [message] if message in self._by_name else nearest(message, self._by_name)
        return tuple(
            f"{self._prefix(name, channel)}@message.{name}.{kind}"
            for name in known
            for channel in self._by_name[name]
        )

    def _prefix(self, name: str, channel: str) -> str:
        return f"{channel}:" if len(self._by_name[name]) > 1 else ""

    def describe(self) -> Iterator[SignalInfo]:
        """Describe every measure, each message's one after the other."""
        for name, channels in self._by_name.items():
            for channel, index in channels.items():
                prefix = self._prefix(name, channel)
                for kind in _kinds(self._catalog.messages[index]):
                    yield SignalInfo(
                        name=f"{prefix}@message.{name}.{kind}",
                        unit=_UNITS.get(kind, ""),
                        message=name,
                        channel=channel,
                    )
