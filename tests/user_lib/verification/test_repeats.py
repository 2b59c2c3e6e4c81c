"""Each identity is new once, in whatever order its iterations come."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from user_lib.contract.messages import Result
from user_lib.verification.repeats import Heard


def result(vehicle: str, epoch: str, iteration: int) -> Result:
    return Result(
        assignment_id="job-1",
        vehicle_id=vehicle,
        epoch=epoch,
        iteration=iteration,
        status="ok",
        method="mean",
        dbc_hash="d",
        window_start_ns=0,
        window_stop_ns=1,
        agent_version="1",
        created_ns=1,
    )


KEYS = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(1, 20))


@given(st.lists(KEYS))
def test_an_identity_is_new_once(keys: list[tuple[str, str, int]]) -> None:
    heard, known = Heard(), set[Any]()
    for key in keys:
        assert heard.is_new(result(*key)) is (key not in known)
        known.add(key)
