"""What an assignment says of itself, and the schema of all of them."""

import json
from typing import Any

from user_lib.contract.assignment import json_schema
from user_lib.contract.validation import parse

MINIMAL: dict[str, Any] = {
    "signals": ["Vehicle.Speed"],
    "onboard": "mean",
    "window": {"samples": 10},
}


def test_defaults_are_left_out_of_the_plain_form() -> None:
    plain = parse(MINIMAL).to_dict()

    assert plain == {
        "signals": ("Vehicle.Speed",),
        "onboard": "mean",
        "window": {"samples": 10},
    }


def test_a_start_time_is_read_to_the_microsecond() -> None:
    start = parse({**MINIMAL, "start": "1970-01-01T01:00:01.000002+01:00"}).start_unix_ns

    assert start == 1_000_002_000


def test_the_schema_is_json_and_refuses_unknown_keys() -> None:
    schema = json.loads(json.dumps(json_schema()))

    assert schema["$defs"]["Assignment"]["additionalProperties"] is False
