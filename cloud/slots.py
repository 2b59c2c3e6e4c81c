"""The analysts' code slots: which version is in force where, and how far each vehicle got.

A slot (analyst, side) holds a numbered *generation*: a default version and, for an A/B test, the
vehicles that get another one. Every change is a new generation, taking back included. The on-board
side is sent to all vehicles at once; the heartbeat's account of what a vehicle holds heals what got
lost. The off-board side is armed here, and what became of it stands under the name `cloud`.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias, cast

from cloud.code_change import CodeChange
from cloud.ledger import GenerationRow, Ledger, ReportRow
from cloud.registry import Registry, Vehicle
from cloud.slot import CLOUD, NOTHING, Slot
from user_lib.contract.clock import MS, Clock
from user_lib.contract.code import version_of
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import (
    CodeReport,
    CodeSlot,
    CodeState,
    PushCode,
    RemoveCode,
    Result,
    RollBack,
    RollbackCode,
    SetCode,
)
from user_lib.contract.messages.records import Side
from user_lib.contract.signed import SlotOrder

__all__ = ["Slots"]

_State: TypeAlias = Literal["pending", "offline", "armed", "refused", "rolled_back", "removed"]


_ACTIONS: Mapping[type[CodeChange], str] = {
    PushCode: "push",
    RollbackCode: "rollback",
    RemoveCode: "remove",
}


class Slots:
    """All slots, kept in the ledger; `Rejected` says why a change is not made."""

    def __init__(self, ledger: Ledger, registry: Registry, clock: Clock) -> None:
        self._ledger, self._registry, self._clock = ledger, registry, clock
        self._slots: dict[tuple[UserId, Side], Slot] = {}
        for analyst, side in ledger.code.slots():
            contents = [*ledger.code.latest(analyst, side, 2), NOTHING]
            slot = Slot(analyst, side, contents[0], contents[1])
            slot.reports = {r.vehicle_id: r for r in ledger.code.reports(analyst, side)}
            self._slots[analyst, side] = slot

    def get(self, analyst: UserId, side: Side) -> Slot:
        """Return a slot; an empty one when nothing was ever pushed."""
        return self._slots.get((analyst, side)) or Slot(analyst, side)

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
        """Put the previous content back, as a new generation; None for a repeat."""
        slot = self.get(analyst, ask.side)
        old = slot.previous
        if not self._used(slot, ask.token) and old.generation == 0:
            raise Rejected(
                f"the {ask.side} slot has no previous code to go back to", reason="no_previous"
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
        last_good = slot.content.version if slot.proven else slot.content.last_good
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
        slot.previous, slot.content = slot.content, row
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

    # --- what vehicles should hold ---------------------------------------------------------------

    def orders(self, slot: Slot) -> Iterator[tuple[SetCode, list[VehicleId]]]:
        """Yield what to send to the vehicles that are online, once for each version."""
        by_version: dict[str, list[VehicleId]] = {}
        for name, vehicle in self._registry.vehicles.items():
            if vehicle.online:
                by_version.setdefault(slot.version_for(name), []).append(name)
        for version, names in by_version.items():
            yield self._order(slot, version), names

    def stale(self, vehicle: Vehicle) -> Iterator[SetCode]:
        """Yield what a vehicle, by its own account, holds no more or not yet."""
        name = vehicle.hello.vehicle_id
        for (analyst, side), slot in self._slots.items():
            if side != "onboard":
                continue
            held = vehicle.code.get(analyst)
            generation = 0 if held is None else held.generation
            slot.saw(generation)
            if generation > slot.generation or self._settled(slot, name, generation):
                continue
            version = slot.version_for(name)
            if version or held is not None:
                yield self._order(slot, version)

    def _settled(self, slot: Slot, vehicle: VehicleId, held_generation: int) -> bool:
        """Whether the vehicle has the present generation and said what became of it.

        A report that got lost is given again when the vehicle gets the same generation again.
        """
        report = slot.report_of(vehicle)
        if report is None:
            return False
        return held_generation == slot.generation or report.state != "armed"

    def _order(self, slot: Slot, version: str) -> SetCode:
        return SetCode(
            analyst=slot.analyst,
            generation=slot.generation,
            version=version,
            source=self.source(version),
            signed=slot.content.signed,
        )

    # --- what analysts are told ------------------------------------------------------------------

    def describe(self, slot: Slot, *, brief: bool = False) -> CodeSlot:
        """Return a slot, unless ``brief`` with the state of each vehicle that has to do with it."""
        return CodeSlot(
            side=slot.side,
            generation=slot.generation,
            version=slot.content.version,
            overrides=slot.content.overrides,
            previous_version=slot.previous.version,
            next_generation=slot.next_generation,
            signed=slot.content.signed,
            previous_signed=slot.previous.signed,
            vehicles=() if brief else tuple(self._states(slot)),
        )

    def pending(self, slot: Slot) -> bool:
        """Whether a vehicle that is online has not said what became of the code.

        It is asked at every report, so the vehicles are gone through once and not each time: those
        that have answered are not looked at again until nobody is left.
        """
        unheard = slot.unheard
        while unheard and not self._is_pending(slot, unheard[-1]):
            unheard.pop()
        if not unheard:
            unheard += [v for v in self._registry.vehicles if self._is_pending(slot, v)]
        return bool(unheard)

    def _is_pending(self, slot: Slot, name: VehicleId) -> bool:
        if slot.side == "offboard" or not slot.version_for(name) or slot.report_of(name):
            return False
        return self._guess(slot, name) == "pending"

    def _states(self, slot: Slot) -> Iterator[CodeState]:
        if slot.side == "offboard":
            names = [CLOUD] if slot.generation else []
        else:
            names = sorted(self._registry.vehicles) if slot.generation else []
        for name in names:
            report = slot.report_of(name)
            if report is not None:
                yield _told(report)
            elif version := slot.version_for(name):
                yield CodeState(vehicle_id=name, version=version, state=self._guess(slot, name))

    def _guess(self, slot: Slot, name: VehicleId) -> _State:
        """Without a report of its own (it may be lost), a vehicle's heartbeat tells."""
        vehicle = self._registry.vehicles[name]
        held = vehicle.code.get(slot.analyst)
        if held is not None and (held.generation, held.version) == (
            slot.generation,
            slot.version_for(name),
        ):
            return "armed"
        return "pending" if vehicle.online else "offline"


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


def _told(report: ReportRow) -> CodeState:
    return CodeState(
        vehicle_id=report.vehicle_id,
        version=report.version,
        state=cast(_State, report.state),
        swap_ms=report.swap_ms,
        first_result_ms=report.first_result_ms,
        detail=report.detail,
    )
