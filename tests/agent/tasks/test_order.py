from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.tasks.order import MAX_HEADSTART_S, in_order
from agent.tasks.task import Position, Task
from user_lib.contract.clock import SECOND
from user_lib.contract.states import TaskState
from user_lib.contract.validation import parse


def ready(name: str, priority: int, since_s: float) -> Task:
    spec = parse(
        {"signals": ["a"], "onboard": "mean", "window": {"samples": 1}, "priority": priority}
    )
    return Task(
        assignment_id=name,
        analyst="ana",
        spec=spec,
        position=Position(iteration=1),
        state=TaskState.READY,
        ready_ns=int(since_s * SECOND),
    )


def test_the_higher_priority_goes_first() -> None:
    tasks = [ready("low", 1, 0.0), ready("high", 8, 5.0)]

    assert [t.assignment_id for t in in_order(tasks)] == ["high", "low"]


def test_among_equals_the_one_that_waits_longer_goes_first() -> None:
    tasks = [ready("later", 5, 2.0), ready("earlier", 5, 1.0)]

    assert [t.assignment_id for t in in_order(tasks)] == ["earlier", "later"]


def test_only_tasks_with_a_window_wait_for_a_slot() -> None:
    gathering = replace(ready("g", 9, 0.0), state=TaskState.GATHERING)

    assert in_order([gathering]) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.floats(0, 1000, allow_nan=False)), min_size=2, max_size=20
    )
)
def test_nobody_is_overtaken_by_one_that_came_much_later(
    waits: list[tuple[int, float]],
) -> None:
    order = in_order([ready(f"t{i:02}", p, s) for i, (p, s) in enumerate(waits)])

    for place, task in enumerate(order):
        for before in order[:place]:
            assert before.ready_ns <= task.ready_ns + MAX_HEADSTART_S * SECOND


def test_the_lowest_priority_stands_before_a_fresh_highest_after_its_head_start() -> None:
    tasks = [ready("new", 9, MAX_HEADSTART_S + 1), ready("old", 0, 0)]

    assert [t.assignment_id for t in in_order(tasks)] == ["old", "new"]
