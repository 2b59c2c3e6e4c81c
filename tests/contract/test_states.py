"""The tables of the life cycles hang together."""

from user_lib.contract.states import TASK_ENDS, TASK_MOVES, TaskState


def test_every_task_state_has_its_moves() -> None:
    assert set(TASK_MOVES) == set(TaskState)


def test_nothing_leaves_an_end() -> None:
    assert all(not TASK_MOVES[end] for end in TASK_ENDS)


def test_every_task_can_reach_an_end_and_be_cancelled() -> None:
    for state in set(TaskState) - TASK_ENDS:
        assert TaskState.CANCELLED in TASK_MOVES[state]
