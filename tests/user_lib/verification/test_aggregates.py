"""Which results a round must count, by the code versions that the vehicles say they ran."""

from typing import Any

import pytest
from msgspec.structs import replace

from user_lib.contract.assignment import Assignment
from user_lib.contract.messages import Group
from user_lib.contract.validation import parse
from user_lib.verification.aggregates import Aggregates

OLD, NEW = "a" * 64, "b" * 64
VERSIONS = {"compact-1": NEW, "wagon-1": NEW, "wagon-2": OLD}


def group(version: str, *vehicles: str) -> Group:
    value, weight = {"Vehicle.Speed": 60.0}, 100.0 * len(vehicles)
    return Group(code_version=version, vehicles=vehicles, value=value, weight=weight)


BOTH_NEW, ONE_OLD = group(NEW, "compact-1", "wagon-1"), group(OLD, "wagon-2")


@pytest.fixture
def heard(make: Any) -> Aggregates:
    heard = Aggregates()
    for vehicle, version in VERSIONS.items():
        heard.hear(make.result(vehicle, 1, {"Vehicle.Speed": 60.0}, code_version=version))
    return heard


@pytest.fixture
def spec(make: Any) -> Assignment:
    return parse({**make.spec, "onboard": "custom", "offboard": "mean"})


@pytest.mark.parametrize(
    ("groups", "not_counted", "same"),
    [
        ((BOTH_NEW, ONE_OLD), {}, 2),
        ((BOTH_NEW,), {"wagon-2": OLD}, 1),
    ],
)
def test_a_version_has_a_group_or_is_that_of_fewer_vehicles(
    heard: Aggregates, spec: Assignment, make: Any, groups: Any, not_counted: Any, same: int
) -> None:
    heard.hear(make.round_closed(1, None, groups=groups, not_counted=not_counted))

    assert list(heard.problems(spec, "iterations")) == []
    assert heard.same == same


@pytest.mark.parametrize("offboard", ["mean", "custom"])
@pytest.mark.parametrize(
    ("groups", "not_counted", "said"),
    [
        ((ONE_OLD,), {"compact-1": NEW, "wagon-1": NEW}, "not the code version of the most"),
        ((BOTH_NEW,), {}, "wagon-2 were in time and are left out"),
        ((BOTH_NEW,), {"wagon-2": NEW}, "wagon-2 were in time and are left out"),
        ((group(NEW, "compact-1"), ONE_OLD), {"wagon-1": NEW}, "wagon-1 were in time"),
        ((BOTH_NEW, group(OLD, "wagon-1", "wagon-2")), {}, "wagon-1 counted more than once"),
        ((), {}, "are left out"),
    ],
)
def test_the_places_of_results_are_checked_whatever_the_method(
    heard: Aggregates,
    spec: Assignment,
    make: Any,
    groups: Any,
    not_counted: Any,
    said: str,
    offboard: str,
) -> None:
    heard.hear(make.round_closed(1, None, groups=groups, not_counted=not_counted))

    assert said in " ".join(heard.problems(replace(spec, offboard=offboard), "iterations"))


def test_a_job_without_rounds_has_none(heard: Aggregates, spec: Assignment, make: Any) -> None:
    stream = replace(spec, when="Vehicle.Speed > 10")
    assert list(heard.problems(stream, "iterations")) == []

    heard.hear(make.round_closed(1, None, groups=(BOTH_NEW,)))
    assert list(heard.problems(stream, "iterations")) == ["rounds are told of a job that has none"]
