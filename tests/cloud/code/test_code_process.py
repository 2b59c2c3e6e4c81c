"""Custom code through the real cloud: slots, generations, A/B, roll-back, off-board code."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from user_lib.contract.code import version_of
from user_lib.contract.messages import (
    CodeStatus,
    JobChanged,
    PushCode,
    RemoveCode,
    RollbackCode,
    RoundClosed,
)
from user_lib.contract.states import JobState

Make = Callable[..., Any]
A = "def custom(data, params):\n    return 1\n"
B = "def custom(data, params):\n    return 2\n"
C = "def custom(data, params):\n    return 3\n"


def of(kind: type, items: list[Any]) -> list[Any]:
    return [i for i in items if isinstance(i, kind)]


def push(analyst: Any, source: str, side: Any = "onboard", **more: Any) -> Any:
    token = more.pop("token", f"token-{analyst.number}")
    return analyst.ask(PushCode(side=side, source=source, token=token, **more))


def states(slot: Any) -> dict[str, str]:
    return {v.vehicle_id: v.state for v in slot.vehicles}


def test_pushed_code_reaches_every_vehicle_and_both_latencies_are_reported(
    vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()

    slot = push(ada, A)
    assert (slot.generation, slot.version) == (1, version_of(A))
    assert states(slot) == {"kona-1": "pending", "leaf-1": "pending"}
    for each in (kona, leaf):
        each.until(lambda each=each: "ada" in each.code)
    job = ada.submit(onboard="custom", iterations=1).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
        each.answer(job, 1, 1, code_version=version_of(A), generation=1)
    ada.to_end(job)

    status = ada.ask(CodeStatus(wait_s=5)).onboard
    assert states(status) == {"kona-1": "armed", "leaf-1": "armed"}
    assert all(0 < v.swap_ms < v.first_result_ms for v in status.vehicles)
    assert kona.code["ada"].source == A


def test_code_status_waits_until_no_vehicle_is_pending(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    kona.reports_code = False
    push(ada, A)

    ada.post(CodeStatus(wait_s=20))
    kona.until(lambda: "ada" in kona.code)
    kona.report(kona.code["ada"], "refused", "imports os")

    (state,) = ada.reply()[1].onboard.vehicles
    assert (state.state, state.detail) == ("refused", "imports os")


def test_a_module_that_cannot_work_is_refused(vehicle: Make, analyst: Make) -> None:
    vehicle("kona-1")
    ada = analyst()

    assert push(ada, "def custom(data, params: return").reason == "bad_code"
    assert push(ada, "import os\n" + A).reason == "bad_code"
    assert push(ada, A, vehicles=("kona-2",)).near == ("kona-1",)
    assert push(ada, A, side="offboard", vehicles=("kona-1",)).reason == "invalid"
    assert ada.ask(RollbackCode(side="onboard", token="t")).reason == "no_previous"
    assert ada.ask(RemoveCode(side="onboard", token="t")).reason == "no_code"


@pytest.mark.parametrize(("side", "option"), [("onboard", ""), ("offboard", " --side offboard")])
def test_custom_without_code_is_refused_with_the_command_that_pushes_it(
    vehicle: Make, analyst: Make, side: str, option: str
) -> None:
    vehicle("kona-1")

    refused = analyst().try_submit(**{"onboard": "mean", "offboard": "mean", side: "custom"})

    assert (refused.reason, refused.path) == ("no_code", side)
    assert f"`oodida code push FILE{option}`" in refused.message


def test_the_same_token_pushes_once(vehicle: Make, analyst: Make) -> None:
    vehicle("kona-1")
    ada = analyst()

    assert push(ada, A, token="t").generation == 1
    assert push(ada, A, token="t").generation == 1
    assert push(ada, A, token="u").generation == 2


def test_rolling_back_restores_the_previous_content_as_a_new_generation(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    push(ada, A)
    push(ada, B)

    slot = ada.ask(RollbackCode(side="onboard", token="back"))
    kona.until(lambda: kona.code.get("ada") and kona.code["ada"].generation == 3)

    assert (slot.generation, slot.version, slot.previous_version) == (
        3,
        version_of(A),
        version_of(B),
    )
    assert kona.code["ada"].source == A
    removed = ada.ask(RemoveCode(side="onboard", token="gone"))
    kona.until(lambda: kona.code["ada"].generation == 4)
    assert (removed.version, kona.code["ada"].source) == ("", "")


@pytest.mark.parametrize("restarted", [False, True])
def test_rolling_back_goes_to_the_last_content_that_not_every_vehicle_rejected(
    cloud: Any, vehicle: Make, analyst: Make, restarted: bool
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    good = push(ada, A)
    kona.until(lambda: "ada" in kona.code)
    for generation, (source, state) in enumerate(((B, "rolled_back"), (C, "refused")), 2):
        push(ada, source)
        kona.until(lambda g=generation: kona.code["ada"].generation == g)
        kona.report(kona.code["ada"], state)
        kona.code["ada"] = replace(kona.code["ada"], version=good.version)  # what it runs on
        kona.until(lambda s=state: states(ada.ask(CodeStatus()).onboard)["kona-1"] == s)
    kona.until(lambda: ada.ask(CodeStatus()).onboard.vehicles[0].runs == good.version)
    if restarted:
        cloud.kill()
        cloud.restart()

    assert ada.ask(CodeStatus()).onboard.previous_version == good.version
    back = ada.ask(RollbackCode(side="onboard", token="back"))
    again = ada.ask(RollbackCode(side="onboard", token="again"))

    assert (back.generation, back.version) == (4, good.version)
    assert again.reason == "no_previous"
    assert "that was not rejected by every vehicle" in again.message


def test_a_vehicle_that_comes_later_or_lost_its_code_gets_it(vehicle: Make, analyst: Make) -> None:
    vehicle("kona-1")
    ada = analyst()
    push(ada, A)

    leaf = vehicle("leaf-1")
    leaf.until(lambda: "ada" in leaf.code)
    leaf.code.clear()
    leaf.until(lambda: "ada" in leaf.code)

    assert leaf.code["ada"].source == A


def test_a_vehicle_that_refused_a_generation_is_not_sent_it_again_and_again(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    kona.reports_code = False
    push(ada, A)
    kona.until(lambda: "ada" in kona.code)
    kona.report(kona.code.pop("ada"), "refused", "imports os")
    for _ in range(3):
        kona.beat()
        while kona.pump(0.2):
            pass

    assert "ada" not in kona.code
    assert states(ada.ask(CodeStatus()).onboard) == {"kona-1": "refused"}


def test_an_a_b_test_keeps_the_versions_apart(vehicle: Make, analyst: Make) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    push(ada, A)
    slot = push(ada, B, vehicles=("leaf-1",))
    assert slot.overrides == {"leaf-1": version_of(B)}
    kona.until(lambda: kona.code.get("ada") and kona.code["ada"].generation == 2)
    leaf.until(lambda: leaf.code.get("ada") and leaf.code["ada"].generation == 2)
    assert (kona.code["ada"].source, leaf.code["ada"].source) == (A, B)

    job = ada.submit(onboard="custom", iterations=1).assignment_id
    for each, version, value in ((kona, A, 10.0), (leaf, B, 20.0)):
        each.until(lambda each=each: job in each.tasks)
        each.answer(job, 1, value, code_version=version_of(version), generation=2)

    (closed,) = of(RoundClosed, ada.to_end(job))
    assert {g.code_version: g.value for g in closed.groups} == {
        version_of(A): 10.0,
        version_of(B): 20.0,
    }
    assert closed.not_counted == {}


def test_without_a_b_test_a_straggler_on_the_old_version_is_not_averaged(
    vehicle: Make, analyst: Make
) -> None:
    cars, ada = [vehicle(f"kona-{i}") for i in range(3)], analyst()
    push(ada, A)
    job = ada.submit(onboard="custom", iterations=1).assignment_id

    for car, source, value in zip(cars, (A, A, B), (1.0, 3.0, 100.0), strict=True):
        car.until(lambda car=car: job in car.tasks)
        car.answer(job, 1, value, code_version=version_of(source), generation=1)

    (closed,) = of(RoundClosed, ada.to_end(job))
    assert [(g.code_version, g.value) for g in closed.groups] == [(version_of(A), 2.0)]
    assert closed.not_counted == {"kona-2": version_of(B)}


OFFBOARD = """
def custom(data, params):
    count = (params.state or 0) + 1
    return Result({"sum": sum(data.values()), "count": count}, count)
"""
BROKEN = "def custom(data, params):\n    return 1 / 0\n"


def test_custom_off_board_code_keeps_its_state_and_is_named(vehicle: Make, analyst: Make) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    push(ada, OFFBOARD, side="offboard")
    job = ada.submit(offboard="custom", iterations=2).assignment_id

    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
        each.answer(job, 1, 1.0)
        each.answer(job, 2, 2.0)

    rounds = of(RoundClosed, ada.to_end(job))
    assert [r.groups[0].value for r in rounds] == [
        {"sum": 2.0, "count": 1},
        {"sum": 4.0, "count": 2},
    ]
    assert {r.offboard_version for r in rounds} == {version_of(OFFBOARD)}
    (state,) = ada.ask(CodeStatus()).offboard.vehicles
    assert (state.vehicle_id, state.state) == ("cloud", "armed")
    assert state.first_result_ms is not None


def test_off_board_code_that_fails_its_first_round_is_rolled_back(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    push(ada, OFFBOARD, side="offboard")
    job = ada.submit(offboard="custom", iterations=3).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    ada.read(job, lambda events: any(isinstance(e.item, RoundClosed) for e in events))

    push(ada, BROKEN, side="offboard")
    kona.answer(job, 2, 2.0)
    kona.answer(job, 3, 3.0)

    items = ada.to_end(job)
    rounds = of(RoundClosed, items)
    assert [r.groups[0].value["count"] for r in rounds] == [1, 2, 3]
    assert [r.offboard_version for r in rounds] == [version_of(OFFBOARD)] * 3
    (told,) = [i for i in of(JobChanged, items) if i.reason == "offboard_rolled_back"]
    assert "ZeroDivisionError" in told.detail
    (state,) = ada.ask(CodeStatus()).offboard.vehicles
    assert (state.state, state.first_result_ms) == ("rolled_back", None)
    assert "ZeroDivisionError" in state.detail


def test_off_board_code_with_nothing_to_fall_back_to_costs_its_aggregate(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    push(ada, BROKEN, side="offboard")
    job = ada.submit(offboard="custom", iterations=1).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)

    items = ada.to_end(job)
    (group,) = of(RoundClosed, items)[0].groups
    assert group.value is None
    assert "ZeroDivisionError" in group.error
    assert (items[-1].state, items[-1].reason) == (JobState.FAILED, "no_value")
    assert "ZeroDivisionError" in items[-1].detail
    (state,) = ada.ask(CodeStatus()).offboard.vehicles
    assert state.state == "armed"
    assert "ZeroDivisionError" in state.detail


def test_code_that_fails_at_once_with_nothing_to_fall_back_to_is_told_until_it_works(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    push(ada, A)
    kona.until(lambda: "ada" in kona.code)
    job = ada.submit(onboard="custom", iterations=3).assignment_id
    kona.until(lambda: job in kona.tasks)
    more = {"code_version": version_of(A), "generation": 1}

    kona.answer(job, 1, None, status="error", reason="traceback", detail="KeyError: 7", **more)
    kona.report(kona.code["ada"], "armed", "")
    kona.settle()
    (state,) = ada.ask(CodeStatus()).onboard.vehicles
    assert (state.state, state.detail) == ("armed", "traceback: KeyError: 7")

    kona.answer(job, 2, 1.0, **more)
    kona.settle()
    (state,) = ada.ask(CodeStatus()).onboard.vehicles
    assert (state.state, state.detail) == ("armed", "")
    kona.answer(job, 3, None, status="error", reason="traceback", detail="KeyError: 8", **more)
    kona.settle()
    (state,) = ada.ask(CodeStatus()).onboard.vehicles
    assert (state.state, state.detail) == ("armed", "")


def test_feedback_carries_each_round_into_the_next_until_the_criterion_holds(
    vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    push(ada, A)
    job = ada.submit(
        onboard="custom", feedback=True, iterations="forever", until="loss < 0.3 and round > 1"
    ).assignment_id

    for i, loss in enumerate((1.0, 0.5, 0.25), start=1):
        for each in (kona, leaf):
            each.until(lambda each=each, i=i: each.feedback and each.feedback[-1].iteration == i)
            assert each.feedback[-1].generation == 1
            each.answer(job, i, {"loss": loss, "w": [float(i)]}, code_version=version_of(A))

    end = ada.to_end(job)[-1]
    assert (end.state, end.reason) == (JobState.FINISHED, "until")
    assert next(f.value for f in kona.feedback if f.iteration == 1) is None
    assert next(f.value for f in kona.feedback if f.iteration == 3) == {
        "loss": 0.5,
        "w": [2.0],
    }


def test_feedback_pins_the_generation_a_round_at_a_time(vehicle: Make, analyst: Make) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    push(ada, A)
    job = ada.submit(onboard="custom", feedback=True, iterations=2).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: each.feedback)

    kona.answer(job, 1, 1.0, code_version=version_of(A))
    push(ada, B)
    leaf.feedback.clear()
    leaf.hold(job, 1, state="awaiting")
    leaf.until(lambda: leaf.feedback)
    assert (leaf.feedback[-1].iteration, leaf.feedback[-1].generation) == (1, 1)
    leaf.answer(job, 1, 1.0, code_version=version_of(A))
    kona.until(lambda: kona.feedback[-1].iteration == 2)

    assert kona.feedback[-1].generation == 2


def test_a_criterion_that_reads_a_missing_name_is_told_once(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=2, until="los < 1").assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, {"loss": 0.5})
    kona.answer(job, 2, {"loss": 0.5})

    (told,) = [i for i in of(JobChanged, ada.to_end(job)) if i.reason == "until_undefined"]
    assert told.detail == (
        "until: 'los' has no value here; it may read loss, round; as long as it cannot be told, "
        "it does not end the job"
    )
