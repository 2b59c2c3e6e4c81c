"""`run`: code tried on an array; whatever it is given, an outcome comes back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from agent.sandbox import Limits, run

MEAN = "def custom(xs): return float(xs.mean())\n"
COUNT = "def custom(data, params): return [len(data[s]) for s in data]\n"
SPIN = "def custom(xs):\n    while True: pass\n"


@pytest.mark.parametrize(
    ("samples", "lengths"),
    [
        (np.arange(10.0), [10]),
        (np.arange(10), [10]),
        (np.float32([1, 2]), [2]),
        (np.array([True]), [1]),
        (np.float64(3), [1]),
        ([], [0]),
        (np.empty(0), [0]),
        (np.empty((0, 3)), [0, 0, 0]),
        (np.empty((3, 0)), []),
        (np.ones((5, 2)), [5, 5]),
        (np.ones(100)[::3], [34]),
        (np.ones((200, 300)).T, [300] * 200),
        ({"a": [1, 2], "b": []}, [2, 0]),
        (np.ones(6_600_000), [6_600_000]),
        (np.ones((2_200_000, 3)), [2_200_000] * 3),
    ],
)
def test_arrays_of_every_shape_arrive(samples: Any, lengths: list[int]) -> None:
    out = run(COUNT, samples)

    assert (out.status, out.value) == ("ok", lengths)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.ones((2, 2, 2)), "3 dimensions; at most 2"),
        (np.array(["a"]), "real numbers"),
        (np.array([1j]), "complex"),
        (None, "real numbers"),
        ({"a": "x"}, "a are to be real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(samples: Any, says: str) -> None:
    out = run(COUNT, samples)

    assert (out.status, out.reason) == ("refused", "params")
    assert says in out.detail


@pytest.mark.parametrize(
    "source",
    [
        "\ufeff" + MEAN,
        MEAN.replace("\n", "\r\n"),
        "# -*- coding: latin-1 -*-\n" + MEAN,
        "# -*- coding: nonsense -*-\n" + MEAN,
        "#" + "x" * 10_000_000 + "\n" + MEAN,
        "from __future__ import annotations\n" + MEAN,
        "\x0c" + MEAN,
        "é = '😀'\n" + MEAN,
    ],
    ids=["bom", "crlf", "coding", "bad_coding", "10_mb", "future", "form_feed", "unicode"],
)
def test_odd_sources_that_python_takes_run(source: str) -> None:
    assert run(source, [1.0, 3.0]).value == 2.0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\0\n" + MEAN, "null bytes"),
        ("def custom(:\n", "SyntaxError"),
        ("x = '\ud800'\n" + MEAN, "lone surrogate"),
        ("x = " + "(" * 5000 + ")" * 5000 + "\n" + MEAN, "too many nested"),
        ("x = " + "-" * 100_000 + "1\n" + MEAN, "nested too deeply"),
        ("x = " + "+".join("1" * 100_000) + "\n" + MEAN, "cannot be compiled"),
        ("   ", "defines no function custom"),
        (b"def custom(xs): return 1", "of type bytes"),
        ("def custom(a, b, c): return 1", "needs 3 arguments"),
        ("def custom(xs, *, k): return 1", "needs k by name"),
        ("custom = dict", "does not say which arguments"),
    ],
)
def test_sources_that_cannot_run_are_told_as_such(source: Any, says: str) -> None:
    out = run(source, [1.0])

    assert not out.ok
    assert (out.reason, says in out.detail) == ("code", True), out
    assert "agent/sandbox" not in out.detail


@pytest.mark.parametrize(
    "limits",
    [
        Limits(cpu_s=1e9, memory_mb=1 << 20, wall_s=1e9),
        Limits(memory_mb=16),
        {"wall_s": 3e6},
        {},
        None,
    ],
)
def test_limits_at_their_ends_let_good_code_run(limits: Any) -> None:
    assert run(MEAN, [1.0, 3.0], limits).value == 2.0


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e18])
@pytest.mark.parametrize("field", ["cpu_s", "memory_mb", "wall_s"])
def test_limits_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    in_python: Any = {field: value}
    for limits in (in_python, Limits(**in_python)):
        out = run(MEAN, [1.0], limits)

        assert (out.status, out.reason) == ("refused", "params")
        assert field in out.detail


@pytest.mark.parametrize("limits", [5, {"walls": 1}, {"wall_s": "1"}])
def test_what_are_no_limits_is_refused(limits: Any) -> None:
    assert run(MEAN, [1.0], limits).reason == "params"


def test_processor_limits_below_a_second_hold() -> None:
    out = run(SPIN, [1.0], Limits(cpu_s=0.1, wall_s=60.0))

    assert (out.status, out.reason) == ("killed", "cpu")
    assert out.cpu_s < 0.6


def test_processor_time_of_all_threads_counts() -> None:
    source = (
        "import threading, zlib\n"
        "def spin():\n"
        "    while True: zlib.compress(bytes(10**6))\n"
        "def custom(xs):\n"
        "    for _ in range(3): threading.Thread(target=spin).start()\n"
        "    threading.Event().wait()\n"
    )
    out = run(source, [1.0], Limits(cpu_s=0.5, wall_s=60.0))

    assert out.reason == "cpu"


def test_hundreds_in_a_row_from_threads_each_get_their_own() -> None:
    def double(number: int) -> Any:
        return run("def custom(xs): return 2 * xs[0]", [float(number)]).value

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(double, range(300))) == [2.0 * n for n in range(300)]
