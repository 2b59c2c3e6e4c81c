"""What is missing follows from what vehicles signed, which may be any number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.runs import joined
from user_lib.contract.states import TaskState
from user_lib.verification.completeness import Completeness

LARGEST = 12
SOME = st.sets(st.integers(1, LARGEST))
HUGE = 10**15


def result(iteration: int, serial: int) -> Result:
    return Result(
        assignment_id="job-1",
        vehicle_id="v1",
        epoch="e",
        iteration=iteration,
        serial=serial,
        status="ok",
        method="mean",
        dbc_hash="d",
        window_start_ns=0,
        window_stop_ns=1,
        agent_version="1",
        created_ns=1,
    )


def lost(*runs: tuple[int, int]) -> Losses:
    return Losses(assignment_id="job-1", vehicle_id="v1", epoch="e", iterations=runs)


def ended(iterations: int) -> TaskEnded:
    return TaskEnded(
        assignment_id="job-1",
        vehicle_id="v1",
        epoch="e",
        state=TaskState.FINISHED,
        iterations=iterations,
    )


@given(SOME, SOME)
def test_each_committed_iteration_that_is_neither_here_nor_lost_is_missed(
    here: set[int], gone: set[int]
) -> None:
    completeness = Completeness()
    for iteration in sorted(here):
        completeness.hear(result(iteration, iteration))
    completeness.hear(lost(*joined((n, n) for n in gone)))
    completeness.hear(ended(LARGEST))

    missing = LARGEST - len(here | gone)
    before_gaps = [i for i in sorted(here) if i + 1 not in here and i < max(here)]
    words = f" (after {', '.join(map(str, before_gaps))})" if before_gaps else ""
    assert list(completeness.problems()) == [
        f"v1: {missing} iterations that it committed are missing{words}: held back, or still on "
        "their way"
    ] * (missing > 0)


@pytest.mark.timeout(20)
def test_numbers_that_no_vehicle_reaches_cost_nothing() -> None:
    completeness = Completeness()
    completeness.hear(result(1, 1))
    completeness.hear(result(2, HUGE))
    completeness.hear(lost((3, HUGE - 2)))

    (problem,) = completeness.problems()
    assert problem.startswith("v1: 2 iterations that it committed are missing (after 1)")
