from hw.socketcan.seldom import EVERY_NS, Seldom


class StillClock:
    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns


def test_the_first_is_told_at_once_and_the_rest_as_a_sum_when_it_is_time() -> None:
    clock, told = StillClock(), []
    seldom = Seldom(clock, told.append)

    seldom.count(3)
    seldom.count(4)
    seldom.count(5)
    assert told == [3]
    clock.now_ns += EVERY_NS - 1
    seldom.look()
    assert told == [3]
    clock.now_ns += 1
    seldom.look()
    assert told == [3, 9]


def test_nothing_is_told_of_nothing() -> None:
    clock, told = StillClock(), []
    seldom = Seldom(clock, told.append)

    seldom.count(0)
    seldom.look()

    assert told == []
