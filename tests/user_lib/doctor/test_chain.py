from typing import Any

import pytest

from user_lib.cli import main
from user_lib.contract.messages import (
    Explain,
    Explanation,
    JobInfo,
    MemberInfo,
    Rejection,
    VehicleInfo,
)
from user_lib.contract.states import JobState, TaskState
from user_lib.contract.validation import parse
from user_lib.doctor.chain import diagnose, vehicle_links
from user_lib.doctor.diagnosis import Diagnosis, diagnosis_text

SPEC = {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}}
STATS = {"frames.total": 1000.0, "frames.unmatched": 250.0}
KNOWN = {"car-1": {"Vehicle.Speed", "Vehicle.Acceleration.Longitudinal"}}


def car(**changes: Any) -> VehicleInfo:
    plain: dict[str, Any] = {
        "vehicle_id": "car-1", "online": True, "last_seen_ns": 1, "agent_version": "1",
        "model": "kona", "profile": "kona", "tags": {}, "dbc_hash": "d", "external_methods": (),
        "accepts_custom": True, "sandbox": "full", "tasks": (), "outbox": 0, "stats": STATS,
    }  # fmt: skip
    return VehicleInfo(**{**plain, **changes})


def diagnosed(
    member: dict[str, Any],
    spec: dict[str, Any] | None = None,
    job: JobState = JobState.RUNNING,
    **vehicle: Any,
) -> Diagnosis:
    plain = {"vehicle_id": "car-1", "online": True, "state": TaskState.GATHERING, "iteration": 1}
    info = JobInfo(
        assignment_id="job-1", analyst="ana", spec=parse({**SPEC, **(spec or {})}),
        state=job, reason="why", created_ns=0, ended_ns=None, vehicles=("car-1",),
        rounds_closed=0, results=0, last_seq=0,
    )  # fmt: skip
    explanation = Explanation(
        job=info, members=(MemberInfo(**{**plain, **member}),), open_rounds=(1,), waiting_for=()
    )
    (found,) = diagnose(explanation, {"car-1": car(**vehicle)}, KNOWN)
    return found


@pytest.mark.parametrize(
    ("member", "spec", "vehicle", "ends_at", "said"),
    [
        ({"online": False, "detail": "offline; last: runs"}, {}, {}, "online", "offline"),
        ({"state": None}, {}, {}, "assigned", "has not answered"),
        (
            {"state": TaskState.REJECTED, "detail": "forbidden: the owner keeps it"},
            {}, {}, "accepted", "the owner keeps it",
        ),
        ({}, {"signals": ["Vehicle.Sped"]}, {}, "signal known", "did you mean Vehicle.Speed"),
        (
            {"state": TaskState.FAILED, "detail": "unknown_signal: no signal 'Vehicle.Speed'"},
            {}, {}, "signal known", "no signal",
        ),
        ({}, {}, {"stats": {"frames.total": 0.0}}, "frames seen", "0 frames"),
        (
            {"detail": "3 of 10 samples; no frame of VehicleMotion for 7 s"},
            {}, {}, "frames seen", "no frame of VehicleMotion",
        ),
        (
            {}, {}, {"stats": {**STATS, "source.disconnected": 1.0}},
            "frames seen", "1 interfaces are away",
        ),
        (
            {}, {}, {"stats": {"frames.total": 9.0, "frames.unmatched": 9.0}},
            "decoded", "another car",
        ),
        (
            {"detail": "0 of 10 samples; no frame of VehicleMotion for 7 s"}, {},
            {"stats": {"frames.total": 9.0, "frames.unmatched": 9.0}}, "decoded", "another car",
        ),
        (
            {"state": TaskState.FAILED, "rule": "driving", "detail": "signal_forbidden: its owner"},
            {}, {}, "accepted", "ended by rule driving; signal_forbidden: its owner",
        ),
        (
            {"state": TaskState.FAILED, "detail": "untrusted: no more", "results": 3},
            {}, {}, "accepted", "ended by lost trust",
        ),
        (
            {"state": TaskState.FAILED, "detail": "code_failed: it failed", "results": 3},
            {}, {}, "computed", "code_failed",
        ),
        (
            {"results": 3, "lost_results": 5, "lost_for": {"rule driving": 5}},
            {}, {}, "sent", "5 results lost: rule driving",
        ),
        (
            {"state": TaskState.PAUSED, "results": 3, "detail": "disk full"},
            {}, {}, "computed", "disk full",
        ),
        ({"last_failure": "error: ZeroDivisionError"}, {}, {}, "computed", "ZeroDivisionError"),
        (
            {"state": TaskState.READY, "detail": "waits for a worker slot for 9 s"},
            {}, {}, "computed", "worker slot",
        ),
        (
            {}, {}, {"stats": {**STATS, "pump.lag_ms": 12_000.0}},
            "frames seen", "for 12 s its agent has taken none in",
        ),
    ],
)  # fmt: skip
def test_the_first_open_link_is_named(
    member: dict[str, Any], spec: dict[str, Any], vehicle: dict[str, Any], ends_at: str, said: str
) -> None:
    found = diagnosed(member, spec, **vehicle)

    assert found.broken is not None
    assert found.broken.name == ends_at
    assert said in found.broken.found
    assert found.broken.advice
    text = diagnosis_text([found])
    assert f"=> it ends at: {ends_at}" in text
    assert f"to do: {found.broken.advice}" in text


BUDGET = "waits: rule few: 2 results a day of ana are used up; goes on in 3.0 h of running"
DRIVEN = {"when": "Vehicle.Speed > 300"}


@pytest.mark.parametrize(
    ("member", "spec", "waits_at", "said", "to_do"),
    [
        (
            {"state": TaskState.READY, "detail": BUDGET, "results": 2}, {},
            "computed", f"for the owner's budget it {BUDGET}", "goes on by itself",
        ),
        ({"state": TaskState.READY, "detail": BUDGET}, DRIVEN, "computed", "budget", "by itself"),
        (
            {"detail": "waits for Vehicle.Speed > 300; 0 triggers so far"}, DRIVEN,
            "condition true", "0 triggers", "the same job without `when`",
        ),
        (
            {"state": TaskState.READY, "detail": "waits for the analyst's code to arrive"}, {},
            "computed", "the analyst's code", "",
        ),
    ],
)  # fmt: skip
def test_a_job_that_waits_is_not_broken_and_says_for_what(
    member: dict[str, Any], spec: dict[str, Any], waits_at: str, said: str, to_do: str
) -> None:
    found = diagnosed(member, spec)

    assert found.broken is None
    assert found.waits_at is not None
    assert found.waits_at.name == waits_at
    assert said in found.waits_at.found
    text = diagnosis_text([found])
    assert f"=> nothing is broken; it waits at: {waits_at} ({found.waits_at.found})" in text
    assert to_do in found.waits_at.advice
    assert ("to do: " in text) == bool(to_do)


@pytest.mark.parametrize(
    ("state", "member", "said"),
    [
        (JobState.FINISHED, {"state": TaskState.FINISHED, "results": 2}, "the job is done"),
        (JobState.RUNNING, {"state": TaskState.FINISHED, "results": 2}, "its part is done"),
        (JobState.FINISHED, {"state": TaskState.CANCELLED}, "the job is done"),
        (JobState.CANCELLED, {"state": TaskState.CANCELLED}, "the job was cancelled"),
        (JobState.CANCELLED, {"state": None}, "the job was cancelled"),
        (JobState.CANCELLED, {"state": TaskState.READY, "detail": BUDGET}, "was cancelled"),
        (JobState.FAILED, {"state": TaskState.FINISHED}, "its part is done; the job failed (why)"),
        (
            JobState.FINISHED,
            {"state": TaskState.FINISHED, "lost_results": 5, "lost_for": {"outbox_full": 5}},
            "the job is done; 5 results lost, its outbox was full",
        ),
    ],
)
@pytest.mark.parametrize("online", [True, False])
def test_a_job_that_is_over_waits_for_nothing_however_its_vehicle_is_by_now(
    state: JobState, member: dict[str, Any], said: str, online: bool
) -> None:
    stats = {"frames.total": 9.0, "frames.unmatched": 9.0}
    found = diagnosed({"online": online, **member}, job=state, stats=stats)

    assert found.broken is None
    assert found.waits_at is None
    text = diagnosis_text([found])
    assert "=> nothing is broken: " in text
    assert said in text
    assert "waits at" not in text


def test_what_a_rule_ended_had_computed_until_then() -> None:
    found = diagnosed(
        {"state": TaskState.FAILED, "rule": "driving", "detail": "signal_forbidden", "results": 3}
    )

    assert {link.name: link.holds for link in found.links}["computed"] == "yes"


@pytest.mark.parametrize(
    ("state", "job", "advice"),
    [
        (TaskState.GATHERING, JobState.RUNNING, "the job goes on with it"),
        (TaskState.FAILED, JobState.FAILED, "submit it again: this one has ended"),
        (TaskState.FAILED, JobState.RUNNING, "submit it again: this one has ended"),
        (TaskState.FINISHED, JobState.FINISHED, "submit it again: this one has ended"),
    ],
)
def test_corrected_code_helps_a_job_only_while_it_runs(
    state: TaskState, job: JobState, advice: str
) -> None:
    found = diagnosed({"state": state, "last_failure": "traceback: ZeroDivisionError"}, job=job)

    assert found.broken is not None
    assert found.broken.name == "computed"
    assert found.broken.advice.endswith(advice)


def test_a_job_that_only_has_to_wait_has_no_open_link() -> None:
    found = diagnosed({})

    assert found.broken is None
    assert found.waits_at is not None
    text = diagnosis_text([found])
    assert "=> nothing is broken; it waits at: computed (its first window is not complete)" in text


def test_a_job_with_results_has_no_open_link() -> None:
    found = diagnosed({"results": 3, "iteration": 4})

    assert found.broken is None
    assert {link.name: link.holds for link in found.links}["acknowledged"] == "yes"
    assert "it ends at" not in diagnosis_text([found])


def test_results_that_wait_on_a_vehicle_that_is_away_are_told() -> None:
    found = diagnosed({"online": False, "detail": "offline"}, outbox=12, online=False)

    sent = next(link for link in found.links if link.name == "sent")
    assert (sent.holds, sent.found) == ("no", "12 results of all jobs wait in its outbox")


@pytest.mark.parametrize(
    ("silent_s", "delivered_s", "broken"),
    [
        (30.0, 0, "sent"),  # nothing since the cloud began
        (30.0, 60, "sent"),  # nothing since 40 s: longer than the silence
        (30.0, 90, "acknowledged"),
        (5.0, 60, ""),  # it was sent once, and may be under way
    ],
)
def test_who_gets_no_answer_is_told_by_when_the_cloud_last_got_something(
    silent_s: float, delivered_s: int, broken: str
) -> None:
    found = diagnosed(
        {"results": 7}, outbox=5, last_seen_ns=100 * 10**9, delivered_ns=delivered_s * 10**9,
        stats={**STATS, "outbox.unanswered_s": silent_s},
    )  # fmt: skip

    assert (found.broken.name if found.broken else "") == broken


def test_a_vehicle_by_itself_tells_what_ails_it() -> None:
    found = vehicle_links(car(sandbox="unconfined", stats={**STATS, "pump.lag_ms": 5000.0}))

    broken = [link.name for link in found.links if link.holds == "no"]
    assert broken == ["keeps pace", "custom code"]
    assert vehicle_links(car()).broken is None


@pytest.mark.parametrize("what", ["job-1", "compact-1"])
def test_the_command_takes_a_job_or_a_vehicle(
    what: str, cloud: Any, make: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = make.job_info(JobState.RUNNING) if what == "job-1" else None
    name = asked.assignment_id if asked is not None else what

    status = main(["doctor", name, "--cloud", cloud.endpoint, "--user", "ada", "--insecure"])

    text = capfd.readouterr().out
    assert status in (0, 1)
    assert (status == 1) == ("=> it ends at" in text)
    assert "compact-1" in text
    assert "frames seen" in text


def test_the_command_says_when_it_knows_neither(
    cloud: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    played = cloud.script

    def script(ask: Any) -> Any:
        if isinstance(ask, Explain):
            return Rejection(reason="unknown_job", message="no such job")
        return played(ask)

    cloud.script = script

    fleet = ["--cloud", cloud.endpoint, "--user", "ada", "--insecure"]
    assert main(["doctor", "nothing", *fleet]) == 1
    assert "there is no job and no vehicle 'nothing'; no such job" in capfd.readouterr().err
    assert main(["doctor", "compact-9", *fleet]) == 1
    assert "no vehicle 'compact-9'; did you mean compact-1?" in capfd.readouterr().err
