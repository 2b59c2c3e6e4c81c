"""The tasks' view of the signals: subscriptions that leave their news in the inbox, and aliases."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from agent.signals.hub import SignalHub, Subscription
from agent.signals.names import Derived, Direct, SignalNames, leaves_of
from agent.signals.quality.measures import Measure, names_of_measure
from agent.signals.subscription import Delivery, SourceOver, SubscriptionFailed, WindowReady
from agent.tasks.ports import Arrived, News, RanDry
from agent.tasks.task import DataOver
from dbc import Catalog, MessageDef
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import OodidaError

__all__ = ["Aliases", "Gathering", "aliases_of"]

Aliases: TypeAlias = Callable[[str], tuple[frozenset[str], ...]]


class Gathering:
    """Wraps the hub; see `agent.tasks.ports.Signals`."""

    def __init__(self, hub: SignalHub) -> None:
        self._hub = hub
        self._named: SignalNames = hub.names
        self._aliases: Aliases = aliases_of(hub.names)

    def check(self, assignment: Assignment) -> None:
        """Refuse what this vehicle cannot gather, as `SignalHub.check`."""
        self._hub.check(assignment)

    def aliases(self, name: str) -> tuple[frozenset[str], ...]:
        """Return all names of each signal that a name stands for: see `aliases_of`."""
        if self._named is not self._hub.names:  # other databases were loaded
            self._named = self._hub.names
            self._aliases = aliases_of(self._named)
        return self._aliases(name)

    def subscribe(
        self, assignment: Assignment, token: int, post: Callable[[News], None]
    ) -> Subscription:
        """Follow an assignment's signals; what comes of it is posted with ``token``."""

        def deliver(delivery: Delivery) -> None:
            post(_news(token, delivery))

        return self._hub.subscribe(assignment, deliver)


def aliases_of(names: SignalNames) -> Aliases:
    """Return what looks up all names of each signal that a name stands for, its own among each.

    A derived signal stands for all that it is computed of. What is measured of a message's frames
    stands for every signal in them: it tells when they were sent, or reads them.
    """
    special = _special_names(names)

    def aliases(name: str) -> tuple[frozenset[str], ...]:
        found: list[frozenset[str]] = []
        for part in leaves_of(names.resolve(name)):
            message = names.catalog.messages[part.message]
            own = {name, part.name}
            columns: Iterable[int] = range(len(message.signals))
            if isinstance(part, Measure):
                own |= names_of_measure(message, part.kind)
            else:
                columns = (part.column,)
                own |= _by_source(message, part)
            for c in columns:
                usual = _usual_names(names.catalog, part.message, c)
                found.append(frozenset(own | special.get((part.message, c), usual)))
        return tuple(found)

    return aliases


def _news(token: int, delivery: Delivery) -> News:
    match delivery:
        case WindowReady(window):
            return Arrived(token, window)
        case SourceOver(reason):
            return RanDry(token, DataOver("source_over", reason, by_itself=True))
        case SubscriptionFailed(error):
            words = str(error) if isinstance(error, OodidaError) else repr(error)
            return RanDry(token, DataOver("signals", words, by_itself=False))


def _usual_names(catalog: Catalog, index: int, column: int) -> set[str]:
    message = catalog.messages[index]
    plain = f"{message.name}.{message.signals[column].name}"
    return {plain, f"{message.channel}:{plain}"}


def _special_names(names: SignalNames) -> dict[tuple[int, int], set[str]]:
    """Return the names of those columns that have others than the usual ones, such as VSS paths.

    One that cannot be asked for, since a derived signal took its name, has none.
    """
    catalog, found = names.catalog, dict[tuple[int, int], set[str]]()
    for info in catalog.signals():
        ref = catalog.resolve(info.name)
        place, usual = (ref.message, ref.column), _usual_names(catalog, ref.message, ref.column)
        if isinstance(names.resolve(info.name), Derived):
            found.setdefault(place, set())
        elif info.name not in usual:
            found.setdefault(place, set()).update(usual, {info.name})
    return found


def _by_source(message: MessageDef, part: Direct) -> set[str]:
    """Return the names that take one J1939 source address of what is asked for, or each of them."""
    if not message.j1939:
        return set()
    column = message.signals[part.column].name
    addresses = range(256) if part.source is None else (part.source,)
    spelled = (f"{a:{form}}" for a in addresses for form in ("02X", "02x"))
    return {f"{message.name}@{address}.{column}" for address in spelled}
