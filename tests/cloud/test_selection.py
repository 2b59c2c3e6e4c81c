"""Which vehicles an assignment selects, and what is said when it selects none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.registry import Vehicle
from cloud.selection import check_methods, select
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import Rejected
from user_lib.contract.messages import Hello
from user_lib.contract.validation import parse


def fleet_of(count: int, **hello: Any) -> dict[str, Vehicle]:
    return {f"v{i:03}": vehicle(f"v{i:03}", **hello) for i in range(count)}


def vehicle(name: str, *, online: bool = True, **hello: Any) -> Vehicle:
    fields: dict[str, Any] = {"epoch": "e", "agent_version": "1.0", "dbc_hash": "d", **hello}
    return Vehicle(Hello(vehicle_id=name, **fields), 0, peer=b"p" if online else None)


def spec_of(**more: Any) -> Assignment:
    return parse({"signals": ["S"], "onboard": "mean", "window": {"samples": 1}, **more})


def test_all_takes_every_known_vehicle_online_or_not() -> None:
    fleet = {"a": vehicle("a"), "b": vehicle("b", online=False)}

    assert select(spec_of(), fleet) == ("a", "b")


@given(
    size=st.integers(1, 60),
    fraction=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
    newcomers=st.integers(0, 5),
)
def test_a_fraction_is_as_large_as_asked_and_the_seed_decides_it(
    size: int, fraction: float, seed: int, newcomers: int
) -> None:
    fleet = fleet_of(size)
    spec = spec_of(vehicles={"fraction": fraction, "seed": seed})

    chosen = select(spec, fleet)

    assert abs(len(chosen) - fraction * size) <= 0.5 or len(chosen) == 1
    assert chosen
    assert select(spec, dict(reversed(fleet.items()))) == chosen


def test_other_seeds_choose_other_vehicles() -> None:
    fleet = fleet_of(50)
    chosen = {select(spec_of(vehicles={"fraction": 0.5, "seed": s}), fleet) for s in range(5)}

    assert len(chosen) == 5


def test_a_limit_prefers_vehicles_that_are_online() -> None:
    fleet = {f"v{i}": vehicle(f"v{i}", online=i in (3, 7)) for i in range(10)}

    assert select(spec_of(vehicles={"limit": 2}), fleet) == ("v3", "v7")
    assert len(select(spec_of(vehicles={"limit": 100}), fleet)) == 10


def test_where_reads_the_vehicles_own_facts_and_tags() -> None:
    fleet = {
        "a": vehicle("a", model="kona", agent_version="1.10", tags={"depot": "oslo"}),
        "b": vehicle("b", model="kona", agent_version="1.9"),
        "c": vehicle("c", model="leaf", agent_version="2.0", tags={"depot": "bergen"}),
    }

    assert select(spec_of(vehicles={"where": "model == 'kona'"}), fleet) == ("a", "b")
    where = {"where": "agent >= '1.10' and vehicle != 'c'"}
    assert select(spec_of(vehicles=where), fleet) == ("a",)
    assert select(spec_of(vehicles={"where": "depot == 'oslo'"}), fleet) == ("a",)


def test_a_tag_that_no_vehicle_has_is_refused_with_the_nearest() -> None:
    fleet = {"a": vehicle("a", tags={"depot": "oslo"})}

    with pytest.raises(Rejected) as caught:
        select(spec_of(vehicles={"where": "depo == 'oslo'"}), fleet)

    assert (caught.value.path, caught.value.near[0]) == ("vehicles.where", "depot")


def test_a_condition_that_no_vehicle_fits_is_refused() -> None:
    with pytest.raises(Rejected, match="none of the 3 known vehicles fits") as caught:
        select(spec_of(vehicles={"where": "model == 'tesla'"}), fleet_of(3))

    assert caught.value.reason == "no_vehicle"


def test_an_external_method_must_exist_on_one_of_the_vehicles() -> None:
    fleet = {"a": vehicle("a", external_methods=("fft",)), "b": vehicle("b")}
    spec = spec_of(onboard="external:fft")

    check_methods(spec, ("a", "b"), fleet)
    with pytest.raises(Rejected, match="they have none"):
        check_methods(spec, ("b",), fleet)
