"""A change of a code slot as its analyst reads it."""

from user_lib.code_slots import CodeUpdate
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
