from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.timeline import (
    LATENESS_NS,
    RESTART_NS,
    SLEEP_NS,
    SourceTime,
    Timeline,
)

SECOND = 1_000_000_000


def times(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_a_frame_that_is_a_little_late_keeps_its_time() -> None:
    timeline = Timeline()

    placed = timeline.place(times(0, SECOND, SECOND - LATENESS_NS))

    assert placed.tolist() == [0, SECOND, SECOND - LATENESS_NS]
    assert timeline.late == 0


def test_a_frame_that_is_too_late_is_moved_to_the_watermark_and_counted() -> None:
    timeline = Timeline()

    placed = timeline.place(times(0, SECOND, 5))

    assert placed.tolist() == [0, SECOND, SECOND - LATENESS_NS]
    assert timeline.late == 1


def test_nothing_is_placed_before_the_first_frame() -> None:
    assert Timeline().place(times(100, 90)).tolist() == [100, 100]


def test_the_watermark_covers_everything_once_the_stream_is_over() -> None:
    timeline = Timeline()
    timeline.place(times(0, SECOND))

    assert timeline.watermark_ns == SECOND - LATENESS_NS
    timeline.finish()
    assert timeline.watermark_ns == SECOND + 1


def test_a_sleep_is_remembered_from_the_last_frame_to_the_first_one_after() -> None:
    timeline = Timeline()
    timeline.place(times(0))
    timeline.place(times(10 * SECOND))

    assert timeline.slept_through(1, 5 * SECOND) == 10 * SECOND - LATENESS_NS
    assert timeline.slept_through(0, 5 * SECOND) is None  # the frame at 0 is inside
    assert timeline.slept_through(5 * SECOND, 10 * SECOND) is None  # may hold a late frame
    assert timeline.slept_ns == 10 * SECOND


def test_a_source_that_begins_again_goes_on_from_where_it_was() -> None:
    source = SourceTime()

    followed = source.follow(times(100 * SECOND, 200 * SECOND, 5 * SECOND, 6 * SECOND))

    assert followed.tolist() == [100 * SECOND, 200 * SECOND, 200 * SECOND, 201 * SECOND]
    assert source.restarts == 1


def test_a_small_step_back_of_a_source_is_no_restart() -> None:
    source = SourceTime()
    stepping = times(100 * SECOND, 100 * SECOND - RESTART_NS + 1)

    assert source.follow(stepping) is stepping
    assert source.restarts == 0


wild = st.lists(st.integers(0, 5 * RESTART_NS), min_size=1, max_size=30)
cuts = st.lists(st.integers(0, 30), max_size=4) | st.just(list(range(30)))


def split(values: list[int], at: list[int]) -> list[np.ndarray]:
    edges = sorted({0, len(values), *(min(a, len(values)) for a in at)})
    return [times(*values[a:b]) for a, b in pairwise(edges)]


@settings(deadline=None)
@given(wild, cuts)
def test_how_a_stream_is_cut_into_batches_changes_no_time(values: list[int], at: list[int]) -> None:
    whole_source, whole = SourceTime(), Timeline()
    parts_source, parts = SourceTime(), Timeline()

    at_once = whole.place(whole_source.follow(times(*values)))
    piecewise = [parts.place(parts_source.follow(part)) for part in split(values, at)]

    assert np.concatenate(piecewise).tolist() == at_once.tolist()
    assert (parts.late, parts.slept_ns) == (whole.late, whole.slept_ns)
    assert parts_source.restarts == whole_source.restarts


@settings(deadline=None)
@given(wild)
def test_nothing_is_ever_placed_below_an_earlier_watermark(values: list[int]) -> None:
    timeline = Timeline()

    for value in values:
        before = timeline.watermark_ns
        placed = int(timeline.place(times(value))[0])
        assert before is None or placed >= before


@settings(deadline=None)
@given(wild)
def test_no_frame_is_placed_within_a_sleep(values: list[int]) -> None:
    timeline = Timeline()
    placed = timeline.place(times(*values))

    for start in placed.tolist():
        woke = timeline.slept_through(start + 1, start + 2)
        if woke is not None:
            assert not any(start < t < woke for t in placed.tolist())


def test_short_gaps_are_no_sleep() -> None:
    timeline = Timeline()
    timeline.place(times(0, SLEEP_NS, 2 * SLEEP_NS))

    assert timeline.slept_ns == 0
