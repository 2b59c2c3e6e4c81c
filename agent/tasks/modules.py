"""The code slots of all analysts on this vehicle, and the reports that the cloud is still owed."""

from collections.abc import Iterable

from agent.tasks.code import CodeSlot, held
from user_lib.contract.ids import UserId
from user_lib.contract.messages import CodeReport, ModuleHeld

__all__ = ["Modules"]


class Modules:
    """Owned by the main loop's thread. A report may be lost on its way; each link begins anew."""

    def __init__(self, slots: Iterable[CodeSlot]) -> None:
        self._slots = {slot.analyst: slot for slot in slots}
        self._owed: dict[UserId, CodeReport] = {}
        self._on_hold: frozenset[UserId] = frozenset()
        self.report_all()

    def get(self, analyst: UserId) -> CodeSlot | None:
        """Return an analyst's slot; None before any code arrived."""
        return self._slots.get(analyst)

    @property
    def slots(self) -> tuple[CodeSlot, ...]:
        """All of them."""
        return tuple(self._slots.values())

    def put(self, slot: CodeSlot) -> None:
        """Let a slot be in force, now that it is durable, and owe its report when that is new."""
        before = self._slots.get(slot.analyst)
        self._slots[slot.analyst] = slot
        if before is None or before.to_report() != slot.to_report():
            self.report(slot.analyst)

    def report(self, analyst: UserId) -> None:
        """Owe the cloud this analyst's report (again)."""
        slot = self._slots.get(analyst)
        if slot is not None and slot.generation:
            self._owed[analyst] = slot.to_report()

    def report_all(self) -> None:
        """Owe the cloud every report: a new link knows none."""
        for analyst in self._slots:
            self.report(analyst)

    def refuse(self, report: CodeReport) -> None:
        """Owe the cloud the report of an order that was not even looked at."""
        self._owed[report.analyst] = report

    def owed(self) -> tuple[CodeReport, ...]:
        """Return the reports that were not sent yet."""
        return tuple(r for analyst, r in self._owed.items() if analyst not in self._on_hold)

    def hold(self, analysts: Iterable[UserId]) -> None:
        """Report nothing of these for now, of all others again."""
        self._on_hold = frozenset(analysts)

    def sent(self, report: CodeReport) -> None:
        """Note that a report is on its way."""
        if self._owed.get(report.analyst) == report:
            del self._owed[report.analyst]

    def held(self) -> tuple[ModuleHeld, ...]:
        """Return what a heartbeat tells."""
        return tuple(held(slot) for slot in self._slots.values() if slot.generation)
