"""A cloud that builds its handlers anew while it runs: deadlines and durations go on."""

import select
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.auth import Peer
from cloud.offboard.workers import Workers
from tests.cloud.test_clock_jumps import DURATION_S, SPEC, Cloud, TwoClocks
from user_lib.contract.codec import REPLY, REQUEST
from user_lib.contract.messages import Explain, Hello, Ping, Pong, Rejection, Request, Submit
from user_lib.contract.states import JobState

DEADLINE_S = 20
PATIENCE_S = 10 + 5
"""The lease, and what a vehicle takes to find a cloud again."""


class FailingClock(TwoClocks):
    """A wall clock that cannot be read while it is ``broken``: an error nobody foresaw."""

    broken = False

    def unix_ns(self) -> int:
        if self.broken:
            raise OSError("no clock")
        return super().unix_ns()


class Faulty(Cloud):
    """A cloud that can be made to fail at a request."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, {}
        self.clock = FailingClock()
        self.start()

    def fail(self) -> Any:
        """Ask for what the cloud fails at, and return its answer."""
        request = Request(number=7, user="eve", ask=Submit(spec=SPEC, token="x"))
        self.clock.broken = True
        self.service.receive(Peer(b"eve"), REQUEST.encode(request))
        self.clock.broken = False
        mail, _ = self.service.finish()
        (reply,) = (REPLY.decode(f) for peer, f in mail if peer == Peer(b"eve"))
        assert reply.number == 7
        return reply.answer

    def begin(self, **spec: Any) -> str:
        """Submit an assignment to two vehicles of which one answers the first round."""
        for name in ("kona", "leaf"):
            self.say(name, Hello(vehicle_id=name, epoch="e", agent_version="1", dbc_hash="d"))
        wanted = msgspec.structs.replace(SPEC, **spec)
        job: str = self.ask(Submit(spec=wanted, token="t")).assignment_id
        self.pass_time(1)
        self.answer("kona", job, 1)
        return job

    def told(self, job: str) -> Any:
        return self.ask(Explain(assignment_id=job))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Faulty]:
    cloud = Faulty(tmp_path)
    yield cloud
    cloud.ledger.close()


def test_who_asks_what_the_cloud_fails_at_is_told_so_and_others_go_on(cloud: Faulty) -> None:
    answer = cloud.fail()

    assert isinstance(answer, Rejection)
    assert answer.reason == "internal"
    assert isinstance(cloud.ask(Ping()), Pong)
    assert cloud.service.complaints.counts["internal error"] == 1


def test_who_makes_the_cloud_fail_in_a_loop_stops_no_deadline_and_no_duration(
    cloud: Faulty,
) -> None:
    job = cloud.begin()
    for second in range(1, DEADLINE_S + 1):
        assert 1 in cloud.told(job).open_rounds, second
        cloud.pass_time(1)
        cloud.fail()
    cloud.pass_time(1)
    assert 1 not in cloud.told(job).open_rounds

    for _ in range(DURATION_S - DEADLINE_S - 5):
        assert cloud.told(job).job.state is JobState.RUNNING
        cloud.fail()
        cloud.pass_time(1)
    for _ in range(8):
        cloud.fail()
        cloud.pass_time(1)
    assert cloud.told(job).open_rounds == ()


def test_a_round_that_waits_for_nobody_who_is_there_goes_on_with_its_deadline(
    cloud: Faulty,
) -> None:
    job = cloud.begin()
    cloud.service.unreachable(Peer(b"leaf"))
    for _ in range(DEADLINE_S - 1):
        cloud.clock.go_on(1)
        cloud.service.timers()
        cloud.fail()
    assert 1 in cloud.told(job).open_rounds
    cloud.clock.go_on(2)
    cloud.service.timers()
    assert 1 not in cloud.told(job).open_rounds


def test_a_tick_that_is_forgotten_holds_no_deadline_against_who_has_to_tell_it_again(
    cloud: Faulty,
) -> None:
    job = cloud.begin()
    cloud.pass_time(DEADLINE_S - 2)
    cloud.clock.go_on(10)  # a full disk
    cloud.service.recover()
    cloud.pass_time(PATIENCE_S - 1)
    assert 1 in cloud.told(job).open_rounds
    cloud.pass_time(2)
    assert 1 not in cloud.told(job).open_rounds


def test_a_round_that_is_submitted_again_while_it_is_in_work_is_in_work_once(
    cloud: Faulty,
) -> None:
    cloud.answer("leaf", cloud.begin(), 1, finish=False)
    _, works = cloud.service.finish()
    (work,) = works
    later = replace(work, closing=msgspec.structs.replace(work.closing, number=2))
    workers = Workers(cloud.service.ledger_path, threads=1)
    try:
        for each in (work, work, later):
            workers.submit(each)
        assert take_until(workers, 2) == [1, 2]
        workers.submit(work)
        assert take_until(workers, 1) == [1]
    finally:
        workers.close()


def take_until(workers: Workers, number: int) -> list[int]:
    """Wait until a round was finished, and return all that were until then."""
    found: list[int] = []
    while number not in found:
        ready, _, _ = select.select([workers.wake_fd], [], [], 60)
        assert ready
        found += [done.work.closing.number for done in workers.take()]
    return found
