"""What an owner's rules refuse before a task begins, and which rule the analyst reads."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.policy import (
    Analyst,
    AnalystRule,
    Held,
    Policy,
    Refusal,
    admit,
    cap,
    check_code,
)
from user_lib.contract.assignment import Assignment, Limits
from user_lib.contract.errors import CodeError, ConfigError
from user_lib.wire.config import convert_config

MakeSpec = Callable[..., Assignment]
ADA = Analyst("ada", ("0123456789abcdef",))
NAMES = {
    "Vehicle.Speed": (frozenset({"Vehicle.Speed", "ENGINE.VehSpd"}),),
    "Vehicle.Power": (
        frozenset({"Vehicle.Power", "BATTERY.Voltage"}),
        frozenset({"Vehicle.Power", "BATTERY.Current"}),
    ),
}


def aliases(name: str) -> tuple[frozenset[str], ...]:
    return NAMES.get(name, (frozenset({name}),))


def ask(policy: Policy, spec: Assignment, who: Analyst = ADA, held: int = 0) -> Refusal | None:
    return admit(policy, who, spec, aliases, Held(held, held))


def rules(*signals: dict[str, Any], **more: Any) -> Policy:
    return convert_config({"signals": signals, **more}, Policy, where="policy")


def test_by_default_everything_is_allowed(spec: MakeSpec) -> None:
    assert ask(Policy(), spec(onboard="custom", when="Vehicle.Speed > 1")) is None


@pytest.mark.parametrize("pattern", ["Vehicle.Speed", "Vehicle.*", "ENGINE.Veh*"])
def test_a_forbidden_signal_is_refused_by_whichever_name(spec: MakeSpec, pattern: str) -> None:
    refusal = ask(Policy(forbidden_signals=(pattern,)), spec(signals=["Other", "Vehicle.Speed"]))

    assert refusal is not None
    assert (refusal.reason, refusal.path) == ("signal_forbidden", "signals[1]")
    assert refusal.rule == "forbidden_signals"
    assert "rule forbidden_signals" in refusal.detail


def test_a_derived_signal_needs_the_right_on_all_that_it_is_made_of(spec: MakeSpec) -> None:
    policy = rules({"rule": "no-current", "match": ["BATTERY.Current"], "may": "nothing"})

    refusal = ask(policy, spec(signals=["Vehicle.Power"]))

    assert refusal is not None
    assert refusal.rule == "no-current"
    assert ask(policy, spec(signals=["BATTERY.Voltage"])) is None


def test_an_exception_holds_for_what_it_names_alone(spec: MakeSpec) -> None:
    policy = rules(
        {"rule": "r", "match": ["BATTERY.*"], "except": ["BATTERY.Voltage"], "may": "nothing"}
    )

    assert ask(policy, spec(signals=["BATTERY.Voltage"])) is None
    assert ask(policy, spec(signals=["Vehicle.Power"])) is not None


def test_the_strictest_rule_holds_in_any_order(spec: MakeSpec) -> None:
    loose = {"rule": "loose", "match": ["Vehicle.*"], "may": "raw"}
    strict = {"rule": "strict", "match": ["ENGINE.*"], "may": "nothing"}

    for policy in (rules(loose, strict), rules(strict, loose)):
        refusal = ask(policy, spec())
        assert refusal is not None
        assert refusal.rule == "strict"


def test_what_no_rule_names_is_otherwise(spec: MakeSpec) -> None:
    policy = rules({"rule": "speed", "match": ["Vehicle.*"], "may": "raw"}, otherwise="nothing")

    assert ask(policy, spec()) is None
    refusal = ask(policy, spec(signals=["Other"]))
    assert refusal is not None
    assert refusal.rule == "otherwise"


@pytest.mark.parametrize("onboard", ["custom", "external:x", "min", "median", "collect"])
def test_a_method_that_can_tell_single_values_needs_the_raw_right(
    spec: MakeSpec, onboard: str
) -> None:
    policy = rules({"rule": "sums", "match": ["*"], "may": "aggregates", "at_least": 10})

    refusal = ask(policy, spec(onboard=onboard))

    assert refusal is not None
    assert (refusal.reason, refusal.rule) == ("raw_forbidden", "sums")
    assert "mean" in refusal.detail
    assert ask(policy, spec(onboard="mean")) is None


def test_a_trigger_needs_the_raw_right_to_what_it_reads(spec: MakeSpec) -> None:
    policy = rules({"rule": "sums", "match": ["Hidden"], "may": "aggregates"})

    refusal = ask(policy, spec(when="Hidden > 3"))

    assert refusal is not None
    assert (refusal.rule, refusal.path) == ("sums", "when")


def test_a_window_that_counts_too_few_samples_is_refused_at_once(spec: MakeSpec) -> None:
    policy = rules({"rule": "sums", "match": ["*"], "may": "aggregates", "at_least": 50})

    refusal = ask(policy, spec(window={"samples": 49}))

    assert refusal is not None
    assert (refusal.reason, refusal.path) == ("too_few_samples", "window.samples")
    assert "50" in refusal.detail
    assert ask(policy, spec(window={"samples": 50})) is None


def test_a_signal_rule_can_be_for_some_analysts(spec: MakeSpec) -> None:
    policy = rules(
        {"rule": "sums", "match": ["*"], "may": "nothing", "except_analysts": ["ada"]},
        {"rule": "of-bo", "match": ["*"], "may": "nothing", "analysts": ["bo"]},
    )

    assert ask(policy, spec()) is None
    refusal = ask(policy, spec(), Analyst("bo"))
    assert refusal is not None
    assert refusal.rule in ("sums", "of-bo")


@pytest.mark.parametrize("who", ["ada", "a*", "key:0123456789abcdef"])
def test_analysts_are_named_by_name_or_key(spec: MakeSpec, who: str) -> None:
    policy = Policy(analysts=(AnalystRule(rule="research", who=(who,), methods=("mean",)),))

    assert ask(policy, spec()) is None
    refusal = ask(policy, spec(onboard="max"))
    assert refusal is not None
    assert (refusal.reason, refusal.rule) == ("method_forbidden", "research")
    stranger = ask(policy, spec(), Analyst("bo", ("f" * 16,)))
    assert stranger is not None
    assert (stranger.reason, stranger.rule) == ("analyst_forbidden", "analysts")


def test_methods_can_be_limited_to_patterns(spec: MakeSpec) -> None:
    policy = Policy(methods=("mean", "external:*"))

    assert ask(policy, spec(onboard="external:x")) is None
    refusal = ask(policy, spec(onboard="max"))
    assert refusal is not None
    assert (refusal.reason, refusal.path, refusal.rule) == (
        "method_forbidden",
        "onboard",
        "methods",
    )


def test_custom_code_can_be_declined(spec: MakeSpec) -> None:
    for policy, rule in (
        (Policy(accepts_custom=False), "accepts_custom"),
        (Policy(analysts=(AnalystRule(rule="r", who=("*",), accepts_custom=False),)), "r"),
        (Policy(methods=("mean",)), "methods"),
    ):
        refusal = ask(policy, spec(onboard="custom"))
        assert refusal is not None
        assert refusal.rule == rule
        with pytest.raises(CodeError, match=f"rule {rule}"):
            check_code(policy, ADA, "def custom(xs): return 1")


def test_the_owners_list_of_imports_replaces_the_platforms() -> None:
    code = "import {}\ndef custom(xs): return 1\n"
    policy = Policy(imports=("scipy",))

    check_code(policy, ADA, code.format("scipy"))
    with pytest.raises(CodeError, match="numpy"):
        check_code(policy, ADA, code.format("numpy"))
    check_code(Policy(), ADA, code.format("numpy"))


def test_the_number_of_tasks_is_bounded_of_all_and_of_each(spec: MakeSpec) -> None:
    refusal = ask(Policy(max_tasks=3), spec(), held=3)
    assert refusal is not None
    assert (refusal.reason, refusal.rule) == ("too_many_tasks", "max_tasks")

    own = Policy(analysts=(AnalystRule(rule="few", who=("ada",), max_tasks=2),))
    refusal = ask(own, spec(), held=2)
    assert refusal is not None
    assert refusal.rule == "few"


def test_limits_are_capped_not_refused() -> None:
    policy = Policy(
        limits=Limits(cpu_s=1.0, memory_mb=128, wall_s=5.0),
        analysts=(AnalystRule(rule="r", who=("*",), limits=Limits(cpu_s=9, wall_s=3.0)),),
    )

    assert cap(policy, ADA, Limits(cpu_s=9.0, memory_mb=64, wall_s=9.0)) == Limits(
        cpu_s=1.0, memory_mb=64, wall_s=3.0
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"signals": [{"rule": "r", "mach": ["*"], "may": "raw"}]}, "did you mean match"),
        ({"signals": [{"rule": "r", "match": ["*"], "may": "agregates"}]}, "aggregates"),
        ({"signals": [{"rule": "r", "match": ["*"], "may": "aggregates", "at_least": 2}]}, "5"),
        ({"budget": {"mb_a_day": 3}}, "did you mean mb_per_day"),
        ({"analysts": [{"rule": "r", "who": []}]}, "who"),
    ],
)
def test_a_mistake_in_the_rules_names_the_key_and_what_may_stand_there(
    wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        convert_config(wrong, Policy, where="policy.yaml")
