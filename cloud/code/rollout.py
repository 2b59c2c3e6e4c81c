"""From a slot to the vehicles: who should hold what, who does, who has yet to answer.

A change is sent to all vehicles at once; the heartbeat's account of what a vehicle holds heals what
got lost.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias, cast

from cloud.code.slot import CLOUD, REJECTED, Slot
from cloud.code.slots import Slots
from cloud.ledger import ReportRow
from cloud.registry import Registry, Vehicle
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import CodeSlot, CodeState, SetCode

__all__ = ["Rollout"]

_State: TypeAlias = Literal["pending", "offline", "armed", "refused", "rolled_back", "removed"]


class Rollout:
    """What the vehicles hold of the slots' contents, as they say themselves."""

    def __init__(self, slots: Slots, registry: Registry) -> None:
        self._slots, self._registry = slots, registry

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
        for slot in self._slots.onboard():
            held = vehicle.code.get(slot.analyst)
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
            source=self._slots.source(version),
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
                yield _told(report, self._runs(slot, report))
            elif version := slot.version_for(name):
                yield CodeState(vehicle_id=name, version=version, state=self._guess(slot, name))

    def _runs(self, slot: Slot, report: ReportRow) -> str:
        """Return what runs in place of a version that was rejected; empty where nobody has said."""
        if report.state not in REJECTED:
            return ""
        if slot.side == "offboard":
            return slot.offboard_version
        held = self._registry.vehicles[report.vehicle_id].code.get(slot.analyst)
        told = held is not None and held.generation == slot.generation
        return held.version if held and told and held.version != report.version else ""

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


def _told(report: ReportRow, runs: str) -> CodeState:
    return CodeState(
        vehicle_id=report.vehicle_id,
        version=report.version,
        state=cast(_State, report.state),
        swap_ms=report.swap_ms,
        first_result_ms=report.first_result_ms,
        detail=report.detail,
        runs=runs,
    )
