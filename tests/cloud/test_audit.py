"""What the cloud's audit log holds: who asked for what, who came and went, who was refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud.audit import Audit
from user_lib.contract.code import version_of
from user_lib.contract.messages import Cancel, Explain, ListVehicles, PushCode, Rejection, Submit
from user_lib.contract.validation import parse
from user_lib.wire.audit_entry import EVENTS
from user_lib.wire.audit_log import CURRENT, AuditLog
from user_lib.wire.audit_reading import check, read

ROOT = Path(__file__).resolve().parents[2]
CODE = "def custom(xs):\n    return 1\n"


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 1_800_000_000_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns


def test_refusals_of_one_kind_are_told_once_a_minute_with_their_number(tmp_path: Path) -> None:
    clock = FakeClock()
    audit = Audit(AuditLog(tmp_path, clock, limit_mb=1), clock)
    for _ in range(500):
        audit.refused("eve", "unknown_key", "from somewhere")
    audit.refused("bo", "not_yours", "job-1")
    audit.tick()
    audit.write()
    assert [e.who for e in read(tmp_path)] == ["eve", "bo"]

    clock.now_ns += 61_000_000_000
    audit.tick()
    audit.write()

    assert [e.detail for e in read(tmp_path)][2:] == ["499 more within a minute"]
    audit.close()


@pytest.fixture
def said(cloud: Any) -> Callable[..., list[Any]]:
    """Return what the log of the running cloud holds, of some events."""

    def entries(*events: str) -> list[Any]:
        directory = cloud.ledger.with_suffix(".audit")
        assert check(directory).problems == ()
        assert {e.event for e in read(directory)} <= EVENTS  # else nobody can ask for them
        return [e for e in read(directory) if e.event in events]

    return entries


def test_who_submitted_pushed_and_cancelled_is_there_before_the_answer_is(
    cloud: Any, analyst: Callable[..., Any], vehicle: Callable[..., Any], said: Any
) -> None:
    vehicle("car-1")
    ada = analyst("ada")
    spec = parse({"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 9}})
    job = ada.ask(Submit(spec=spec, token="t1")).assignment_id
    ada.ask(Submit(spec=spec, token="t1"))
    ada.ask(PushCode(side="onboard", source=CODE, token="t2"))
    ada.ask(Cancel(assignment_id=job))

    (submitted,) = said("submitted")
    assert (submitted.who, submitted.job, submitted.signals) == ("ada", job, ("Vehicle.Speed",))
    assert submitted.detail == "1 vehicles"
    (pushed,) = said("code_push")
    assert (pushed.code, pushed.bytes) == (version_of(CODE), len(CODE))
    assert [e.job for e in said("cancelled", "ended")] == [job, job]


def test_who_asks_for_what_is_anothers_is_in_the_log(
    cloud: Any, analyst: Callable[..., Any], vehicle: Callable[..., Any], said: Any
) -> None:
    vehicle("car-1")
    spec = parse({"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 9}})
    job = analyst("ada").ask(Submit(spec=spec, token="t1")).assignment_id

    answer = analyst("eve").ask(Explain(assignment_id=job))

    assert isinstance(answer, Rejection)
    (refused,) = said("refused")
    assert (refused.who, refused.reason) == ("eve", "not_yours")
    assert job in refused.detail


def test_a_cloud_that_is_killed_goes_on_with_its_log(cloud: Any, analyst: Any, said: Any) -> None:
    analyst("ada").ask(ListVehicles())
    cloud.kill()
    cloud.restart()
    analyst("ada").ask(ListVehicles())

    assert [e.number for e in said("started")] == [1, 2]
    found = subprocess.run(
        [sys.executable, "-m", "user_lib.cli", "audit", str(cloud.ledger.parent), "--check"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


def test_a_log_that_was_shortened_while_the_cloud_was_stopped_says_so(
    cloud: Any, analyst: Any
) -> None:
    directory = cloud.ledger.with_suffix(".audit")
    analyst("ada").ask(PushCode(side="onboard", source=CODE, token="t1"))
    cloud.kill()
    lines = (directory / CURRENT).read_bytes().splitlines(keepends=True)
    (directory / CURRENT).write_bytes(b"".join(lines[:-1]))
    cloud.restart()
    analyst("ada").ask(ListVehicles())

    (problem,) = check(directory).problems
    assert f"entries {len(lines)} to {len(lines)} were removed" in problem
    cloud.kill()
    cloud.restart()
    analyst("ada").ask(ListVehicles())
    assert len(check(directory).problems) == 1
    assert {e.event for e in read(directory)} <= EVENTS
