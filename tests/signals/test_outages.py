import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.signals.outages import OUTAGES_KEPT, Outages

CHANNELS = ("a", "b", "c")
STEPS = st.lists(st.tuples(st.integers(0, 5), st.sets(st.sampled_from(CHANNELS))), max_size=30)


@given(
    steps=STEPS,
    asked=st.sets(st.sampled_from(CHANNELS)),
    bounds=st.tuples(*[st.integers(0, 90)] * 2),
)
def test_what_was_away_is_the_sum_of_the_moments_in_which_any_was(
    steps: list[tuple[int, set[str]]], asked: set[str], bounds: tuple[int, int]
) -> None:
    """Against a slow account that asks for each moment by itself."""
    outages, now = Outages(), 0
    state_at: dict[int, set[str]] = {}
    last: set[str] = set()
    for wait, away in steps:
        state_at |= dict.fromkeys(range(now, now + wait), last)
        now, last = now + wait, away
        outages.note(away, now)
    state_at |= dict.fromkeys(range(now, 100), last)
    start, stop = sorted(bounds)

    expected = sum(1 for moment in range(start, stop) if state_at[moment] & asked)

    assert outages.between(asked, start, stop) == expected


def test_an_outage_that_lasts_counts_up_to_where_one_looks() -> None:
    outages = Outages()
    outages.note({"a"}, 100)

    assert outages.between({"a"}, 0, 130) == 30
    assert outages.between({"b", None}, 0, 130) == 0
    outages.note((), 150)
    assert outages.between({"a"}, 0, 1000) == 50


def test_what_is_away_before_any_frame_is_away_from_the_first_one_on() -> None:
    outages = Outages()
    outages.note({"a"}, None)
    outages.note({"a"}, 500)

    assert outages.between({"a"}, 0, 600) == 100


def test_a_time_that_steps_back_makes_no_outage_twice() -> None:
    outages = Outages()
    for away, now in (({"a"}, 100), ((), 200), ({"a"}, 190), ((), 210), ({"a"}, 205), ((), 202)):
        outages.note(away, now)

    assert outages.between({"a"}, 0, 1000) == 110


@pytest.mark.parametrize("more", [0, 1, 500])
def test_of_too_many_outages_the_oldest_grow_together(more: int) -> None:
    outages = Outages()
    n = OUTAGES_KEPT + more
    for i in range(n):
        outages.note({"a"}, 10 * i)
        outages.note((), 10 * i + 1)

    newest = 10 * (more + 1)
    assert outages.between({"a"}, newest, 10 * n) == OUTAGES_KEPT - 1
    assert outages.between({"a"}, 0, newest) == newest - 9
