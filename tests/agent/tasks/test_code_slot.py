from collections.abc import Callable

import pytest

from agent.tasks.code import (
    KEPT_VERSIONS,
    Answered,
    Awaited,
    CodeSlot,
    Exhausted,
    Gone,
    RolledBack,
    Runnable,
    Version,
    arm,
    held,
    judge,
    resolve,
)
from user_lib.contract.code import check, version_of
from user_lib.contract.errors import CodeError
from user_lib.contract.messages import SetCode

V1 = "def custom(xs):\n    return 1\n"
V2 = "def custom(xs):\n    return 2\n"
V3 = "def custom(xs):\n    return 3\n"
EMPTY = CodeSlot(analyst="ana")

MakeCode = Callable[..., SetCode]


def ran(slot: CodeSlot, generation: int, *, ok: bool) -> tuple[CodeSlot, object]:
    return judge(slot, generation, ok=ok, fault="" if ok else "traceback: ZeroDivisionError")


def running(resolution: object) -> Version:
    assert isinstance(resolution, Runnable)
    return resolution.version


@pytest.fixture
def proven(set_code: MakeCode) -> CodeSlot:
    slot, _ = ran(arm(EMPTY, set_code(1, V1), check), 1, ok=True)
    return slot


def test_a_checked_version_is_armed_and_in_force(set_code: MakeCode) -> None:
    slot = arm(EMPTY, set_code(1, V1), check)

    assert slot.to_report().state == "armed"
    assert running(resolve(slot)).source == V1
    assert held(slot).version == version_of(V1)


def test_a_version_that_fails_its_check_never_takes_over(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot = arm(proven, set_code(2, "import socket\ndef custom(xs): return 1\n"), check)

    assert slot.to_report().state == "refused"
    assert "socket" in slot.to_report().detail
    assert running(resolve(slot)).source == V1
    assert (held(slot).generation, held(slot).version) == (2, version_of(V1))


def test_a_source_that_was_damaged_on_its_way_is_refused(set_code: MakeCode) -> None:
    slot = arm(
        EMPTY, SetCode(analyst="ana", generation=1, version=version_of(V2), source=V1), check
    )

    assert slot.report == "refused"
    assert "push it again" in slot.report_detail


def test_a_generation_is_handled_once(proven: CodeSlot, set_code: MakeCode) -> None:
    assert arm(proven, set_code(1, V2), check) is proven
    assert arm(arm(proven, set_code(3, V3), check), set_code(2, V2), check).in_force.source == V3  # type: ignore[union-attr]


def test_a_version_that_fails_its_first_iteration_is_rolled_back(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot, verdict = ran(arm(proven, set_code(2, V2), check), 2, ok=False)

    assert isinstance(verdict, RolledBack)
    assert verdict.to == 1
    assert "ZeroDivisionError" in verdict.failed.detail
    assert slot.to_report().state == "rolled_back"
    assert running(resolve(slot)).source == V1


def test_a_later_failure_of_a_good_version_is_an_answer(proven: CodeSlot) -> None:
    slot, verdict = ran(proven, 1, ok=False)

    assert slot is proven
    assert verdict == Answered()


def test_with_nothing_good_left_the_version_stays_and_the_task_ends(set_code: MakeCode) -> None:
    slot, verdict = ran(arm(EMPTY, set_code(1, V1), check), 1, ok=False)

    assert isinstance(verdict, Exhausted)
    assert running(resolve(slot)).source == V1


def test_a_failure_of_the_sandbox_says_nothing_about_the_version(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot = arm(proven, set_code(2, V2), check)

    assert judge(slot, 2, ok=False, fault="") == (slot, Answered())


def test_a_roll_back_skips_versions_that_never_proved_themselves(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot = arm(arm(proven, set_code(2, V2), check), set_code(3, V3), check)

    slot, verdict = ran(slot, 3, ok=False)

    assert isinstance(verdict, RolledBack)
    assert running(resolve(slot)).generation == 1


def test_a_second_task_that_ran_the_same_bad_version_gets_the_good_one_too(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot, _ = ran(arm(proven, set_code(2, V2), check), 2, ok=False)

    again, verdict = ran(slot, 2, ok=False)

    assert isinstance(verdict, RolledBack)
    assert again is slot


def test_a_late_success_does_not_bring_a_rolled_back_version_back(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot, _ = ran(arm(proven, set_code(2, V2), check), 2, ok=False)

    slot, verdict = ran(slot, 2, ok=True)

    assert verdict == Answered()
    assert running(resolve(slot)).generation == 1


def test_pushing_a_good_version_again_needs_no_proof(proven: CodeSlot, set_code: MakeCode) -> None:
    slot = arm(arm(proven, set_code(2, V2), check), set_code(3, V1), check)

    assert running(resolve(slot)).proven


def test_a_pinned_generation_is_run_though_a_newer_one_is_there(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot = arm(proven, set_code(2, V2), check)

    assert running(resolve(slot, 1)).source == V1
    assert running(resolve(slot, 2)).source == V2


def test_a_pinned_generation_that_has_not_arrived_is_waited_for(proven: CodeSlot) -> None:
    found = resolve(proven, 5)

    assert isinstance(found, Awaited)
    assert "generation 5" in found.detail


def test_a_pinned_generation_that_may_not_run_is_replaced_and_named(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot, _ = ran(arm(proven, set_code(2, V2), check), 2, ok=False)

    found = resolve(slot, 2)

    assert isinstance(found, Runnable)
    assert found.version.generation == 1
    assert found.instead_of is not None
    assert found.instead_of.failed_version == version_of(V2)


def test_without_any_code_it_is_waited_for() -> None:
    assert isinstance(resolve(None), Awaited)


def test_removed_code_is_gone(proven: CodeSlot, set_code: MakeCode) -> None:
    slot = arm(proven, set_code(2, ""), check)

    assert slot.to_report().state == "removed"
    assert isinstance(resolve(slot), Gone)
    assert isinstance(resolve(slot, 1), Gone)


def test_refused_code_with_nothing_before_it_is_gone_and_says_why(set_code: MakeCode) -> None:
    found = resolve(arm(EMPTY, set_code(1, "x = 1"), check))

    assert isinstance(found, Gone)
    assert "custom" in found.detail


def test_a_slot_is_bounded_but_keeps_what_it_would_fall_back_to(
    proven: CodeSlot, set_code: MakeCode
) -> None:
    slot = proven
    for generation in range(2, 40):
        slot = arm(slot, set_code(generation, V2 + f"# {generation}\n"), check)

    assert len(slot.versions) == KEPT_VERSIONS + 1
    assert slot.good is not None
    assert slot.good.generation == 1
    assert isinstance(resolve(slot, 3), Gone)


def test_the_owners_refusal_is_reported(set_code: MakeCode) -> None:
    def refuse(source: str) -> None:
        raise CodeError("the owner accepts no custom code")

    assert "owner" in arm(EMPTY, set_code(1, V1), refuse).to_report().detail
