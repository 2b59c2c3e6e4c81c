"""Lost iterations: each is a result or lost, once, in whatever pieces a vehicle tells of them."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ledger import Ledger
from tests.cloud.test_ledger import added, losses_of, result_of
from user_lib.contract.messages import MAX_RUNS, Losses
from user_lib.contract.runs import Run, joined

LARGEST = 24
PIECES = st.sets(st.integers(1, LARGEST), min_size=1)
STEPS = st.lists(st.one_of(st.integers(1, LARGEST), PIECES), max_size=12)


def runs_of(numbers: set[int]) -> tuple[Run, ...]:
    return joined((n, n) for n in numbers)


def numbers_of(runs: tuple[Run, ...]) -> list[int]:
    return [n for first, last in runs for n in range(first, last + 1)]


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_each_iteration_is_a_result_or_lost_by_what_came_first(
    steps: list[int | set[int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "cloud.db")
        row = added(ledger)
        ledger.add_result(row, result_of(1, epoch="e2"), 1)
        ledger.add_result(row, result_of(2, vehicle="leaf-1"), 1)
        results: set[int] = set()
        lost: set[int] = set()
        for step in steps:
            if isinstance(step, int):
                assert ledger.add_result(row, result_of(step), 1) == (step not in results | lost)
                results |= {step} - lost
                continue
            news = ledger.members.lost(row.row, losses_of(*runs_of(step)))
            assert numbers_of(news) == sorted(step - results - lost)
            lost |= step - results
        known = {i for i in range(1, LARGEST + 1) if ledger.members.lost_in(row.row, i)}
        assert known == lost
        assert ledger.members.of(row.row)[0].lost_results == len(lost)
        ledger.close()


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (((3, 2),), "do not ascend"),
        (((0, 2),), "do not ascend"),
        (((1, 4), (4, 5)), "do not ascend"),
        (tuple((i, i) for i in range(1, 2 * MAX_RUNS + 2, 2)), f"at most {MAX_RUNS}"),
        (((1, 4), (6, 6)), ""),
    ],
)
def test_a_record_that_no_agent_would_write_says_what_is_wrong(
    runs: tuple[Run, ...], words: str
) -> None:
    record = Losses(assignment_id="job-1", epoch="e1", iterations=runs)

    assert words in record.problem
    assert bool(record.problem) == bool(words)
