from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.cursors import open_cursor
from agent.signals.offline import run_on_log
from agent.signals.plan import plan_of
from agent.signals.room import check_room
from agent.signals.timeline import LATENESS_NS, SLEEP_NS
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.errors import UnknownSignal, WindowTooLarge
from user_lib.contract.validation import parse
from user_lib.contract.window import Window

SIGNALS = ("Motion.Speed", "Motion.Accel", "Brake.Pressure", "Body.Door", "Body.Warmth", "Car.Work")
GROUPS = (
    {"Motion.Speed", "Motion.Accel", "Car.Work"},
    {"Brake.Pressure"},
    {"Body.Door", "Body.Warmth"},
)


def assignment(signals: Sequence[str], window: dict[str, float], **more: Any) -> Assignment:
    return parse({"signals": list(signals), "onboard": "mean", "window": window, **more})


def plain(window: Window) -> dict[str, Any]:
    """A window as values that compare."""
    return {
        "bounds": (window.start_ns, window.stop_ns),
        "lost": window.lost_frames,
        "trigger": window.trigger_ns,
        **{
            name: list(zip(window.times[name].tolist(), np.round(window[name], 6), strict=True))
            for name in window
        },
    }


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_equal(one, other)


# --- the windows of a whole stream, worked out sample by sample --------------------------------


def same_message(one: str, other: str) -> bool:
    return any(one in group and other in group for group in GROUPS)


def expected_by_count(ref: Any, names: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    lead = ref.samples(names[0])
    start_ns, first_row = ref.first_ns, 0
    for end in range(count, len(lead) + 1, count):
        row, time_ns, _ = lead[end - 1]
        window: dict[str, Any] = {"bounds": (start_ns, time_ns + 1), "lost": 0, "trigger": None}
        for name in names:
            window[name] = [
                (t, round(value, 6))
                for r, t, value in ref.samples(name)
                if (
                    first_row <= r <= row
                    if same_message(name, names[0])
                    else start_ns <= t < time_ns + 1
                )
            ]
        yield window
        start_ns, first_row = time_ns + 1, row + 1


def expected_by_time(
    ref: Any, names: Sequence[str], duration_ns: int, every_ns: int, rate_hz: float | None
) -> Iterator[dict[str, Any]]:
    start_ns = ref.first_ns
    while start_ns + duration_ns <= ref.latest_ns + 1:
        stop_ns = start_ns + duration_ns
        if not slept(ref, start_ns, stop_ns):
            window: dict[str, Any] = {"bounds": (start_ns, stop_ns), "lost": 0, "trigger": None}
            for name in names:
                window[name] = in_time(ref, name, start_ns, stop_ns, rate_hz)
            yield window
        start_ns += every_ns


def in_time(
    ref: Any, name: str, start_ns: int, stop_ns: int, rate_hz: float | None
) -> list[tuple[int, float]]:
    if rate_hz is None:
        samples = ref.samples(name)
        return [(t, round(v, 6)) for _, t, v in samples if start_ns <= t < stop_ns]
    points, n = [], 0
    while (at_ns := start_ns + round(n * SECOND / rate_hz)) < stop_ns:
        value = ref.held(name, at_ns)
        points.append((at_ns, float("nan") if value is None else round(value, 6)))
        n += 1
    return points


def slept(ref: Any, start_ns: int, stop_ns: int) -> bool:
    newest = ref.first_ns
    for frame in ref.frames:
        later = max(newest, frame.time_ns)
        if later - newest > SLEEP_NS and newest < start_ns and stop_ns <= later - LATENESS_NS:
            return True
        newest = later
    return False


# --- streams ----------------------------------------------------------------------------------

STEPS_MS = (0, 1, 1, 5, 20, 20, 100, -10, -22, -70, 400, 2_500)
steps = st.tuples(
    st.sampled_from(STEPS_MS), st.sampled_from("mmmsbo"), st.integers(0, 255), st.booleans()
)
streams = st.lists(steps, min_size=1, max_size=120)
cuts = st.lists(st.integers(0, 120), max_size=6) | st.just(list(range(120)))
names_of = st.lists(st.sampled_from(SIGNALS), min_size=1, max_size=4, unique=True)


def frames_of(car: Any, stream: list[tuple[int, str, int, bool]]) -> list[Any]:
    frames, time_ns = [], 10 * SECOND
    for step_ms, kind, value, flag in stream:
        time_ns += step_ms * MS
        if kind == "m":
            frames.append(car.motion(time_ns, value * 10, value - 128))
        elif kind == "s":
            frames.append(car.motion(time_ns, value, 0, length=2 if flag else 1))
        elif kind == "b":
            frames.append(car.brake(time_ns, value))
        else:
            frames.append(car.body(time_ns, 1 if flag else 0, value % 100))
    return frames


def windows_of(car: Any, spec: Assignment, batches: list[Any]) -> list[dict[str, Any]]:
    found = run_on_log(spec, car.profile, batches, car.channels, history_mb=2)
    return [plain(window) for window in found]


@settings(max_examples=100, deadline=None)
@given(stream=streams, at=cuts, names=names_of, count=st.integers(1, 12))
def test_windows_by_count_are_those_of_the_whole_stream(
    car: Any, stream: list[Any], at: list[int], names: list[str], count: int
) -> None:
    frames = frames_of(car, stream)
    found = windows_of(car, assignment(names, {"samples": count}), car.split(frames, at))

    same(found, list(expected_by_count(car.Reference(frames), names, count)))


@settings(max_examples=100, deadline=None)
@given(
    stream=streams,
    at=cuts,
    names=names_of,
    seconds=st.sampled_from([0.01, 0.1, 0.3, 1.5]),
    gap=st.sampled_from([None, 0.0, 0.05, 2.0]),
    rate_hz=st.sampled_from([None, None, 3.0, 10.0, 100.0]),
)
def test_windows_by_time_are_those_of_the_whole_stream(
    car: Any,
    stream: list[Any],
    at: list[int],
    names: list[str],
    seconds: float,
    gap: float | None,
    rate_hz: float | None,
) -> None:
    frames = frames_of(car, stream)
    every = seconds + (gap or 0.0)
    window = {"seconds": seconds} if gap is None else {"seconds": seconds, "every": every}
    found = windows_of(car, assignment(names, window, rate_hz=rate_hz), car.split(frames, at))

    same(
        found,
        list(
            expected_by_time(
                car.Reference(frames),
                names,
                round(seconds * SECOND),
                round(every * SECOND),
                rate_hz,
            )
        ),
    )


@settings(max_examples=60, deadline=None)
@given(stream=streams, at=cuts, names=names_of, points=st.integers(1, 30))
def test_with_a_rate_samples_counts_points_of_the_grid(
    car: Any, stream: list[Any], at: list[int], names: list[str], points: int
) -> None:
    frames = frames_of(car, stream)
    spec = assignment(names, {"samples": points}, rate_hz=30)
    found = windows_of(car, spec, car.split(frames, at))

    duration_ns = round(points / 30 * SECOND)
    expected = expected_by_time(car.Reference(frames), names, duration_ns, duration_ns, 30)
    same(found, list(expected))
    assert all(len(window[names[0]]) == points for window in found)


def test_every_spaces_windows_that_count_samples(car: Any) -> None:
    frames = [car.motion(i * 100 * MS, i) for i in range(200)]
    spec = assignment(["Motion.Speed"], {"samples": 5, "every": 2})

    found = windows_of(car, spec, [car.batch_of(frames)])

    assert [w["bounds"][0] for w in found] == [i * 2 * SECOND for i in range(10)]
    assert [w["Motion.Speed"][0][0] for w in found] == [i * 2 * SECOND for i in range(10)]


def test_a_window_that_outlasts_every_is_followed_at_the_next_grid_point(car: Any) -> None:
    frames = [car.motion(i * 100 * MS, i) for i in range(100)]
    spec = assignment(["Motion.Speed"], {"samples": 25, "every": 1})

    found = windows_of(car, spec, [car.batch_of(frames)])

    assert [w["bounds"][0] for w in found] == [0, 3 * SECOND, 6 * SECOND]


def test_a_window_without_samples_is_given_while_the_bus_is_awake(car: Any) -> None:
    frames = [car.brake(i * 100 * MS, i) for i in range(50)]

    found = windows_of(car, assignment(["Motion.Speed"], {"seconds": 1}), [car.batch_of(frames)])

    assert [w["Motion.Speed"] for w in found] == [[]] * 4


def test_windows_are_sealed_and_carry_units(car: Any) -> None:
    batches = [car.batch_of([car.motion(i, i) for i in range(10)])]
    spec = assignment(["Motion.Speed"], {"samples": 5})

    window = next(run_on_log(spec, car.catalog, batches, car.channels))

    assert window.units == {"Motion.Speed": "km/h"}
    with pytest.raises(ValueError, match="read-only"):
        window["Motion.Speed"][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        window.times["Motion.Speed"][0] = 1


def test_an_unknown_signal_is_refused_with_its_place(car: Any) -> None:
    with pytest.raises(UnknownSignal) as caught:
        plan_of(
            assignment(["Motion.Speed", "Brake.Presure"], {"samples": 1}), car.recording().names
        )

    assert caught.value.near == ("Brake.Pressure",)
    assert caught.value.path == "signals[1]"


# --- when the task is slower than the bus ------------------------------------------------------


class Slow:
    """A recording that is filled while a cursor looks on, and taken from now and then."""

    def __init__(self, car: Any, spec: Assignment, *, history_mb: float) -> None:
        self.car, self.recording = car, car.recording(history_mb)
        self.plan = plan_of(spec, self.recording.names)
        self.sent = 0
        self.cursor: Any = None

    def send(self, frames: int, step_ms: int = 10) -> None:
        for start in range(self.sent, self.sent + frames, 100):
            stop = min(start + 100, self.sent + frames)
            numbers = range(start, stop)
            self.recording.add(
                self.car.batch_of([self.car.motion(i * step_ms * MS, i % 60_000) for i in numbers])
            )
            if self.cursor is None:
                first_ns = self.recording.timeline.first_ns
                self.cursor = open_cursor(self.recording, self.plan, first_ns)
            self.cursor.track()
        self.sent += frames

    def take_all(self) -> list[Window]:
        return list(iter(self.cursor.take, None))


def values(window: Window) -> list[int]:
    return np.rint(window["Motion.Speed"] * 100).astype(int).tolist()


@pytest.mark.parametrize("window", [{"samples": 100}, {"seconds": 1}])
def test_a_busy_task_loses_nothing_that_the_history_holds(car: Any, window: dict[str, int]) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], window), history_mb=1)
    slow.send(3000)

    windows = slow.take_all()

    assert [value for w in windows for value in values(w)] == list(range(len(windows) * 100))
    assert len(windows) >= 29
    assert not any(w.lost_frames for w in windows)


@pytest.mark.parametrize("window", [{"samples": 100}, {"seconds": 1}])
def test_what_was_overwritten_is_counted_once_in_the_next_window(
    car: Any, window: dict[str, int]
) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], window), history_mb=0.05)
    windows = []
    for frames in (250, 20_000, 250, 60_000, 300):
        slow.send(frames)
        windows += slow.take_all()

    given = sum(len(values(w)) for w in windows)
    taken_up_to = windows[-1].times["Motion.Speed"][-1] // (10 * MS) + 1
    assert given + sum(w.lost_frames for w in windows) == taken_up_to
    assert sum(1 for w in windows if w.lost_frames) == 2
    assert [w.start_ns for w in windows] == sorted(w.start_ns for w in windows)
    for one, other in pairwise(windows):
        assert one.stop_ns <= other.start_ns


def test_every_counts_only_what_was_lost_of_its_windows(car: Any) -> None:
    spec = assignment(["Motion.Speed"], {"seconds": 1, "every": 10})
    slow = Slow(car, spec, history_mb=0.05)
    slow.send(50_000)  # 500 s

    windows = slow.take_all()

    given = len(windows) * 100
    lost = sum(w.lost_frames for w in windows)
    assert abs(given + lost - 50 * 100) <= 5  # numbers of overwritten rows are reckoned


@pytest.mark.parametrize(
    ("window", "part"),
    [({"seconds": 1e-9}, 1.0), ({"seconds": 1e-6}, 1.0), ({"seconds": 1e-6, "every": 2e-6}, 0.5)],
)
@pytest.mark.timeout(20)
def test_overtaken_windows_are_skipped_at_once_however_short_they_are(
    car: Any, window: dict[str, float], part: float
) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], window), history_mb=0.05)
    slow.send(20_000)  # 200 s: 2e11 windows of a nanosecond

    found = slow.cursor.take()

    kept = slow.recording.history.ring(car.MOTION)
    assert found.start_ns >= kept.oldest_ns - round(window["seconds"] * 1e9)
    assert abs(found.lost_frames - kept.tail * part) <= 5


def test_frames_that_the_source_lost_are_in_the_window_of_that_time(car: Any) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], {"samples": 100}), history_mb=1)
    slow.send(150)
    slow.recording.note_dropped(7)
    slow.send(300)

    assert [w.lost_frames for w in slow.take_all()] == [0, 7, 0, 0]


def test_frames_lost_right_after_a_window_are_in_the_next_one(car: Any) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], {"samples": 100}), history_mb=1)
    slow.send(100)
    (first,) = slow.take_all()
    slow.recording.note_dropped(7)
    slow.send(100)
    (second,) = slow.take_all()

    assert (first.lost_frames, second.lost_frames) == (0, 7)


def test_a_window_waits_for_late_frames_of_its_other_messages(car: Any) -> None:
    recording = car.recording()
    spec = assignment(["Motion.Speed", "Brake.Pressure"], {"samples": 3})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    recording.add(car.batch_of([car.motion(i * 10 * MS, i) for i in range(3)]))
    assert cursor.take() is None

    recording.add(car.batch_of([car.brake(15 * MS, 1), car.brake(20 * MS, 2)]))
    assert cursor.take() is None
    recording.add(car.batch_of([car.brake(21 * MS, 3)]))

    window = cursor.take()
    assert window.times["Brake.Pressure"].tolist() == [15 * MS, 20 * MS]


def test_a_window_by_time_waits_until_its_end_has_passed(car: Any) -> None:
    recording = car.recording()
    spec = assignment(["Motion.Speed"], {"seconds": 0.1})
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)
    recording.add(car.batch_of([car.motion(0, 1), car.motion(100 * MS - 1, 2)]))
    assert cursor.take() is None
    recording.add(car.batch_of([car.motion(100 * MS - 1, 3), car.motion(100 * MS, 4)]))

    assert len(cursor.take()["Motion.Speed"]) == 3


def test_a_window_that_turns_out_not_to_fit_is_refused_in_words(car: Any) -> None:
    spec = assignment(["Body.Door"], {"samples": 100})
    recording = car.recording(0.05)
    cursor = open_cursor(recording, plan_of(spec, recording.names), 0)

    def follow() -> None:
        for i in range(0, 100_000, 100):
            frames = [car.body((i + k) * MS, int(k != 0), 1) for k in range(100)]
            recording.add(car.batch_of(frames))
            assert cursor.take() is None

    with pytest.raises(WindowTooLarge, match=r"100 samples of Body\.Door do not fit.*Body"):
        follow()


def test_progress_tells_what_is_there_and_what_is_silent(car: Any) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], {"samples": 100}), history_mb=1)
    slow.send(50)
    slow.cursor.take()

    assert slow.cursor.progress() == "50 of 100 samples of Motion.Speed"
    slow.recording.add(car.batch_of([car.brake(13 * SECOND, 1)]))
    assert slow.cursor.progress().endswith("; no frame of Motion for 13 s")


def test_progress_of_time_tells_how_much_has_passed(car: Any) -> None:
    slow = Slow(car, assignment(["Motion.Speed"], {"seconds": 10}), history_mb=1)
    slow.send(251)

    assert slow.cursor.progress() == "2.5 of 10 s"


def test_a_grid_that_memory_cannot_hold_is_refused_before_it_is_laid(car: Any) -> None:
    spec = assignment(["Motion.Speed", "Motion.Accel"], {"seconds": 60}, rate_hz=10_000)
    recording = car.recording(1)

    with pytest.raises(WindowTooLarge, match=r"1200000 samples .* at most 131072 fit"):
        check_room(recording, plan_of(spec, recording.names))


def test_a_window_that_grew_beyond_memory_is_refused_when_it_is_built(car: Any) -> None:
    spec = assignment(["Motion.Speed", "Motion.Accel", "Car.Work"], {"seconds": 48})
    slow = Slow(car, spec, history_mb=1)
    slow.send(50_000, step_ms=1)

    with pytest.raises(WindowTooLarge, match=r"144\d\d\d samples .* at most 131072 fit"):
        slow.take_all()
