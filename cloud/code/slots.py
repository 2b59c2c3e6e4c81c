"""The analysts' code slots: which version is in force, and what became of it where.

A slot (analyst, side) holds a numbered *generation*: a default version and, for an A/B test, the
vehicles that get another one. Every change is a new generation, taking back included. The off-board
side is armed here, and what became of it stands under the name `cloud`; the on-board side goes to
the vehicles (`cloud.code.rollout`).
"""

from collections.abc import Iterator, Mapping

from cloud.code.slot import CLOUD, CodeChange, Slot, previous_of
from cloud.ledger import GenerationRow, Ledger, ReportRow
from user_lib.contract.clock import MS, Clock
from user_lib.contract.code import version_of
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import (
    CodeReport,
    PushCode,
    RemoveCode,
    Result,
    RollBack,
    RollbackCode,
)
from user_lib.contract.messages.records import Side
from user_lib.contract.signed import SlotOrder

__all__ = ["Slots"]

_LOOKED_AT = 32
"""Among so many contents the one is looked for that taking back a change goes to."""
_ACTIONS: Mapping[type[CodeChange], str] = {
    PushCode: "push",
    RollbackCode: "rollback",
    RemoveCode: "remove",
}


class Slots:
    """All slots, kept in the ledger; `Rejected` says why a change is not made."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._slots: dict[tuple[UserId, Side], Slot] = {}
        for analyst, side in ledger.code.slots():
            contents = ledger.code.latest(analyst, side, _LOOKED_AT)
            slot = Slot(analyst, side, contents[0], previous_of(side, contents))
            slot.reports = {r.vehicle_id: r for r in ledger.code.reports(analyst, side)}
            self._slots[analyst, side] = slot

    def get(self, analyst: UserId, side: Side) -> Slot:
        """Return a slot; an empty one when nothing was ever pushed."""
        return self._slots.get((analyst, side)) or Slot(analyst, side)

    def onboard(self) -> Iterator[Slot]:
        """Return the on-board slot of everybody who ever pushed code for one."""
        return (slot for (_, side), slot in self._slots.items() if side == "onboard")

    def analysts(self) -> set[UserId]:
        """Return everybody who ever pushed code."""
        return {analyst for analyst, _ in self._slots}

    def source(self, version: str) -> str:
        """Return the source of a version; empty for no version."""
        return (self._ledger.code.source(version) or "") if version else ""

    # --- changes ---------------------------------------------------------------------------------

    def push(self, analyst: UserId, ask: PushCode, order: SlotOrder | None) -> Slot | None:
        """Put a module in a slot; None when this token was used before.

        ``order`` is the content that the analyst signed, which must be what comes of it here.
        """
        slot = self.get(analyst, ask.side)
        version = version_of(ask.source)
        self._ledger.code.put_source(analyst, version, ask.source, self._clock.unix_ns())
        overrides: dict[VehicleId, str] = {}
        default = version
        if ask.vehicles is not None:
            default = slot.content.version
            overrides = {**slot.content.overrides, **dict.fromkeys(ask.vehicles, version)}
        return self._change(slot, ask, order, default, overrides)

    def rollback(self, analyst: UserId, ask: RollbackCode, order: SlotOrder | None) -> Slot | None:
        """Put back what worked before, as a new generation; None for a repeat."""
        slot = self.get(analyst, ask.side)
        old = slot.previous
        if not self._used(slot, ask.token) and old.generation == 0:
            raise Rejected(
                f"the {ask.side} slot has no previous code to go back to"
                + (" that was not rejected by every vehicle" if slot.content.last_good else ""),
                reason="no_previous",
            )
        return self._change(slot, ask, order, old.version, old.overrides)

    def remove(self, analyst: UserId, ask: RemoveCode, order: SlotOrder | None) -> Slot | None:
        """Empty a slot; None for a repeat."""
        slot = self.get(analyst, ask.side)
        if not self._used(slot, ask.token) and slot.empty:
            raise Rejected(f"the {ask.side} slot is empty already", reason="no_code")
        return self._change(slot, ask, order, "", {})

    def _used(self, slot: Slot, token: str) -> bool:
        return self._ledger.code.by_token(slot.analyst, slot.side, token) is not None

    def _change(
        self,
        slot: Slot,
        ask: CodeChange,
        order: SlotOrder | None,
        version: str,
        overrides: dict[VehicleId, str],
    ) -> Slot | None:
        if self._used(slot, ask.token):
            return None
        if order is not None:
            _check_same(order, slot.next_generation, version, overrides)
        last_good = slot.content.version if slot.good else slot.content.last_good
        row = GenerationRow(
            generation=slot.next_generation,
            action=_ACTIONS[type(ask)],
            version=version,
            overrides=overrides,
            token=ask.token,
            created_ns=self._clock.unix_ns(),
            last_good=last_good,
            signed=ask.signed,
        )
        self._ledger.code.add(slot.analyst, slot.side, row)
        self._slots[slot.analyst, slot.side] = slot
        slot.content = row
        contents = self._ledger.code.latest(slot.analyst, slot.side, _LOOKED_AT)
        slot.previous = previous_of(slot.side, contents)
        slot.pushed_ns = self._clock.monotonic_ns()
        if slot.side == "offboard":
            state = "armed" if version else "removed"
            self._put(slot, ReportRow(CLOUD, row.generation, version, state, swap_ms=0.0))
        return slot

    # --- what becomes of them --------------------------------------------------------------------

    def reported(self, vehicle: VehicleId, report: CodeReport) -> Slot | None:
        """Keep what a vehicle says of a generation; None when it is not about the present one."""
        slot = self.get(report.analyst, "onboard")
        if report.generation != slot.generation:
            return None
        known = slot.report_of(vehicle)
        said = report.detail
        if known is not None and known.state == report.state:
            said = said or known.detail  # a report that is given again takes back no failure
        row = ReportRow(
            vehicle,
            report.generation,
            report.version,
            report.state,
            said,
            known.swap_ms if known is not None else self._since_push_ms(slot),
            known.first_result_ms if known is not None else None,
        )
        self._put(slot, row)
        return slot

    def produced(self, analyst: UserId, result: Result) -> Slot | None:
        """Note the first result of the present generation on a vehicle, or that it failed there."""
        slot = self._slots.get((analyst, "onboard"))
        if slot is None:
            return None
        back = result.rolled_back
        if back is not None and back.failed_version == slot.version_for(result.vehicle_id):
            self._failed_there(slot, result.vehicle_id, back)
            return slot
        if result.generation != slot.generation:
            return None
        row = slot.report_of(result.vehicle_id)
        if row is None:
            row = ReportRow(result.vehicle_id, slot.generation, result.code_version, "armed")
        if row.first_result_ms is not None or row.version != result.code_version:
            return None
        if result.status == "ok":
            row.first_result_ms, row.detail = self._since_push_ms(slot), ""
        elif not row.detail:
            row.detail = f"{result.reason or result.status}: {result.detail}"
        else:
            return None
        self._put(slot, row)
        return slot

    def _failed_there(self, slot: Slot, vehicle: VehicleId, back: RollBack) -> None:
        """A result says durably what a report, which may be lost, should have said."""
        row = slot.report_of(vehicle) or ReportRow(vehicle, slot.generation, "", "")
        row.version, row.state, row.detail = back.failed_version, "rolled_back", back.detail
        self._put(slot, row)

    def proved(self, slot: Slot, generation: int) -> None:
        """The off-board version of a generation produced its first value."""
        row = slot.report_of(CLOUD)
        if row is None or row.generation != generation or slot.proven or row.state != "armed":
            return  # what ran after a rollback was the last good version
        row.first_result_ms, row.detail = self._since_push_ms(slot) or 0.0, ""
        self._put(slot, row)

    def failed(self, slot: Slot, generation: int, detail: str, *, fell_back: bool) -> None:
        """The first work of an off-board version failed; ``fell_back``: the last good one ran."""
        row = slot.report_of(CLOUD)
        if row is None or row.generation != generation or slot.proven or row.detail:
            return
        row.state, row.detail = "rolled_back" if fell_back else row.state, detail
        self._put(slot, row)

    def forget(self, vehicle: VehicleId) -> None:
        """A vehicle began a new life: it holds no code."""
        self._ledger.code.forget_reports(vehicle)
        for slot in self._slots.values():
            slot.reports.pop(vehicle, None)

    def _put(self, slot: Slot, row: ReportRow) -> None:
        slot.reports[row.vehicle_id] = row
        self._ledger.code.put_report(slot.analyst, slot.side, row)

    def _since_push_ms(self, slot: Slot) -> float | None:
        if slot.pushed_ns is None:
            return None
        return (self._clock.monotonic_ns() - slot.pushed_ns) / MS


def _check_same(
    order: SlotOrder, generation: int, version: str, overrides: Mapping[VehicleId, str]
) -> None:
    """Refuse a change that was signed for another state of the slot than it is in.

    Raises: Rejected.
    """
    if (order.generation, order.version, order.overrides) != (generation, version, overrides):
        raise Rejected(
            f"the slot was changed meanwhile: signed was generation {order.generation}, due is "
            f"{generation}; look at the slot and change it again",
            reason="stale_generation",
        )
