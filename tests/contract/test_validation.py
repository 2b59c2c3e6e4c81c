"""The grammar accepts what DESIGN writes down and names what is wrong with the rest."""

import datetime as dt
import math
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import AssignmentError, ExpressionError
from user_lib.contract.validation import check, parse

GRAMMAR = """
name: harsh-braking
vehicles: {fraction: 0.5, seed: 7}
signals: [Vehicle.Speed, Vehicle.Chassis.Brake.PedalPosition]
window: {samples: 1000}
rate_hz: 10
onboard: mean
onboard_params: {}
offboard: mean
offboard_params: {}
iterations: 10
feedback: false
until: "loss < 0.01"
start: now
duration_s: 3600
priority: 5
quorum: 0.8
deadline_s: 60
limits: {cpu_s: 2, memory_mb: 256, wall_s: 10}
"""

MINIMAL: dict[str, Any] = {
    "signals": ["Vehicle.Speed"],
    "onboard": "mean",
    "window": {"samples": 10},
}


def test_the_documented_grammar_parses() -> None:
    assignment = parse(yaml.safe_load(GRAMMAR))

    assert assignment.window.samples == 1000
    assert assignment.last_iteration == 10
    assert assignment.limits.memory_mb == 256


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"onboard": "maen"}, "onboard", "mean"),
    ({"offboard": "fedavgg"}, "offboard", "fedavg"),
    ({"window": {"sample": 3}}, "window.sample", "samples"),
    ({"window": {}}, "window", "neither"),
    ({"window": {"samples": 3, "seconds": 1}}, "window", "both"),
    ({"window": {"seconds": 60, "every": 10}}, "window.every", "overlapping"),
    ({"window": {"samples": 0}}, "window.samples", ">= 1"),
    ({"window": {"before_s": 5}}, "window", "when"),
    ({"iteration": 3}, "iteration", "iterations"),
    ({"vehicles": []}, "vehicles", "all"),
    ({"vehicles": {}}, "vehicles", "fraction"),
    ({"vehicles": {"where": "model ="}}, "vehicles.where", "parse"),
    ({"signals": []}, "signals", "at least one"),
    ({"signals": ["a", "a"]}, "signals", "twice"),
    ({"when": "Vehicle.Speed + 1"}, "when", "condition"),
    ({"when": "Vehicle.Speed > 1", "feedback": True}, "feedback", "rounds"),
    ({"when": "Vehicle.Speed > 1", "until": "loss < 1"}, "until", "rounds"),
    ({"start": "tomorrow"}, "start", "2026"),
    ({"start": "2026-05-01T08:00:00"}, "start", "time zone"),
    ({"priority": 11}, "priority", "found 11"),
    ({"quorum": 0}, "quorum", "found 0"),
    ({"feedback": "yes"}, "feedback", "'yes'"),
    ({"onboard_params": {"x": "a" * 300_000}}, "onboard_params", "bytes"),
]


@pytest.mark.parametrize(("change", "path", "says"), MISTAKES)
def test_a_mistake_is_named_with_its_path(change: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        parse({**MINIMAL, **change})

    assert caught.value.path == path
    assert says in str(caught.value)


def test_a_wrong_key_names_the_nearest() -> None:
    with pytest.raises(AssignmentError) as caught:
        parse({**MINIMAL, "signal": ["a"]})

    assert caught.value.near[0] == "signals"


@pytest.mark.parametrize(
    "when",
    [
        {"condition": "Vehicle.Speed > 100", "before_s": 5, "after_s": 2},
        "Vehicle.Speed > 100",
    ],
)
def test_a_look_back_may_stand_in_when_or_in_window(when: Any) -> None:
    window = {} if isinstance(when, dict) else {"before_s": 5, "after_s": 2}

    assignment = parse({**MINIMAL, "when": when, "window": window})

    assert assignment.look_back_s == (5, 2)
    assert not assignment.has_rounds


def test_a_mistake_in_a_custom_expression_is_an_assignment_error() -> None:
    with pytest.raises(ExpressionError):
        parse({**MINIMAL, "until": "__import__('os').system('true')"})


@given(
    st.fixed_dictionaries(
        {
            "signals": st.lists(st.text("abc.", min_size=1), min_size=1, max_size=3, unique=True),
            "onboard": st.sampled_from(["mean", "custom", "external:fft", "collect"]),
            "window": st.one_of(
                st.fixed_dictionaries({"samples": st.integers(1, 10_000)}),
                st.fixed_dictionaries({"seconds": st.floats(0.1, 100)}),
            ),
        },
        optional={
            "vehicles": st.one_of(st.just("all"), st.just(["kona-1"]), st.just({"limit": 3})),
            "iterations": st.one_of(st.just("forever"), st.integers(1, 100)),
            "rate_hz": st.floats(0.1, 100),
            "quorum": st.floats(0.1, 1),
            "feedback": st.booleans(),
            "onboard_params": st.dictionaries(
                st.text(max_size=5), st.integers(-(2**63), 2**63), max_size=3
            ),
        },
    )
)
def test_parsing_its_own_plain_form_changes_nothing(spec: dict[str, Any]) -> None:
    assignment = parse(spec)

    assert parse(assignment.to_dict()) == assignment
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(assignment), type=Assignment) == assignment


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(Assignment.__struct_fields__),
)
def test_any_value_anywhere_is_parsed_or_refused_with_a_path(value: Any, key: str) -> None:
    try:
        parse({**MINIMAL, key: value})
    except AssignmentError as error:
        assert error.path  # noqa: PT017 - both outcomes are legal


@pytest.mark.parametrize("beyond", [math.inf, 1e300])
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("deadline_s", lambda x: {"deadline_s": x}),
        ("duration_s", lambda x: {"duration_s": x}),
        ("window.seconds", lambda x: {"window": {"seconds": x}}),
        ("window.every", lambda x: {"window": {"samples": 10, "every": x}}),
        ("limits.wall_s", lambda x: {"limits": {"wall_s": x}}),
        ("limits.cpu_s", lambda x: {"limits": {"cpu_s": x}}),
        ("window.before_s", lambda x: {"when": "a > 1", "window": {"before_s": x}}),
        ("when.after_s", lambda x: {"when": {"condition": "a > 1", "after_s": x}, "window": {}}),
    ],
)
def test_a_time_beyond_what_nanoseconds_can_hold_is_refused(
    path: str, change: Any, beyond: float
) -> None:
    with pytest.raises(AssignmentError):
        parse({**MINIMAL, **change(beyond)})


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"memory_mb": 2**64}},
        {"vehicles": {"seed": 2**70, "fraction": 0.5}},
        {"rate_hz": 1e-300},
        {"name": "\ud800"},
        {"name": "a\x1b]0;pwned\x07"},
        {"name": "two\nlines"},
        {"name": "\u202eevil"},
        {"signals": ["\ud800"]},
        {"until": "x > 1 or '\ud800' == x"},
        {"onboard_params": {"x": [1.0, math.nan]}},
        {"offboard_params": {"x": {"y": math.inf}}},
    ],
)
def test_what_cannot_be_sent_or_kept_is_refused_before_it_is_sent(change: dict[str, Any]) -> None:
    with pytest.raises(AssignmentError):
        parse({**MINIMAL, **change})


def test_params_nest_only_so_deep() -> None:
    deep: Any = 0
    for _ in range(40):
        deep = [deep]

    with pytest.raises(AssignmentError, match="deeper"):
        parse({**MINIMAL, "onboard_params": {"x": deep}})


NOT_JSON: list[tuple[object, str, str]] = [
    ({None: 1}, "", "has the key None; keys are strings"),
    ({True: 1}, "", "has the key True"),
    ({1: 2}, "", "has the key 1;"),
    ({1.5: 2}, "", "has the key 1.5"),
    ({(1, 2): 1}, "", "has the key (1, 2)"),
    ({b"k": 1}, "", "has the key b'k'"),
    ([1, {"deep": [{2: 1}]}], "[1].deep[0]", "has the key 2"),
    ([0.5, b"abc"], "[1]", "b'abc' is of type bytes; allowed are numbers, strings, true"),
    ({"t": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, ".t", "is of type datetime"),
    (msgspec.msgpack.Ext(1, b""), "", "is of type Ext"),
    ({1, 2}, "", "is of type set"),
    ([[0.5], math.nan], "[1]", "nan is no number"),
]
"""What stands at ``x``, the place in it, and the words."""


@pytest.mark.parametrize("key", ["onboard_params", "offboard_params"])
@pytest.mark.parametrize(("value", "place", "words"), NOT_JSON)
def test_what_json_would_change_or_not_hold_is_refused_by_its_place(
    key: str, value: object, place: str, words: str
) -> None:
    by_hand = msgspec.structs.replace(parse(MINIMAL), **{key: {"x": value}})
    for refuse in (
        lambda: parse({**MINIMAL, key: {"x": value}}),
        lambda: parse(by_hand),
        lambda: check(by_hand),
    ):
        with pytest.raises(AssignmentError) as caught:
            refuse()

        assert caught.value.path == f"{key}.x{place}"
        assert words in str(caught.value)


def test_no_more_lists_are_looked_at_than_the_params_allowed_could_hold() -> None:
    crowded = {**MINIMAL, "onboard_params": {"x": [[] for _ in range(1000)]}}

    assert parse(crowded, params_bytes=2000).onboard_params["x"][-1] == []
    with pytest.raises(AssignmentError, match="lists and mappings to more than 500"):
        parse(crowded, params_bytes=500)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.binary(max_size=3)
        | st.floats(allow_nan=False)
        | st.text(max_size=3)
        | st.datetimes(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=4)
        ),
    )
)
def test_params_that_are_taken_come_back_from_json_as_they_were(value: Any) -> None:
    try:
        taken = parse({**MINIMAL, "onboard_params": {"x": value}})
    except AssignmentError:
        return

    kept = msgspec.json.decode(msgspec.json.encode(taken), type=Assignment)
    assert kept.onboard_params == {"x": value}


@pytest.mark.parametrize("name", ["kona-1\n", "\nkona-1"])
def test_a_name_ends_where_it_seems_to_end(name: str) -> None:
    with pytest.raises(AssignmentError):
        parse({**MINIMAL, "vehicles": [name]})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("signals", "Vehicle.Speed", "expected a list of names such as [Vehicle.Speed]"),
        ("vehicles", "car-1", "expected all, a list of ids such as [car-1]"),
        ("window", 100, "expected {samples: N} or {seconds: S}; found 100"),
        ("iterations", "10", "expected a whole number from 1 to 10000000, or forever; found '10'"),
        ("feedback", "yes", "expected true or false; found 'yes'"),
        ("signals", [1], "signals[0]: expected text; found 1"),
        ("quorum", 2, "expected a number <= 1.0; found 2"),
    ],
)
def test_a_value_of_the_wrong_kind_is_answered_with_what_may_stand_there(
    key: str, value: object, words: str
) -> None:
    with pytest.raises(AssignmentError) as caught:
        parse({**MINIMAL, key: value})

    assert words in str(caught.value)
    assert caught.value.path.startswith(key)


def test_a_key_that_is_missing_is_named_with_an_example() -> None:
    with pytest.raises(AssignmentError, match="signals: is required: a list of names such as"):
        parse({"onboard": "mean"})


def test_a_start_time_needs_no_quotes_in_yaml() -> None:
    spec = yaml.safe_load("start: 2026-05-01T08:00:00Z")

    assert parse({**MINIMAL, **spec}).start_unix_ns == 1777622400 * 10**9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"not_after": "tomorrow"}, "not a time such as"),
        ({"not_after": "2026-05-01T08:00:00"}, "has no time zone"),
        (
            {"not_after": "2026-05-01T08:00:00Z", "start": "2026-05-02T08:00:00Z"},
            "is not later than start",
        ),
    ],
)
def test_an_end_that_cannot_be_is_refused_by_its_key(changes: dict[str, str], words: str) -> None:
    plain = {"signals": ["a"], "onboard": "mean", "window": {"samples": 1}}

    with pytest.raises(AssignmentError, match=words) as caught:
        parse({**plain, **changes})

    assert caught.value.path == "not_after"


@pytest.mark.parametrize("change", [change for change, _, _ in MISTAKES])
def test_what_was_decoded_is_refused_in_the_same_words(change: dict[str, Any]) -> None:
    body = msgspec.msgpack.encode({**MINIMAL, **change})
    try:
        decoded = msgspec.msgpack.decode(body, type=Assignment)
    except msgspec.ValidationError:
        return  # its types refuse it already

    with pytest.raises(AssignmentError) as checked:
        check(decoded)
    with pytest.raises(AssignmentError) as parsed:
        parse({**MINIMAL, **change})

    assert (checked.value.path, str(checked.value)) == (parsed.value.path, str(parsed.value))


def test_a_copy_with_another_start_begins_at_that() -> None:
    early = parse({**MINIMAL, "start": "2026-05-01T08:00:00Z"})
    early_ns = early.start_unix_ns
    assert early_ns is not None

    late = msgspec.structs.replace(early, start="2026-05-01T08:00:01Z")

    assert late.start_unix_ns == early_ns + 10**9
