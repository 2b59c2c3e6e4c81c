"""Where a job stands, in words that leave nothing out."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from user_lib.contract.messages import Explanation, JobInfo, MemberInfo
from user_lib.contract.states import JobState, TaskState
from user_lib.contract.validation import parse
from user_lib.explain import MAX_DETAIL, explain_text

TRACEBACK = "traceback: " + "x" * MAX_DETAIL + "\n  KeyError: 'Vehicle.Sped'"


def told(*members: MemberInfo, notes: Sequence[str] = ()) -> str:
    job = JobInfo(
        assignment_id="job-1",
        analyst="ada",
        spec=parse({"signals": ["Vehicle.Speed"], "onboard": "custom", "window": {"samples": 9}}),
        state=JobState.FINISHED,
        reason="iterations",
        created_ns=1,
        ended_ns=2,
        vehicles=tuple(m.vehicle_id for m in members),
        rounds_closed=1,
        results=1,
        last_seq=1,
    )
    shown = Explanation(job=job, members=members, open_rounds=(), waiting_for=())
    return explain_text(shown, notes)


def member(name: str, detail: str, last_failure: str = "") -> MemberInfo:
    return MemberInfo(
        vehicle_id=name,
        online=True,
        state=TaskState.FAILED,
        detail=detail,
        last_failure=last_failure,
    )


def test_a_detail_that_the_table_cuts_stands_below_it_once_with_its_vehicles() -> None:
    text = told(member("a", TRACEBACK), member("b", TRACEBACK), member("c", "cancelled"))

    table, *below = text.split("\na, b:\n")
    assert "KeyError" not in table
    assert len(below) == 1
    assert below[0].endswith("KeyError: 'Vehicle.Sped'")


def test_a_task_that_came_to_its_end_still_tells_of_its_failures() -> None:
    text = told(member("a", "all 2 iterations are done", "traceback: ZeroDivisionError"))

    assert "all 2 iterations are done; last failure: traceback: ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ({"outbox_full": 5}, "5 results lost, its outbox was full"),
        ({"rule cabin": 5}, "5 results lost: rule cabin of the vehicle's owner keeps them there"),
        ({"untrusted": 5}, "the vehicle's owner no longer trusts the analyst"),
        ({"else": 5}, "5 results lost (else)"),
        ({"rule cabin": 3, "outbox_full": 2}, "keeps them there; 2 results lost, its outbox"),
        ({}, "5 results lost"),  # of a cloud that does not tell why
        ({"outbox_full": 2}, "2 results lost, its outbox was full; 3 results lost"),
    ],
)
def test_lost_results_are_told_with_their_reason(reasons: dict[str, int], words: str) -> None:
    text = told(replace(member("a", ""), lost_results=5, lost_for=reasons))

    assert words in text
    assert ("outbox" in text) == ("outbox_full" in reasons)


def test_what_was_remarked_on_the_whole_job_stands_above_its_vehicles() -> None:
    text = told(member("a", ""), notes=["until: 'los' has no value here"])

    assert text.splitlines()[2] == "  note: until: 'los' has no value here"


def test_who_waits_for_the_owners_budget_is_not_said_to_wait_for_a_slot() -> None:
    words = "waits: rule few: 2 results a day of ada are used up; goes on in 3.0 h of running"
    ready = replace(member("a", words), state=TaskState.READY)

    assert "has its window, waits for the owner's budget" in told(ready)
    assert "worker slot" not in told(ready)
    assert "waits for a worker slot" in told(replace(ready, detail="waits for a worker slot"))
