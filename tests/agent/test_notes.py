"""What the vehicle's audit log says of a task that begins."""

import pytest

from agent import notes
from user_lib.contract.validation import parse

SPEC = {"signals": ["S"], "onboard": "mean", "window": {"samples": 5}}


@pytest.mark.parametrize(
    ("keys", "detail"),
    [
        ({}, ""),
        ({"when": "A > 5"}, "when A > 5"),
        (
            {"when": {"condition": "A > 5", "before_s": 3, "after_s": 1.5}, "window": None},
            "when A > 5, from 3 s before to 1.5 s after",
        ),
    ],
)
def test_a_trigger_is_noted_however_it_was_written(keys: dict[str, object], detail: str) -> None:
    spec = parse({k: v for k, v in {**SPEC, **keys}.items() if v is not None})

    assert notes.accepted("a" * 32, "ada", spec, "", 0).detail == detail
