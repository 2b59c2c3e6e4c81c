"""Token buckets: nobody gets more than the rate and the burst, who stays below loses nothing."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.config import Rate
from cloud.door.allowance import FEWEST_KEPT, Allowance
from user_lib.contract.clock import SECOND
from user_lib.contract.codec import MAX_BODY_BYTES

RATE = Rate(messages_per_s=10, mb_per_s=1, burst_s=2)


@given(steps=st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, 3_000_000)), max_size=200))
def test_what_is_let_through_is_within_rate_and_burst(steps: list[tuple[int, int]]) -> None:
    allowance, now_ns, count, size = Allowance(RATE), 0, 0, 0
    for passed_ns, each in steps:
        now_ns += passed_ns
        if allowance.take("p", each, now_ns):
            count, size = count + 1, size + each
        burst_s = MAX_BODY_BYTES / 1e6  # a message of the largest size must fit in
        assert count <= 10 * (burst_s + now_ns / SECOND) + 1
        assert size <= 1e6 * (burst_s + now_ns / SECOND) + 3_000_000


def test_who_stays_below_the_rate_is_never_cut() -> None:
    allowance = Allowance(RATE)

    assert all(allowance.take("p", 90_000, i * SECOND // 10) for i in range(10_000))


def test_a_message_that_is_the_work_of_several_costs_as_much() -> None:
    one, several = Allowance(RATE), Allowance(RATE)
    for _ in range(7):
        one.take("p", 0, 0)
    several.take("p", 0, 0, messages=7)
    ones = sum(one.take("p", 0, 0) for _ in range(10_000))

    assert 0 < ones == sum(several.take("p", 0, 0) for _ in range(10_000)) < 10_000


def test_one_peers_flood_is_not_anothers() -> None:
    allowance = Allowance(RATE)
    while allowance.take("loud", 1_000_000, 0):
        pass

    assert allowance.take("quiet", 1_000_000, 0)
    wait_s = allowance.wait_s("loud", 0)
    assert wait_s > 0
    assert not allowance.take("loud", 1, 0)
    assert allowance.take("loud", 1, int(wait_s * SECOND) + 1)


def test_peers_that_owe_nothing_are_forgotten() -> None:
    allowance = Allowance(RATE)
    for i in range(100 * FEWEST_KEPT):
        allowance.take(i, 10, i * SECOND)

    assert len(allowance) <= FEWEST_KEPT + 1
