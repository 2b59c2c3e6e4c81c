"""Where a job stands, in words that leave nothing out."""

from collections.abc import Sequence

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


def test_what_was_remarked_on_the_whole_job_stands_above_its_vehicles() -> None:
    text = told(member("a", ""), notes=["until: 'los' has no value here"])

    assert text.splitlines()[2] == "  note: until: 'los' has no value here"
