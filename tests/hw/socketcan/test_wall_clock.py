"""Times of arrival, when the wall clock is set back and forth."""

from typing import Any

import numpy as np
import pytest

from hw.socketcan.wall_clock import ArrivalTimes, Reading, monotonic_of
from user_lib.contract.clock import MS, SECOND


class Setting:
    """Two clocks: a test advances both, or sets the wall clock."""

    def __init__(self) -> None:
        self.now_ns, self.ahead_ns = 5 * SECOND, 10**18
        self.stamps: list[int] = []
        self.truth: list[int] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns + self.ahead_ns

    def frame(self, after_ns: int) -> None:
        self.now_ns += after_ns
        self.stamps.append(self.unix_ns())
        self.truth.append(self.now_ns + 10**18)

    def take(self) -> tuple[np.ndarray[Any, np.dtype[Any]], ...]:
        taken, self.stamps = np.array(self.stamps, np.int64), []
        return taken, np.zeros(len(taken), np.uint8)


@pytest.mark.parametrize("step_ns", [-3600 * SECOND, -5 * MS, -1 * MS, 1 * MS, 3600 * SECOND])
@pytest.mark.parametrize("set_before", [0, 1, 7, 20])
def test_no_setting_of_the_wall_clock_moves_a_frame(step_ns: int, set_before: int) -> None:
    clock = Setting()
    times = ArrivalTimes(clock)
    found = []
    for batch in range(3):
        for i in range(20):
            if batch == 1 and i == set_before:
                clock.ahead_ns += step_ns
            clock.frame(250_000)
        if batch == 1 and set_before == 20:
            clock.ahead_ns += step_ns
        clock.now_ns += 100_000
        found += times.of(*clock.take()).tolist()

    assert found == clock.truth


def test_every_bus_has_its_own_order_when_the_wall_clock_is_set() -> None:
    clock = Setting()
    times = ArrivalTimes(clock)
    for i in range(20):
        clock.ahead_ns -= (i == 12) * 5 * MS
        clock.frame(250_000)
    (stamps, _), bus = clock.take(), np.arange(20, dtype=np.uint8) % 3
    by_bus = np.argsort(bus, kind="stable")

    found = times.of(stamps[by_bus], bus[by_bus])

    assert found.tolist() == np.array(clock.truth)[by_bus].tolist()


def test_a_slow_drift_between_readings_is_not_followed() -> None:
    clock = Setting()
    times = ArrivalTimes(clock)
    clock.frame(MS)
    clock.ahead_ns += 20_000

    assert abs(int(times.of(*clock.take())[0]) - clock.truth[0]) <= 20_000


def test_a_frame_without_a_stamp_came_now() -> None:
    before, now = Reading(0, 100), Reading(50, 100)

    assert monotonic_of(np.array([110, 0, 130]), before, now).tolist() == [10, 50, 30]


def test_a_stamp_of_the_future_came_now() -> None:
    before, now = Reading(0, 100), Reading(50, 100)

    assert monotonic_of(np.array([110, 10_000]), before, now).tolist() == [10, 50]
