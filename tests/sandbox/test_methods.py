"""The built-in methods: what they compute on a window, and that merging equals one big machine."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sandbox import Job, ParamsError, RoundInput, Sandbox, check_params, describe
from agent.sandbox.methods import registry, sketch
from agent.sandbox.methods.method import MethodOutput, Prior
from agent.sandbox.trial import PERIOD_NS, window_of
from user_lib.contract.assignment import OFFBOARD_METHODS, ONBOARD_METHODS
from user_lib.contract.window import Window

MS = 1_000_000


def window(period_ns: int = 100 * MS, start_ns: int = 0, **signals: Sequence[float]) -> Window:
    arrays = {name: np.asarray(values, np.float64) for name, values in signals.items()}
    return Window(
        arrays,
        {n: start_ns + period_ns * np.arange(len(a), dtype=np.int64) for n, a in arrays.items()},
        start_ns,
        start_ns + period_ns * max(map(len, arrays.values()), default=0),
    )


def compute(name: str, given: Window, prior: Prior | None = None, **params: Any) -> MethodOutput:
    method = registry.onboard(name)
    return method.compute(given, method.check(params), prior or Prior())


def merged(name: str, outputs: Mapping[str, MethodOutput]) -> Any:
    inputs = [RoundInput(v, o.value, o.weight, o.partial) for v, o in outputs.items()]
    return registry.merge("merge", inputs, {}, name)


def offboard(name: str, *values: Any, weights: Sequence[float] = ()) -> Any:
    inputs = [
        RoundInput(f"v{i}", value, weights[i] if weights else 1.0) for i, value in enumerate(values)
    ]
    return registry.merge(name, inputs, {}, "custom")


def test_registry_holds_what_the_grammar_names() -> None:
    assert tuple(sorted(registry.ONBOARD)) == tuple(sorted(ONBOARD_METHODS))
    assert tuple(sorted(registry.OFFBOARD)) == tuple(sorted(OFFBOARD_METHODS))


def test_every_method_is_described() -> None:
    described = {(d.half, d.name): d for d in describe()}

    assert len(described) == len(ONBOARD_METHODS) + len(OFFBOARD_METHODS)
    assert all(d.doc for d in described.values())
    assert "q (numbers, default [0.25, 0.5, 0.75])" in described["onboard", "quantiles"].params[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("count", 4), ("sum", 10.0), ("mean", 2.5), ("min", 1.0), ("max", 4.0), ("median", 2.5),
     ("std", math.sqrt(1.25))],
)  # fmt: skip
def test_statistics_ignore_gaps(name: str, expected: float) -> None:
    out = compute(name, window(speed=[1, math.nan, 2, 3, 4]))

    assert out.value == {"speed": pytest.approx(expected)}
    assert out.weight == 4


@pytest.mark.parametrize("name", ["mean", "min", "max", "std", "median"])
def test_a_signal_without_samples_has_no_value(name: str) -> None:
    out = compute(name, window(speed=[math.nan], rpm=[1.0]))

    assert out.value["speed"] is None
    assert out.value["rpm"] is not None


finite_floats = st.floats(-1e6, 1e6)
drives = st.lists(st.lists(finite_floats, max_size=30), min_size=1, max_size=5)


@given(drives)
def test_merged_statistics_equal_one_machine(parts: list[list[float]]) -> None:
    everything = np.array([x for part in parts for x in part])
    if not len(everything):
        return
    for name, whole in (
        ("count", len(everything)), ("sum", everything.sum()), ("mean", everything.mean()),
        ("std", everything.std()), ("min", everything.min()), ("max", everything.max()),
    ):  # fmt: skip
        outputs = {f"v{i}": compute(name, window(x=part)) for i, part in enumerate(parts)}
        assert merged(name, outputs)["x"] == pytest.approx(whole, rel=1e-9, abs=1e-4)


@given(drives)
def test_merged_counts_equal_one_machine(parts: list[list[float]]) -> None:
    everything = window(x=[x for part in parts for x in part])
    for name, params in (
        ("histogram", {"edges": [-1000.0, -1.0, 0.0, 5.0, 1e5]}),
        ("wordcount", {"width": 250.0}),
        ("wordcount", {"edges": [-10, 10], "labels": ["down", "still", "up"]}),
    ):
        whole = compute(name, everything, **params)
        outputs = {f"v{i}": compute(name, window(x=p), **params) for i, p in enumerate(parts)}
        assert merged(name, outputs) == whole.value


magnitudes = st.floats(1e-9, 1e15) | st.floats(-1e15, -1e-9) | st.just(0.0)


@settings(deadline=None)
@given(
    st.lists(st.lists(magnitudes, max_size=40), min_size=1, max_size=4),
    st.floats(0, 1),
    st.sampled_from([0.001, 0.01, 0.1]),
)
def test_merged_quantiles_keep_their_stated_error(
    parts: list[list[float]], q: float, accuracy: float
) -> None:
    everything = np.array([x for part in parts for x in part])
    one = sketch.merged([sketch.of(np.array(p, np.float64), accuracy) for p in parts])
    estimate = sketch.quantile(one, q)

    assert one.n == len(everything)
    if not len(everything):
        assert estimate is None
        return
    exact = np.sort(everything)[math.floor(q * (len(everything) - 1))]
    assert estimate is not None
    assert abs(estimate - exact) <= accuracy * abs(exact) * (1 + 1e-9)


def test_a_sketch_takes_the_largest_floats() -> None:
    one = sketch.of(np.array([1.7e308]), 0.1)

    assert sketch.quantile(one, 0.5) == pytest.approx(1.7e308, rel=0.1)


def test_quantiles_travel_as_json_and_merge_with_their_error(sandbox: Sandbox) -> None:
    rng = np.random.default_rng(3)
    drives = [rng.normal(80, 20, 500) for _ in range(3)]
    params = {"q": [0.1, 0.9], "accuracy": 0.02}
    outs = [
        sandbox.run(Job(half="onboard", method="quantiles", window=window(v=drive), params=params))
        for drive in drives
    ]
    inputs = tuple(RoundInput(f"v{i}", o.value, o.weight, o.partial) for i, o in enumerate(outs))

    out = sandbox.run(
        Job(half="offboard", method="merge", onboard_method="quantiles", inputs=inputs)
    )

    assert out.ok, out.detail
    assert out.value["v"]["relative_error"] == 0.02
    assert out.value["v"]["samples"] == 1500
    exact = np.quantile(np.concatenate(drives), [0.1, 0.9], method="lower")
    assert [out.value["v"]["0.1"], out.value["v"]["0.9"]] == pytest.approx(exact, rel=0.02)


def test_median_merges_to_the_lower_median() -> None:
    outputs = {"a": compute("median", window(x=[1, 2])), "b": compute("median", window(x=[50, 60]))}

    assert merged("median", outputs)["x"]["median"] == pytest.approx(2, rel=0.01)


def test_threshold_sends_exactly_the_samples_beyond() -> None:
    speed = [90.0, 120.0, math.nan, 121.0, 10.0]

    out = compute("threshold", window(speed=speed), above=119.9, below=20)

    assert out.value["speed"] == {
        "times_ns": [100 * MS, 300 * MS, 400 * MS],
        "values": [120.0, 121.0, 10.0],
        "of": 5,
    }


def test_threshold_wants_a_threshold() -> None:
    with pytest.raises(ParamsError, match="give above or below"):
        compute("threshold", window(speed=[1]))


def test_collect_sends_every_sample_with_its_time() -> None:
    out = compute("collect", window(a=[1, math.nan, 3], b=[5]))

    assert out.value == {
        "a": {"times_ns": [0, 200 * MS], "values": [1.0, 3.0]},
        "b": {"times_ns": [0], "values": [5.0]},
    }


@given(st.lists(st.integers(0, 17), min_size=1, max_size=8), st.integers(1, 7))
def test_every_nth_sample_does_not_notice_where_windows_end(sizes: list[int], nth: int) -> None:
    values = np.arange(sum(sizes), dtype=np.float64)
    sent: list[float] = []
    state, at = None, 0
    for size in sizes:
        out = compute("sample", window(x=values[at : at + size]), Prior(state), nth=nth)
        sent += out.value["x"]["values"]
        state, at = out.state, at + size

    assert sent == values[::nth].tolist()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.sampled_from([0.5, 1.0, 2.5]))
def test_sampling_at_a_rate_does_not_notice_where_windows_end(
    sizes: list[int], rate_hz: float
) -> None:
    at, state, times = 0, None, []
    start = 1_700_000_000_000_000_000
    for size in sizes:
        part = window(start_ns=start + at * 100 * MS, x=np.zeros(size))
        out = compute("sample", part, Prior(state), rate_hz=rate_hz)
        times += out.value["x"]["times_ns"]
        state, at = out.state, at + size
    whole = compute("sample", window(start_ns=start, x=np.zeros(at)), rate_hz=rate_hz)

    assert times == whole.value["x"]["times_ns"]
    assert abs(len(times) - at * 0.1 * rate_hz) <= 1


def test_wordcount_names_its_intervals() -> None:
    out = compute("wordcount", window(v=[-1, 0, 29, 30, 61]), edges=[0, 30, 60])

    assert out.value == {"v": {"<0": 1, "0..30": 2, "30..60": 1, ">=60": 1}}


def test_histogram_counts_what_lies_outside() -> None:
    out = compute("histogram", window(v=[-1, 0, 5, 10, 11, math.nan]), low=0, high=10, bins=2)

    assert out.value == {
        "v": {"edges": [0.0, 5.0, 10.0], "counts": [1, 2], "below": 1, "above": 1, "gaps": 1}
    }


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("mean", {"windw": 3}, "onboard_params.windw: no such param; mean takes none"),
        ("quantiles", {"acuracy": 3}, "did you mean accuracy?"),
        ("quantiles", {"q": [0.5, 2]}, "onboard_params.q: at most 1 is allowed, found 2"),
        ("quantiles", {"q": 0.5}, "onboard_params.q: expected a list of numbers, found 0.5"),
        ("sample", {"nth": 0}, "onboard_params.nth: at least 1 is allowed"),
        ("sample", {"nth": 1.5}, "expected an integer, found 1.5"),
        ("sample", {"nth": True}, "expected an integer, found True"),
        ("threshold", {"above": "9"}, "expected a number, found '9'"),
        ("wordcount", {"width": math.inf}, "expected a number, found inf"),
        ("meen", {}, "no method 'meen'; did you mean mean"),
    ],
)
def test_params_are_checked_by_name_type_and_range(
    name: str, params: dict[str, Any], says: str
) -> None:
    with pytest.raises(ParamsError) as caught:
        check_params("onboard", name, params)

    assert says in str(caught.value)


def test_params_of_custom_code_are_its_own_affair() -> None:
    assert check_params("onboard", "custom", {"anything": [1]}) == {"anything": [1]}


def test_wrong_params_in_a_worker_are_told_as_such(sandbox: Sandbox) -> None:
    out = sandbox.run(Job(half="onboard", method="sample", window=window(x=[1.0])))

    assert (out.status, out.reason) == ("error", "params")
    assert "give either nth or rate_hz" in out.detail


def test_mean_goes_through_dicts_and_lists_and_leaves_out_what_is_missing() -> None:
    values = ({"a": [1, 2], "b": 4}, {"a": [3, None]}, {"a": None, "b": 6})

    assert offboard("mean", *values) == {"a": [2, 2], "b": 5}
    assert offboard("sum", *values) == {"a": [4, 2], "b": 10}
    assert offboard("weighted_mean", *values, weights=[1, 3, 1]) == {"a": [2.5, 2], "b": 5}


def test_collect_keeps_values_under_their_vehicles() -> None:
    assert offboard("collect", 1, "x") == {"v0": 1, "v1": "x"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (({"a": "x"}, {"a": 1}), "value['a'] cannot be combined number by number (number and text"),
        (([1, 2], [1]), "value has 1 and 2 elements on different vehicles"),
        ((1, [1]), "vehicle v1 sent [1]"),
    ],
)
def test_values_that_do_not_combine_are_named(values: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ParamsError) as caught:
        offboard("mean", *values)

    assert says in str(caught.value)


def test_merge_of_foreign_partials_says_so() -> None:
    with pytest.raises(ParamsError, match="merge needs a built-in on-board method"):
        registry.merge("merge", [RoundInput("a", 1)], {}, "custom")
    with pytest.raises(ParamsError, match="not those of mean"):
        registry.merge("merge", [RoundInput("a", 1, partial={"x": {"n": "many"}})], {}, "mean")


def test_merge_is_null_for_a_round_without_samples() -> None:
    assert merged("mean", {"a": compute("mean", window(x=[]))}) == {"x": None}


def federated(name: str, drives: list[Window], rounds: int, **params: Any) -> dict[str, Any]:
    model: Any = None
    for _ in range(rounds):
        outs = [compute(name, d, Prior(feedback=model), **params) for d in drives]
        inputs = [RoundInput(f"v{i}", o.value, o.weight) for i, o in enumerate(outs)]
        model = registry.merge("fedavg", inputs, {}, name)
    assert isinstance(model, dict)
    return model


def test_federated_least_squares_finds_the_common_line() -> None:
    rng = np.random.default_rng(0)
    drives = []
    for n in (50, 200, 400):
        a, b = rng.normal(50, 10, n), rng.normal(0, 2, n)
        drives.append(window(a=a, b=b, y=2 * a - 3 * b + 7))

    model = federated("least_squares", drives, 60, scale={"a": [50, 10], "b": [0, 2]})

    assert model["weights"] == pytest.approx({"a": 20, "b": -6}, rel=1e-3)
    assert model["intercept"] == pytest.approx(107, rel=1e-3)
    assert model["loss"] < 1e-3
    assert model["samples"] == 650


def test_unscaled_features_never_diverge() -> None:
    x = np.linspace(0, 200, 100)

    model = federated("least_squares", [window(x=x, y=3 * x)], 5)

    assert model["weights"]["x"] == pytest.approx(3, rel=0.05)


def test_federated_logistic_regression_separates_braking() -> None:
    rng = np.random.default_rng(1)
    drives = []
    for _ in range(3):
        pedal = rng.uniform(0, 100, 300)
        drives.append(window(pedal=pedal, brake=(pedal > 60).astype(float)))

    model = federated("logistic_regression", drives, 40, scale={"pedal": [50, 30]}, epochs=50)

    w, b = model["weights"]["pedal"], model["intercept"]
    assert 50 - 30 * b / w == pytest.approx(60, abs=3)
    assert model["loss"] < 0.2


def test_training_starts_from_the_feedback_and_a_vehicle_without_samples_has_no_say() -> None:
    start = {"weights": {"x": 1.5}, "intercept": 0.5, "loss": 9.0, "samples": 3}
    out = compute("least_squares", window(x=[], y=[]), Prior(feedback=start))

    assert out.value["weights"] == {"x": 1.5}
    assert out.weight == 0
    with pytest.raises(ParamsError, match="no vehicle had a sample"):
        registry.merge("fedavg", [RoundInput("a", out.value, out.weight)], {}, "least_squares")


def test_regression_holds_slow_features_at_the_targets_times() -> None:
    slow = Window(
        {"x": np.array([1.0, 2.0]), "y": np.array([1.0, 1.0, 2.0, 2.0])},
        {"x": np.array([0, 20]), "y": np.array([5, 15, 25, 35])},
        0,
        40,
    )

    assert compute("least_squares", slow, epochs=5000).value["loss"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"target": "z"}, "'z' is not among the assignment's signals: x, y"),
        ({"features": ["y"]}, "at least one feature that is not the target"),
        ({"scale": {"q": [0, 1]}}, "scale.q: no such feature"),
        ({"scale": {"x": [0, 0]}}, "expected [centre, spread] with spread > 0"),
    ],
)
def test_wrong_roles_are_named(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamsError) as caught:
        compute("least_squares", window(x=[1], y=[1]), **params)

    assert says in str(caught.value)


def test_feedback_that_is_no_model_is_named() -> None:
    with pytest.raises(ParamsError, match="the feedback is no model"):
        compute("least_squares", window(x=[1], y=[1]), Prior(feedback={"mean": 3}))


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("histogram", {}, "give edges, or low < high"),
        ("histogram", {"edges": [3, 1]}, "increasing numbers"),
        ("threshold", {}, "give above or below"),
        ("sample", {}, "give either nth or rate_hz"),
        ("wordcount", {"edges": [1], "labels": ["a"]}, "1 edges make 2 words, found 1 labels"),
    ],
)
def test_params_that_do_not_go_together_are_refused_before_anything_is_submitted(
    method: str, params: dict[str, Any], says: str
) -> None:
    with pytest.raises(ParamsError, match=says):
        check_params("onboard", method, params)


def test_a_trial_takes_a_mapping_of_signals() -> None:
    found = window_of({"Vehicle.Speed": [1.0, 2.0, 3.0], "Brake": [4.0]})

    assert list(found["Vehicle.Speed"]) == [1.0, 2.0, 3.0]
    assert (len(found["Brake"]), len(found.times["Brake"])) == (1, 1)
    assert found.stop_ns == 3 * PERIOD_NS
