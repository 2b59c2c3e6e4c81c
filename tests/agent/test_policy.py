from collections.abc import Callable

import pytest

from agent.policy import Policy, admit, cap, check_code
from user_lib.contract.assignment import Assignment, Limits
from user_lib.contract.errors import CodeError

MakeSpec = Callable[..., Assignment]
SPEED = frozenset({"Vehicle.Speed", "ENGINE.VehSpd"})


def test_by_default_everything_is_allowed(spec: MakeSpec) -> None:
    assert admit(Policy(), spec(onboard="custom"), [SPEED], tasks_held=0) is None


@pytest.mark.parametrize("pattern", ["Vehicle.Speed", "Vehicle.*", "ENGINE.Veh*"])
def test_a_forbidden_signal_is_refused_by_whichever_name(spec: MakeSpec, pattern: str) -> None:
    policy = Policy(forbidden_signals=(pattern,))

    refusal = admit(policy, spec(), [frozenset({"Other"}), SPEED], tasks_held=0)

    assert refusal is not None
    assert (refusal.reason, refusal.path) == ("signal_forbidden", "signals")
    assert pattern in refusal.detail


def test_methods_can_be_limited_to_patterns(spec: MakeSpec) -> None:
    policy = Policy(methods=("mean", "external:*"))

    assert admit(policy, spec(onboard="external:x"), [], tasks_held=0) is None
    refusal = admit(policy, spec(onboard="max"), [], tasks_held=0)
    assert refusal is not None
    assert (refusal.reason, refusal.path) == ("method_forbidden", "onboard")


def test_custom_code_can_be_declined(spec: MakeSpec) -> None:
    policy = Policy(accepts_custom=False)

    refusal = admit(policy, spec(onboard="custom"), [], tasks_held=0)

    assert refusal is not None
    assert refusal.reason == "custom_forbidden"
    with pytest.raises(CodeError, match="owner of this vehicle"):
        check_code(policy, "def custom(xs): return 1")


def test_the_owners_list_of_imports_replaces_the_platforms() -> None:
    code = "import {}\ndef custom(xs): return 1\n"
    policy = Policy(imports=("scipy",))

    check_code(policy, code.format("scipy"))
    with pytest.raises(CodeError, match="numpy"):
        check_code(policy, code.format("numpy"))
    check_code(Policy(), code.format("numpy"))


def test_the_number_of_tasks_is_bounded(spec: MakeSpec) -> None:
    refusal = admit(Policy(max_tasks=3), spec(), [], tasks_held=3)

    assert refusal is not None
    assert refusal.reason == "too_many_tasks"


def test_limits_are_capped_not_refused() -> None:
    policy = Policy(limits=Limits(cpu_s=1.0, memory_mb=128, wall_s=5.0))

    assert cap(policy, Limits(cpu_s=9.0, memory_mb=64, wall_s=9.0)) == Limits(
        cpu_s=1.0, memory_mb=64, wall_s=5.0
    )
