"""The tasks' view of the signals: subscriptions that leave their news in the inbox, and aliases."""

from collections.abc import Callable

from agent.signals.hub import SignalHub, Subscription
from agent.signals.names import Direct, SignalNames, leaves_of
from agent.signals.quality import names_of_measure
from agent.signals.subscription import Delivery, SourceOver, SubscriptionFailed, WindowReady
from agent.tasks.ports import Arrived, News, RanDry
from agent.tasks.task import DataOver
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import OodidaError

__all__ = ["Gathering"]


class Gathering:
    """Wraps the hub; see `agent.tasks.ports.Signals`."""

    def __init__(self, hub: SignalHub) -> None:
        self._hub = hub
        self._named: SignalNames | None = None
        self._names_of: dict[tuple[int, int], set[str]] = {}

    def check(self, assignment: Assignment) -> None:
        """Refuse what this vehicle cannot gather, as `SignalHub.check`."""
        self._hub.check(assignment)

    def aliases(self, name: str) -> frozenset[str]:
        """Return all names of a signal and of what it is derived from."""
        if self._named is not self._hub.names:  # other databases were loaded
            self._named = self._hub.names
            self._names_of = _by_column(self._named)
        found = {name}
        for part in leaves_of(self._hub.names.resolve(name)):
            found.add(part.name)
            if isinstance(part, Direct):
                found |= self._names_of.get((part.message, part.column), set())
            else:
                message = self._hub.names.catalog.messages[part.message]
                found |= names_of_measure(message, part.kind)
        return frozenset(found)

    def subscribe(
        self, assignment: Assignment, token: int, post: Callable[[News], None]
    ) -> Subscription:
        """Follow an assignment's signals; what comes of it is posted with ``token``."""

        def deliver(delivery: Delivery) -> None:
            post(_news(token, delivery))

        return self._hub.subscribe(assignment, deliver)


def _news(token: int, delivery: Delivery) -> News:
    match delivery:
        case WindowReady(window):
            return Arrived(token, window)
        case SourceOver(reason):
            return RanDry(token, DataOver("source_over", reason, by_itself=True))
        case SubscriptionFailed(error):
            words = str(error) if isinstance(error, OodidaError) else repr(error)
            return RanDry(token, DataOver("signals", words, by_itself=False))


def _by_column(names: SignalNames) -> dict[tuple[int, int], set[str]]:
    """Return the names of every column: by VSS path, and by message and signal."""
    found: dict[tuple[int, int], set[str]] = {}
    for info in names.describe():
        signal = names.resolve(info.name)
        if not isinstance(signal, Direct):
            continue
        message = names.catalog.messages[signal.message]
        plain = f"{message.name}.{message.signals[signal.column].name}"
        found.setdefault((signal.message, signal.column), set()).update({info.name, plain})
    return found
