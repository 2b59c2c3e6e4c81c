"""Why an assignment ended badly, in words for its analyst."""

from collections.abc import Mapping

from cloud.rounds.model import Closing, Rounds
from user_lib.contract.ids import VehicleId

__all__ = ["failures", "shortfall"]

MAX_REASONS = 10
MAX_VEHICLES = 10


def shortfall(state: Rounds, closing: Closing) -> str:
    """Say how far a round stayed below its quorum, and who is missing."""
    answered = closing.members - len(closing.missing)
    deadline_s = state.rules.deadline_ns / 1e9
    return (
        f"round {closing.number}: {answered} of {closing.members} vehicles answered within "
        f"{deadline_s:g} s, the quorum is {state.rules.quorum:g}; missing: "
        f"{', '.join(closing.missing[:20])}"
    )


def failures(by_vehicle: Mapping[VehicleId, str]) -> str:
    """Say each reason once, with the vehicles that gave it."""
    vehicles: dict[str, list[VehicleId]] = {}
    for vehicle, reason in by_vehicle.items():
        vehicles.setdefault(reason, []).append(vehicle)
    said = [f"{_some(sorted(v))}: {reason}" for reason, v in list(vehicles.items())[:MAX_REASONS]]
    more = len(vehicles) - len(said)
    return "; ".join(said) + (f"; and {more} other reasons" if more > 0 else "")


def _some(vehicles: list[VehicleId]) -> str:
    more = len(vehicles) - MAX_VEHICLES
    return ", ".join(vehicles[:MAX_VEHICLES]) + (f" and {more} more" if more > 0 else "")
