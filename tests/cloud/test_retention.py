"""What ended long ago is removed by time that passed, not by what a clock says."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.retention import CATCH_UP
from tests.cloud.test_clock_jumps import SPEC, Cloud
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Cancel, Explain, Hello, Rejection, Submit

DAY_S = 24 * 3600
DAY_NS = DAY_S * SECOND
KEPT_DAYS = 90


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path, keep_ended_days=float(KEPT_DAYS))
    yield cloud
    cloud.ledger.close()


def ended(cloud: Cloud, token: str) -> str:
    """Return an assignment that has ended, with a result."""
    cloud.say("kona", Hello(vehicle_id="kona", epoch="e", agent_version="1", dbc_hash="d"))
    job: str = cloud.ask(Submit(spec=SPEC, token=token)).assignment_id
    cloud.answer("kona", job, 1)
    cloud.ask(Cancel(assignment_id=job))
    run(cloud, 1)
    return job


def run(cloud: Cloud, hours: int) -> None:
    """Let the cloud run for hours of real time."""
    for _ in range(hours):
        cloud.clock.go_on(3600 - 5)
        for _ in range(5):  # bit by bit
            cloud.clock.go_on(1)
            cloud.service.timers()
            cloud.service.finish()


def is_kept(cloud: Cloud, job: str) -> bool:
    return not isinstance(cloud.ask(Explain(assignment_id=job)), Rejection)


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_a_clock_that_jumps_ahead_and_back_removes_nothing_and_is_told_of(
    cloud: Cloud, restarts: int, caplog: pytest.LogCaptureFixture
) -> None:
    job = ended(cloud, "t")
    with caplog.at_level(logging.INFO, "cloud.retention"):
        cloud.clock.unix += 400 * DAY_NS
        for restart in range(restarts + 1):
            ended(cloud, f"with a wrong time in the ledger {restart}")
            run(cloud, 20)
            assert is_kept(cloud, job)
            if restarts:
                cloud.restart()
        cloud.clock.unix -= 400 * DAY_NS
        run(cloud, 2)

    assert is_kept(cloud, job)
    assert "days ahead of what this cloud has seen pass" in caplog.text
    assert "goes by the clock again" in caplog.text or restarts


def test_what_ended_is_removed_once_its_days_have_passed(cloud: Cloud) -> None:
    job = ended(cloud, "t")
    run(cloud, 24 * KEPT_DAYS - 2)
    assert is_kept(cloud, job)

    run(cloud, 4)

    assert not is_kept(cloud, job)


def test_after_a_cloud_was_off_for_long_it_catches_up(cloud: Cloud) -> None:
    job = ended(cloud, "t")
    cloud.clock.unix += 2 * KEPT_DAYS * DAY_NS
    cloud.restart()

    days = KEPT_DAYS // CATCH_UP
    run(cloud, 24 * days)
    assert is_kept(cloud, job)
    run(cloud, 24)

    assert not is_kept(cloud, job)


def test_a_ledger_of_before_goes_by_the_newest_time_in_it(cloud: Cloud) -> None:
    cloud.settings.clear()
    cloud.restart()
    job = ended(cloud, "t")
    cloud.clock.unix += 2 * KEPT_DAYS * DAY_NS
    cloud.settings["keep_ended_days"] = float(KEPT_DAYS)
    cloud.restart()

    run(cloud, 24)

    assert is_kept(cloud, job)
