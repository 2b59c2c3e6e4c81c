from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.policy import Policy, changes

GPS = {"rule": "gps", "match": ["Vehicle.CurrentLocation.*"], "may": "nothing"}
ADA = {"rule": "ada-only", "who": ["ada"]}


def rules(**written: Any) -> Policy:
    return msgspec.convert(written, Policy)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"signals": [GPS]}, ["signal rule gps added:", "Vehicle.CurrentLocation.*"]),
        ({"signals": [GPS]}, {}, ["signal rule gps removed"]),
        (
            {"signals": [GPS]},
            {"signals": [{**GPS, "may": "aggregates", "except": ["Vehicle.Speed"]}]},
            ["signal rule gps changed: ", "may aggregates, was nothing", "except"],
        ),
        ({}, {"methods": ["mean", "custom"]}, ['methods ["mean","custom"], was not set']),
        ({"methods": ["mean"]}, {}, ['methods not set, was ["mean"]']),
        ({"otherwise": "nothing"}, {}, ["otherwise raw, was nothing"]),
        ({}, {"budget": {"mb_per_day": 3}}, ["budget", "mb_per_day", "was {}"]),
        ({}, {"analysts": [ADA]}, ["analyst rule ada-only added", "orders of the analysts named"]),
        ({"analysts": [ADA]}, {}, ["ada-only removed", "orders of every trusted analyst"]),
    ],
)
def test_what_an_owner_changed_is_told_by_rule(
    before: dict[str, Any], after: dict[str, Any], told: list[str]
) -> None:
    words = "\n".join(changes(rules(**before), rules(**after)))

    for part in told:
        assert part in words


def test_the_order_of_rules_is_no_change() -> None:
    other = {"rule": "speed", "match": ["Vehicle.Speed"], "may": "raw"}

    assert changes(rules(signals=[GPS, other]), rules(signals=[other, GPS])) == ()


NAMES = st.sampled_from(["a", "b", "c"])
SIGNAL_RULES = st.lists(
    st.fixed_dictionaries(
        {
            "rule": NAMES,
            "match": st.just(["Vehicle.*"]),
            "may": st.sampled_from(["raw", "nothing", "aggregates"]),
        }
    ),
    unique_by=lambda rule: rule["rule"],
)
POLICIES = st.fixed_dictionaries(
    {"signals": SIGNAL_RULES},
    optional={
        "accepts_custom": st.booleans(),
        "methods": st.lists(st.sampled_from(["mean", "custom"]), unique=True),
        "max_tasks": st.integers(1, 9),
        "analysts": st.lists(st.just(ADA), max_size=1),
    },
)


@given(POLICIES, POLICIES)
def test_nothing_is_told_exactly_when_nothing_changed(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    def sorted_rules(written: dict[str, Any]) -> Policy:
        ordered = sorted(written["signals"], key=lambda rule: str(rule["rule"]))
        return rules(**{**written, "signals": ordered})

    same = sorted_rules(before) == sorted_rules(after)

    assert (changes(rules(**before), rules(**after)) == ()) == same
