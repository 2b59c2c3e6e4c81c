"""Which vehicles an assignment goes to: decided once, among those known when it is submitted."""

from collections.abc import Collection, Mapping

from cloud.registry import Vehicle
from user_lib.contract.assignment import SELECTABLE, Assignment, Selector
from user_lib.contract.digest import sha256
from user_lib.contract.errors import ExpressionError, Rejected, nearest
from user_lib.contract.expressions import Expression, parse_condition
from user_lib.contract.ids import VehicleId

__all__ = ["check_known", "check_methods", "select"]


def select(spec: Assignment, fleet: Mapping[VehicleId, Vehicle]) -> tuple[VehicleId, ...]:
    """Return the ids of the vehicles that an assignment selects, sorted.

    ``all`` means every vehicle ever seen, online or not. A ``fraction`` (rounded, at least one)
    takes vehicles in an order that only the seed and their ids decide, so the same seed picks the
    same ones; ``limit`` prefers those that are online.

    Raises: Rejected, naming what is unknown or why nothing is left.
    """
    if isinstance(spec.vehicles, tuple):
        check_known(spec.vehicles, fleet, path="vehicles")
        return tuple(sorted(set(spec.vehicles)))
    if not fleet:
        raise Rejected(
            "no vehicle has ever connected to this cloud; start an agent first",
            reason="no_vehicle",
            path="vehicles",
        )
    if isinstance(spec.vehicles, Selector):
        return tuple(sorted(_selected(spec.vehicles, fleet)))
    return tuple(sorted(fleet))


def check_known(names: Collection[VehicleId], fleet: Collection[VehicleId], *, path: str) -> None:
    """Refuse vehicles that were never seen. Raises: Rejected, with the nearest names."""
    for name in names:
        if name not in fleet:
            near = nearest(name, fleet)
            listed = "`oodida vehicles` or fleet.vehicles() lists them"
            hint = f"did you mean {' or '.join(near)}?" if near else listed
            raise Rejected(
                f"no vehicle {name!r} is known; {hint}",
                reason="unknown_vehicle",
                path=path,
                near=near,
            )


def check_methods(
    spec: Assignment, vehicles: Collection[VehicleId], fleet: Mapping[VehicleId, Vehicle]
) -> None:
    """Refuse an external method that none of the vehicles has.

    Raises: Rejected, with the nearest names.
    """
    kind, _, name = spec.onboard.partition(":")
    if kind != "external":
        return
    there = {m for v in vehicles for m in fleet[v].hello.external_methods}
    if name not in there:
        near = tuple(f"external:{n}" for n in nearest(name, there))
        has = f"they have {', '.join(sorted(there))}" if there else "they have none"
        raise Rejected(
            f"none of the {len(vehicles)} selected vehicles has an external method {name!r}; {has}",
            reason="no_method",
            path="onboard",
            near=near,
        )


def _selected(selector: Selector, fleet: Mapping[VehicleId, Vehicle]) -> list[VehicleId]:
    names = list(fleet)
    if selector.where is not None:
        names = _where(selector.where, fleet)
    names.sort(key=lambda name: _draw(selector.seed, name))
    if selector.fraction is not None:
        names = names[: max(1, round(selector.fraction * len(names)))]
    if selector.limit is not None:
        names.sort(key=lambda name: not fleet[name].online)
        names = names[: selector.limit]
    return names


def _where(text: str, fleet: Mapping[VehicleId, Vehicle]) -> list[VehicleId]:
    condition = parse_condition(text, path="vehicles.where")
    facts = {name: _facts(vehicle) for name, vehicle in fleet.items()}
    _check_names(condition, facts)
    found = [name for name, known in facts.items() if _holds(condition, known)]
    if not found:
        raise Rejected(
            f"none of the {len(fleet)} known vehicles fits {text!r}",
            reason="no_vehicle",
            path="vehicles.where",
        )
    return found


def _check_names(condition: Expression, facts: Mapping[VehicleId, Mapping[str, str]]) -> None:
    """Refuse a name that no vehicle has; a vehicle without a tag just does not fit."""
    known = {key for each in facts.values() for key in each}
    for name in condition.names:
        if name not in known:
            near = nearest(name, known)
            raise Rejected(
                f"no vehicle has a tag {name!r}; there are {', '.join(sorted(known))}",
                reason="invalid",
                path="vehicles.where",
                near=near,
            )


def _holds(condition: Expression, facts: Mapping[str, str]) -> bool:
    try:
        return condition.holds(facts)
    except ExpressionError:
        return False


def _facts(vehicle: Vehicle) -> dict[str, str]:
    h = vehicle.hello
    own = (h.vehicle_id, h.model, h.agent_version, h.profile, h.epoch)
    return {**h.tags, **dict(zip(SELECTABLE, own, strict=True))}


def _draw(seed: int, name: VehicleId) -> bytes:
    return sha256(f"{seed}:{name}".encode())
