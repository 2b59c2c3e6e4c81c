"""Ready-made assignments, messages and moments for the tests of the agent."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.tasks.task import Now, Position, Task
from user_lib.contract.assignment import Assignment, parse
from user_lib.contract.clock import SECOND
from user_lib.contract.code import version_of
from user_lib.contract.messages import Result, SetCode

SPEC = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}}


@pytest.fixture
def spec() -> Callable[..., Assignment]:
    """Return an assignment of the mean speed, with changes."""
    return lambda **changes: parse({**SPEC, **changes})


@pytest.fixture
def task(spec: Callable[..., Assignment]) -> Callable[..., Task]:
    """Return a new task, with changes of its assignment."""
    return lambda **changes: Task(
        assignment_id="job-1",
        analyst="ana",
        spec=spec(**changes),
        position=Position(iteration=1),
    )


@pytest.fixture
def at() -> Callable[[float], Now]:
    """Return both clocks so many seconds after the test began."""
    return lambda seconds: Now(int(seconds * SECOND), int((1_800_000_000 + seconds) * SECOND))


@pytest.fixture
def set_code() -> Callable[..., SetCode]:
    """Return the message that arms a source as a generation."""
    return lambda generation, source, analyst="ana": SetCode(
        analyst=analyst,
        generation=generation,
        version=version_of(source) if source else "",
        source=source,
    )


@pytest.fixture
def result() -> Callable[..., Result]:
    """Return a result, with changes."""

    def make(**changes: Any) -> Result:
        plain: dict[str, Any] = {
            "assignment_id": "job-1", "vehicle_id": "car-1", "epoch": "e", "iteration": 1,
            "status": "ok", "value": 1.5, "method": "mean", "dbc_hash": "d",
            "window_start_ns": 0, "window_stop_ns": 1, "agent_version": "0", "created_ns": 0,
        }  # fmt: skip
        return Result(**{**plain, **changes})

    return make
