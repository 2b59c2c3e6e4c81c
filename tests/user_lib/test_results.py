from typing import Any

import pytest

from user_lib.contract.messages import Group, RollBack
from user_lib.contract.states import RoundState
from user_lib.results import Round, VehicleResult

A, B = "a" * 64, "b" * 64


def test_a_round_reads_as_a_sentence(make: Any) -> None:
    message = make.round_closed(3, {"Vehicle.Speed": 61.25})

    assert repr(Round(message)) == "round 3 complete 2/2: Vehicle.Speed 61.25"


def test_a_round_names_who_is_missing_failed_or_ran_another_version(make: Any) -> None:
    message = make.round_closed(
        1,
        1.0,
        state=RoundState.SHORT,
        missing=("c",),
        failed={"d": "memory"},
        not_counted={"e": B},
        lost_frames=7,
        away_ms=12_340,
    )

    assert repr(Round(message)) == (
        "round 1 short 2/5: 1 (failed: d; missing: c; another version: e; 7 frames lost; "
        "interfaces away 12.3 s)"
    )


def test_aggregates_of_two_versions_stand_side_by_side(make: Any) -> None:
    groups = (
        Group(code_version=A, vehicles=("v1", "v2"), value=1.0),
        Group(code_version=B, vehicles=("v3",), error="it raised"),
    )
    round_ = Round(make.round_closed(1, None, groups=groups))

    assert round_.value == 1.0
    assert repr(round_) == (
        "round 1 complete 3/3: code aaaaaaaa (2): 1 | code bbbbbbbb (1): no value, it raised"
    )


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("10 s are over", "10 s are over"),
        ('Traceback:\n  File "x", line 1\n    f(\nKeyError: 3\n', "KeyError: 3"),
        (
            '  File "x", line 1\n    f(\n     ^\nSyntaxError: never closed',
            "SyntaxError: never closed",
        ),
        ("T:\n  File\nValueError: one\ntwo\n", "ValueError: one two"),
        ("T:\n  File\nValueError: one\n  two", "ValueError: one two"),
        (
            "memory limit 64 MB reached\nTraceback (most recent call last):\n  File\nMemoryError\n",
            "memory limit 64 MB reached; MemoryError",
        ),
    ],
)
def test_of_a_traceback_the_exception_is_shown(make: Any, detail: str, said: str) -> None:
    result = VehicleResult(make.result("v1", 1, None, status="error", reason="x", detail=detail))

    silent = VehicleResult(make.result("v1", 1, None, status="killed", reason="wall"))

    assert silent.error_in_short == "wall"
    assert result.error_in_short == f"x: {said}"
    assert repr(result) == f"v1 iteration 1: failed, x: {said}"


def test_a_result_says_what_failed_and_what_was_lost(make: Any) -> None:
    bad = make.result("v1", 2, None, status="killed", reason="wall", detail="10 s are over")
    good = make.result(
        "v1", 3, 5, code_version=A, lost_frames=2, away_ms=40, late=True,
        rolled_back=RollBack(failed_version=B, detail="x"),
    )  # fmt: skip

    assert repr(VehicleResult(bad)) == "v1 iteration 2: failed, wall: 10 s are over"
    assert repr(VehicleResult(good)) == (
        "v1 iteration 3: 5 (code aaaaaaaa; 2 frames lost; interface away 40 ms; late; "
        "rolled back to the last good code)"
    )
