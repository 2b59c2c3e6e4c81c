"""Runs say of iterations what sets of them would."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from user_lib.contract.runs import Run, joined, length, without

PIECES = st.sets(st.integers(1, 24))


def runs_of(numbers: set[int]) -> tuple[Run, ...]:
    return joined((n, n) for n in numbers)


def numbers_of(runs: tuple[Run, ...]) -> list[int]:
    return [n for first, last in runs for n in range(first, last + 1)]


@given(PIECES)
def test_runs_are_joined_as_far_as_they_touch(some: set[int]) -> None:
    runs = runs_of(some)

    assert numbers_of(runs) == sorted(some)
    assert length(runs) == len(some)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(runs))


@given(st.lists(st.tuples(st.integers(1, 24), st.integers(0, 5))))
def test_runs_that_overlap_become_one(spans: list[tuple[int, int]]) -> None:
    runs = [(first, first + more) for first, more in spans]

    assert numbers_of(joined(runs)) == sorted(set(numbers_of(tuple(runs))))


@given(PIECES, PIECES)
def test_runs_are_subtracted_as_sets_are(some: set[int], others: set[int]) -> None:
    left = without(runs_of(some), runs_of(others))

    assert numbers_of(left) == sorted(some - others)
    assert left == tuple(run for run in left if run[0] <= run[1])
