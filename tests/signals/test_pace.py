"""The pump's ticks are due at equal distances, and what is late is told for a while."""

from agent.signals.pace import Pace
from user_lib.contract.clock import MS


def test_ticks_are_due_at_equal_distances_however_long_each_takes() -> None:
    pace = Pace(20 * MS, 0)

    pace.begin(0)
    assert pace.end(5 * MS) == 15 * MS
    pace.begin(20 * MS)
    assert pace.end(28 * MS) == 12 * MS
    assert (pace.busy_ns, pace.lag_ms) == (13 * MS, 0.0)


def test_a_tick_that_took_too_long_is_not_made_up_for() -> None:
    pace = Pace(20 * MS, 0)

    pace.begin(0)
    assert pace.end(70 * MS) == 0
    assert pace.lag_ms == 50
    pace.begin(70 * MS)
    assert pace.end(71 * MS) == 19 * MS
    assert 49 < pace.lag_ms < 50


def test_a_tick_that_was_asked_for_begins_the_count_anew() -> None:
    pace = Pace(20 * MS, 0)

    pace.begin(0)
    pace.end(1 * MS)
    pace.restart(7 * MS)
    pace.begin(7 * MS)
    assert pace.end(8 * MS) == 19 * MS
