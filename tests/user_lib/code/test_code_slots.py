"""A change of a code slot as its analyst reads it."""

from user_lib.code.slots import CodeOverview, CodeUpdate
from user_lib.contract.messages import CodeSlot, CodeState


def test_the_table_and_the_percentiles_count_from_the_same_moment() -> None:
    state = CodeState(vehicle_id="a", version="1" * 64, state="armed", swap_ms=10.0)
    slot = CodeSlot(side="onboard", version="1" * 64, generation=1, vehicles=(state,))

    text = repr(CodeUpdate(slot, call_ms=5.0))

    assert "armed  15.0 ms" in text
    assert "within 15.0 ms (p50), 15.0 ms (p99)" in text


def test_an_emptied_slot_does_not_say_that_vehicles_have_yet_to_arm_it() -> None:
    slot = CodeSlot(side="onboard", version="", generation=2)

    assert repr(CodeUpdate(slot, call_ms=1.0)) == "onboard slot: empty"


def test_a_traceback_takes_one_line_of_the_table() -> None:
    detail = "traceback: Traceback (most recent call last):\n  ...\nZeroDivisionError: by zero\n"
    state = CodeState(vehicle_id="a", version="1" * 64, state="rolled_back", detail=detail)
    slot = CodeSlot(side="onboard", version="1" * 64, generation=1, vehicles=(state,))
    update = CodeUpdate(slot, call_ms=1.0)

    assert "ZeroDivisionError: by zero" in repr(update)
    assert "Traceback" not in repr(update)
    assert update.refused == {"a": detail}


def test_the_table_tells_a_version_that_is_in_force_but_fails_from_one_that_works() -> None:
    fails = CodeState(vehicle_id="a", version="1" * 64, state="armed", detail="KeyError: 7\n")
    back = CodeState(
        vehicle_id="b", version="1" * 64, state="rolled_back", detail="KeyError: 8", runs="2" * 64
    )
    slot = CodeSlot(side="onboard", version="1" * 64, generation=1, vehicles=(fails, back))

    empty = CodeSlot(side="offboard", version="", generation=0)

    a, b = repr(CodeOverview(slot, empty)).splitlines()[2:4]

    assert ("armed, fails" in a, "KeyError: 7" in a) == (True, True)
    assert ("rolled back, runs 2222222" in b, "KeyError: 8" in b) == (True, True)
