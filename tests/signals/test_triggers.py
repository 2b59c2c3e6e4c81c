from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.cursors import open_cursor
from agent.signals.offline import run_on_log
from agent.signals.plan import plan_of
from agent.signals.triggers import BACKLOG
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.errors import ExpressionError, UnknownSignal, WindowTooLarge
from user_lib.contract.validation import parse

MESSAGE = {
    "Motion.Speed": "Motion",
    "Motion.Accel": "Motion",
    "Brake.Pressure": "Brake",
    "Body.Door": "Body",
    "Body.Warmth": "Body",
}
Values = Mapping[str, float]
CONDITIONS: list[tuple[str, tuple[str, ...], Callable[[Values], bool]]] = [
    ("Motion.Speed > 10", ("Motion.Speed",), lambda v: v["Motion.Speed"] > 10),
    (
        "Motion.Speed > 5 and Brake.Pressure > 10",
        ("Motion.Speed", "Brake.Pressure"),
        lambda v: v["Motion.Speed"] > 5 and v["Brake.Pressure"] > 10,
    ),
    (
        "Body.Door > 50 or Motion.Accel < 0",
        ("Body.Door", "Motion.Accel"),
        lambda v: v["Body.Door"] > 50 or v["Motion.Accel"] < 0,
    ),
    (
        "not Brake.Pressure < 12",
        ("Brake.Pressure",),
        lambda v: not v["Brake.Pressure"] < 12,
    ),
    (
        "abs(Body.Warmth - Motion.Accel) > 20",
        ("Body.Warmth", "Motion.Accel"),
        lambda v: abs(v["Body.Warmth"] - v["Motion.Accel"]) > 20,
    ),
]


def edges(ref: Any, names: tuple[str, ...], holds: Callable[[Values], bool]) -> Iterator[int]:
    """Go through every row of the condition's messages, one by one."""
    order = list(dict.fromkeys(MESSAGE[name] for name in names))
    ids = {"Motion": 256, "Brake": 512, "Body": 768}
    rows = sorted(
        (time_ns, order.index(message), row)
        for message in order
        for row, (time_ns, _) in enumerate(ref.rows.get(ids[message], []))
    )
    samples = {name: {row: v for row, _, v in ref.samples(name)} for name in names}
    held: dict[str, float] = {}
    true = False
    for time_ns, message, row in rows:
        for name in names:
            if MESSAGE[name] == order[message] and row in samples[name]:
                held[name] = samples[name][row]
        now = len(held) == len(names) and holds(held)
        if now and not true:
            yield time_ns
        true = now


def expected(
    ref: Any, found: Iterator[int], span: Callable[[int], tuple[int, int] | None]
) -> list[tuple[int, int, int]]:
    """Return (trigger, start, stop) of each window that the stream completes."""
    windows, open_until = [], None
    for trigger_ns in found:
        if open_until is not None and trigger_ns < open_until:
            continue
        bounds = span(trigger_ns)
        if bounds is None or bounds[1] > ref.latest_ns + 1:
            break
        open_until = bounds[1]
        windows.append((trigger_ns, *bounds))
    return windows


STEPS_MS = (0, 1, 5, 20, 20, 100, -10, -22, -70, 400)
steps = st.tuples(
    st.sampled_from(STEPS_MS), st.sampled_from("mmmbbo"), st.integers(0, 255), st.booleans()
)
streams = st.lists(steps, min_size=1, max_size=120)
cuts = st.lists(st.integers(0, 120), max_size=6) | st.just(list(range(120)))


def frames_of(car: Any, stream: list[tuple[int, str, int, bool]]) -> list[Any]:
    frames, time_ns = [], 10 * SECOND
    for step_ms, kind, value, flag in stream:
        time_ns += step_ms * MS
        if kind == "m":
            frames.append(car.motion(time_ns, value * 10, (value - 128) * 10))
        elif kind == "b":
            frames.append(car.brake(time_ns, value))
        else:
            frames.append(car.body(time_ns, 1 if flag else 0, value % 100))
    return frames


def spec_of(when: Any, window: Mapping[str, float], **more: Any) -> Assignment:
    keys = {"signals": ["Motion.Speed", "Brake.Pressure"], "onboard": "mean", "when": when}
    return parse({**keys, "window": dict(window), **more})


def bounds_of(car: Any, spec: Assignment, batches: list[Any]) -> list[tuple[int, int, int]]:
    found = run_on_log(spec, car.profile, batches, car.channels, history_mb=2)
    return [(w.trigger_ns, w.start_ns, w.stop_ns) for w in found if check_content(w)]


def check_content(window: Any) -> bool:
    assert window.lost_frames == 0
    for name in window:
        times = window.times[name]
        assert ((times >= window.start_ns) & (times < window.stop_ns)).all()
    return True


@settings(max_examples=100, deadline=None)
@given(
    stream=streams,
    at=cuts,
    condition=st.sampled_from(CONDITIONS),
    before_s=st.sampled_from([0.0, 0.03, 1.0]),
    after_s=st.sampled_from([0.01, 0.2]),
)
def test_look_backs_are_those_of_a_row_by_row_scan(
    car: Any, stream: list[Any], at: list[int], condition: Any, before_s: float, after_s: float
) -> None:
    text, names, holds = condition
    frames = frames_of(car, stream)
    spec = spec_of({"condition": text, "before_s": before_s, "after_s": after_s}, {})

    found = bounds_of(car, spec, car.split(frames, at))

    ref = car.Reference(frames)
    before_ns, after_ns = round(before_s * SECOND), round(after_s * SECOND)
    assert found == expected(
        ref, edges(ref, names, holds), lambda t: (t - before_ns, t + after_ns + 1)
    )


@settings(max_examples=100, deadline=None)
@given(stream=streams, at=cuts, condition=st.sampled_from(CONDITIONS), count=st.integers(1, 8))
def test_windows_that_follow_a_trigger_are_those_of_a_row_by_row_scan(
    car: Any, stream: list[Any], at: list[int], condition: Any, count: int
) -> None:
    text, names, holds = condition
    frames = frames_of(car, stream)
    ref = car.Reference(frames)

    found = bounds_of(car, spec_of(text, {"samples": count}), car.split(frames, at))

    def span(trigger_ns: int) -> tuple[int, int] | None:
        times = [t for _, t, _ in ref.samples("Motion.Speed") if t >= trigger_ns]
        return (trigger_ns, times[count - 1] + 1) if len(times) >= count else None

    assert found == expected(ref, edges(ref, names, holds), span)


@settings(max_examples=50, deadline=None)
@given(stream=streams, at=cuts)
def test_a_derived_signal_triggers_when_its_first_signal_brings_it(
    car: Any, stream: list[Any], at: list[int]
) -> None:
    frames = frames_of(car, stream)
    spec = spec_of("Car.Work > 100", {"seconds": 0.05})

    found = bounds_of(car, spec, car.split(frames, at))

    ref = car.Reference(frames)
    speeds, pressures = (
        {row: value for row, _, value in ref.samples(name)}
        for name in ("Motion.Speed", "Brake.Pressure")
    )
    rows = [(t, 0, row) for row, (t, _) in enumerate(ref.rows.get(256, []))]
    rows += [(t, 1, row) for row, (t, _) in enumerate(ref.rows.get(512, []))]
    pressure, work, true, times = None, None, False, []
    for time_ns, message, row in sorted(rows):
        if message == 1:
            pressure = pressures[row]
        elif pressure is not None:
            work = speeds[row] * pressure
        now = work is not None and work > 100
        if now and not true:
            times.append(time_ns)
        true = now
    assert found == expected(ref, iter(times), lambda t: (t, t + 50 * MS))


def test_the_look_back_reaches_to_before_the_task_was_there(car: Any) -> None:
    recording = car.recording()
    recording.add(car.batch_of([car.motion(i * 10 * MS, 100) for i in range(500)]))
    spec = spec_of({"condition": "Motion.Speed > 5", "before_s": 3, "after_s": 0.1}, {})
    cursor = open_cursor(recording, plan_of(spec, recording.names), recording.next_ns())

    recording.add(car.batch_of([car.motion(5 * SECOND + i * 10 * MS, 600) for i in range(20)]))
    recording.finish()
    cursor.track()
    window = cursor.take()

    assert window.trigger_ns == 5 * SECOND
    assert len(window["Motion.Speed"]) == 300 + 11
    assert window.lost_frames == 0


def test_what_was_overwritten_of_a_look_back_is_counted(car: Any) -> None:
    recording = car.recording(0.05)
    recording.add(car.batch_of([car.motion(i * 10 * MS, 100) for i in range(20_000)]))
    kept = recording.history.ring(car.MOTION).head - recording.history.ring(car.MOTION).tail
    spec = spec_of({"condition": "Motion.Speed > 5", "before_s": 150, "after_s": 0.1}, {})
    cursor = open_cursor(recording, plan_of(spec, recording.names), recording.next_ns())

    recording.add(car.batch_of([car.motion(200 * SECOND + i * 10 * MS, 600) for i in range(20)]))
    recording.finish()
    cursor.track()
    window = cursor.take()

    assert kept < 15_000
    assert abs(len(window["Motion.Speed"]) + window.lost_frames - 15_011) <= 2


def test_a_trigger_within_an_open_window_is_merged_and_said(car: Any) -> None:
    recording = car.recording()
    spec = spec_of("Motion.Speed > 5", {"seconds": 1})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    speeds = [100, 600, 100, 600, 100, 600]
    recording.add(car.batch_of([car.motion(i * 100 * MS, v) for i, v in enumerate(speeds)]))
    recording.add(car.batch_of([car.brake(5 * SECOND, 0)]))
    cursor.track()

    assert cursor.take().trigger_ns == 100 * MS
    assert cursor.take() is None
    assert "3 triggers so far (2 merged, 0 missed)" in cursor.progress()


def test_a_trigger_at_the_end_of_a_window_opens_the_next(car: Any) -> None:
    recording = car.recording()
    spec = spec_of("Motion.Speed > 5", {"seconds": 0.2})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    speeds = [600, 100, 600, 100, 100]
    recording.add(car.batch_of([car.motion(i * 100 * MS, v) for i, v in enumerate(speeds)]))
    recording.add(car.batch_of([car.brake(5 * SECOND, 0)]))
    cursor.track()

    assert [w.trigger_ns for w in iter(cursor.take, None)] == [0, 200 * MS]


def test_the_backlog_is_bounded_and_counts_what_it_misses(car: Any) -> None:
    recording = car.recording()
    spec = spec_of({"condition": "Motion.Speed > 5", "before_s": 0, "after_s": 0.001}, {})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    n = 2 * (BACKLOG + 10)
    recording.add(car.batch_of([car.motion(i * 10 * MS, 600 * (i % 2)) for i in range(n)]))
    recording.finish()
    cursor.track()

    assert len(list(iter(cursor.take, None))) == BACKLOG
    assert f"{BACKLOG + 10} triggers so far (0 merged, 10 missed)" in cursor.progress()


def test_progress_tells_the_values_that_the_condition_waits_with(car: Any) -> None:
    recording = car.recording()
    spec = spec_of("Motion.Speed > 50 and Brake.Pressure > 1", {"seconds": 1})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    recording.add(car.batch_of([car.motion(i * 10 * MS, 4200) for i in range(10)]))
    cursor.track()

    assert cursor.progress() == (
        "waits for Motion.Speed > 50 and Brake.Pressure > 1 "
        "(Motion.Speed is 42, no value of Brake.Pressure yet); 0 triggers so far"
    )


def test_a_condition_on_text_is_refused_before_it_runs(car: Any) -> None:
    names = car.recording().names

    with pytest.raises(ExpressionError, match="signals are numbers"):
        plan_of(spec_of("Motion.Speed == 'fast'", {"seconds": 1}), names)
    with pytest.raises(ExpressionError, match="names no signal"):
        plan_of(spec_of("1 < 2", {"seconds": 1}), names)


def test_an_unknown_signal_of_a_condition_is_refused_with_its_place(car: Any) -> None:
    with pytest.raises(UnknownSignal) as caught:
        plan_of(spec_of("Motion.Sped > 1", {"seconds": 1}), car.recording().names)

    assert caught.value.path == "when"
    assert caught.value.near[0] == "Motion.Speed"


def test_a_window_after_a_trigger_that_does_not_fit_is_refused_in_words(car: Any) -> None:
    recording = car.recording(0.05)
    spec = spec_of("Motion.Speed > 5", {"samples": 100}, signals=["Body.Door"])
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    recording.add(car.batch_of([car.motion(0, 600)]))

    def follow() -> None:
        for i in range(1, 20_000, 100):
            frames = [car.body((i + k) * MS, 1, 1) for k in range(100)]
            recording.add(car.batch_of(frames))
            cursor.track()

    with pytest.raises(WindowTooLarge, match=r"100 samples of Body\.Door after a trigger"):
        follow()


def test_values_before_the_task_count_as_known(car: Any) -> None:
    recording = car.recording()
    recording.add(car.batch_of([car.brake(0, 200), car.motion(MS, 100)]))
    spec = spec_of("Motion.Speed > 5 and Brake.Pressure > 10", {"seconds": 0.01})
    cursor = open_cursor(recording, plan_of(spec, recording.names), recording.next_ns())
    recording.add(car.batch_of([car.motion((10 + i) * MS, 600) for i in range(20)]))
    recording.finish()
    cursor.track()

    assert cursor.take().trigger_ns == 10 * MS
    assert np.isfinite(list(cursor._detector.held.values())).all()
