"""What the analyst's code is given and what it may return."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.sandbox import Job, Outcome, RoundInput, Sandbox, run
from user_lib.contract.window import Window

Run = Callable[..., Outcome]


def test_short_form_gets_the_values_of_the_only_signal(run_code: Run) -> None:
    out = run_code("def custom(xs): return xs.sum()")

    assert (out.status, out.value, out.weight) == ("ok", 45.0, 10.0)


def test_long_form_gets_the_window_with_times_units_and_losses(sandbox: Sandbox) -> None:
    window = Window(
        {"Vehicle.Speed": np.array([1.0, 2.0]), "Brake": np.array([0.5])},
        {"Vehicle.Speed": np.array([10, 20]), "Brake": np.array([15])},
        start_ns=10,
        stop_ns=30,
        units={"Vehicle.Speed": "km/h"},
        lost_frames=7,
        away_ms=5,
        trigger_ns=12,
    )
    source = """
def custom(data, params):
    speed = data["Vehicle.Speed"]
    return [speed, data.times["Vehicle.Speed"], data["Brake"], list(data.signals), data.units,
            data.lost_frames, data.away_ms, data.trigger_ns, data.start_ns,
            data.stop_ns]
"""

    out = sandbox.run(Job(half="onboard", method="custom", source=source, window=window))

    assert out.value == [
        [1.0, 2.0],
        [10, 20],
        [0.5],
        ["Vehicle.Speed", "Brake"],
        {"Vehicle.Speed": "km/h", "Brake": ""},
        7,
        5,
        12,
        10,
        30,
    ]


def test_arrays_of_the_window_cannot_be_written(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    xs.setflags(write=True)\n    xs[0] = 1\n    return 1")

    assert out.reason == "traceback"
    assert "WRITEABLE" in out.detail


def test_params_are_items_and_attributes_beside_state_feedback_iteration_and_vehicle(
    run_code: Run,
) -> None:
    source = """
def custom(data, params):
    return [params.limit, params["limit"], params.state, params.feedback, params.iteration,
            params.vehicle, "limit" in params]
"""

    out = run_code(
        source,
        params={"limit": 3},
        state={"n": 1},
        feedback=[2.5],
        iteration=4,
        vehicle="kona-1",
    )

    assert out.value == [3, 3, {"n": 1}, [2.5], 4, "kona-1", True]


def test_a_param_that_is_not_there_names_those_that_are(run_code: Run) -> None:
    out = run_code("def custom(data, params): return params.limt", params={"limit": 3})

    assert out.reason == "traceback"
    assert "no param 'limt'; there are limit, state" in out.detail


def test_state_returns_beside_the_value(run_code: Run) -> None:
    source = """
from user_lib import Result
def custom(data, params):
    seen = (params.state or {"n": 0})["n"] + 1
    return Result(seen, {"n": seen, "last": None})
"""
    first = run_code(source)
    second = run_code(source, state=first.state)

    assert (first.value, second.value) == (1, 2)
    assert second.state == {"n": 2, "last": None}


def test_result_is_there_without_an_import(run_code: Run) -> None:
    assert run_code("def custom(xs): return Result(1, 2)").state == 2


@pytest.mark.parametrize(
    ("returned", "arrives"),
    [
        ("np.float32(1.5)", 1.5),
        ("np.int16(-3)", -3),
        ("np.bool_(True)", True),
        ("np.array([[1, 2], [3, 4]])", [[1, 2], [3, 4]]),
        ("np.array(7.0)", 7.0),
        ("np.array(['a', 'b'])", ["a", "b"]),
        ("{'a': (1, 2), 'b': [True, 'x']}", {"a": [1, 2], "b": [True, "x"]}),
        ("[]", []),
        ("2**64 - 1", 2**64 - 1),
    ],
)
def test_allowed_values_arrive_as_json(run_code: Run, returned: str, arrives: object) -> None:
    out = run_code(f"import numpy as np\ndef custom(xs): return {returned}")

    assert (out.status, out.value) == ("ok", arrives)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "value is None; does every way through the code end in a return?"),
        ("[1, None]", "value[1] is None"),
        ("{'a': [0, float('nan')]}", "value['a'][1] is nan; only finite numbers"),
        ("float('inf')", "value is inf"),
        ("{'x': np.array([[1, 2], [3, np.inf]])}", "value['x'][1, 1] is inf"),
        ("np.array(np.nan)", "is nan"),
        ("{1: 2}", "has the key 1; keys are strings"),
        ("{1, 2}", "of type set; make it a list"),
        ("1j", "of type complex"),
        ("b'x'", "of type bytes"),
        ("xs.__class__", "of type type"),
        ("2**64", "beyond 64 bits"),
        ("'\\ud800'", "lone surrogate"),
        ("np.ma.masked_equal([1, 2], 2)", "has masked values"),
        ("np.array([1j])", "value[0] is of type complex"),
        ("np.zeros(5_000_000)", "more than 4000000"),
    ],
)
def test_other_values_are_refused_by_place_and_type(
    run_code: Run, returned: str, says: str
) -> None:
    out = run_code(f"import numpy as np\ndef custom(xs): return {returned}")

    assert (out.status, out.reason) == ("error", "result")
    assert says in out.detail


def test_a_value_that_contains_itself_is_refused(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    a = []\n    a.append(a)\n    return a")

    assert (out.status, out.reason) == ("error", "result")
    assert "nested deeper" in out.detail


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def custom(xs)\n    return 1", "line 1"),
        ("x = 1", "defines no function custom"),
        ("custom = 3", "defines no function custom"),
        ("def custom(): return 1", "custom takes no argument"),
        ("", "defines no function custom"),
    ],
)
def test_a_module_that_does_not_load_says_why(run_code: Run, source: str, says: str) -> None:
    out = run_code(source)

    assert (out.status, out.reason) == ("error", "code")
    assert says in out.detail
    assert "agent/sandbox" not in out.detail


def test_short_form_refuses_several_signals(run_code: Run) -> None:
    out = run_code("def custom(xs): return 1", samples=np.zeros((3, 2)))

    assert out.reason == "code"
    assert "this window has 2; write custom(data, params)" in out.detail


def test_traceback_begins_at_the_analysts_own_line(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    print('before')\n    return 1 / 0\n")

    assert (out.status, out.reason) == ("error", "traceback")
    assert out.detail.splitlines()[1] == '  File "custom.py", line 3, in custom'
    assert "return 1 / 0" in out.detail
    assert out.prints == "before\n"


def test_prints_of_python_and_c_arrive_in_order(run_code: Run) -> None:
    source = """
import os, sys
def custom(xs):
    print("one")
    os.write(1, b"two\\n")
    print("three", file=sys.stderr)
    return 1
"""
    assert run_code(source).prints == "one\ntwo\nthree\n"


def test_offboard_code_gets_the_round_by_vehicle(sandbox: Sandbox) -> None:
    inputs = (RoundInput("a", 1.0, weight=10), RoundInput("b", 3.0, weight=30))
    source = """
def custom(data, params):
    total = sum(data.weights.values())
    return {"mean": sum(data[v] * data.weights[v] for v in data) / total, "n": len(data)}
"""
    out = sandbox.run(Job(half="offboard", method="custom", source=source, inputs=inputs))

    assert out.value == {"mean": 2.5, "n": 2}


def test_offboard_short_form_gets_the_list_of_values(sandbox: Sandbox) -> None:
    inputs = (RoundInput("a", 1.0), RoundInput("b", 3.0))

    out = sandbox.run(
        Job(
            half="offboard", method="custom", source="def custom(xs): return max(xs)", inputs=inputs
        )
    )

    assert out.value == 3.0


def test_nothing_survives_into_the_next_iteration(run_code: Run) -> None:
    source = """
import json, sys
def custom(xs):
    before = getattr(json, "mark", 0) + len([m for m in sys.modules if m == "mine"])
    json.mark = 1
    sys.modules["mine"] = json
    return before
"""
    assert [run_code(source).value for _ in range(4)] == [0, 0, 0, 0]


def test_every_worker_draws_other_random_numbers(run_code: Run) -> None:
    source = """
import random
import numpy as np
def custom(xs): return [random.random(), np.random.random(), np.random.default_rng().random()]
"""
    drawn = np.array([run_code(source).value for _ in range(3)])

    assert len(np.unique(drawn)) == drawn.size


def test_dataclasses_recursion_warnings_and_linalg_work(run_code: Run) -> None:
    source = """
import dataclasses, json, math, statistics, threading, warnings
import numpy as np

@dataclasses.dataclass
class Trip:
    km: float

def depth(n): return 0 if n == 0 else 1 + depth(n - 1)

def custom(xs):
    warnings.warn("careful")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(math.pi))
    thread.start()
    thread.join()
    a = np.random.default_rng(1).normal(size=(100, 100))
    assert np.allclose(np.linalg.inv(a) @ a, np.eye(100), atol=1e-6)
    assert np.allclose(np.fft.ifft(np.fft.fft(xs)).real, xs)
    return [Trip(2.0).km, depth(900), json.loads("[1]"), statistics.mean(xs.tolist()), answers]
"""
    out = run_code(source)

    assert out.value == [2.0, 900, [1], 4.5, [np.pi]], out.detail
    assert "careful" in out.prints


def test_windows_of_50_mb_fit_beside_the_memory_limit(run_code: Run) -> None:
    out = run_code("def custom(xs): return [len(xs), float(xs[-1])]", samples=np.arange(6.5e6))

    assert out.value == [6_500_000, 6_499_999.0]


def test_run_tries_code_on_an_array() -> None:
    out = run("def custom(xs): return xs.mean()", [1.0, 2.0, 3.0], {"wall_s": 5})

    assert (out.status, out.value) == ("ok", 2.0)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("class F(float):\n    def __float__(self): return float('nan')\nx = F(1.5)", 1.5),
        ("class I(int):\n    def __int__(self): return 10**400\nx = I(3)", 3),
        ("class S(str):\n    def __str__(self): return chr(0xD800)\nx = S('ok')", "ok"),
    ],
)
def test_a_subclass_of_a_number_or_text_travels_as_what_it_holds(
    run_code: Run, source: str, value: object
) -> None:
    out = run_code(f"{source}\ndef custom(xs): return [x]")

    assert (out.status, out.value) == ("ok", [value])


def test_a_value_of_megabytes_can_be_tried_as_a_vehicle_would_send_it() -> None:
    outcome = run("def custom(xs):\n    return 'x' * 10_000_000\n", np.ones(3))

    assert outcome.ok, outcome.detail
    assert len(outcome.value) == 10_000_000
