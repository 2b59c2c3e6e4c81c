"""Laws of the whole cloud, for any order of answers, silence, restarts and failed disks.

The service runs on a fake clock with its real ledger; vehicles are played by the test, and the
off-board method is a count. At any moment the cloud may be thrown away and built from its ledger.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.sandbox import Outcome
from cloud.auth import Auth, Peer
from cloud.config import Config
from cloud.ledger import Ledger
from cloud.offboard import Done, GroupValue, Work
from cloud.service import Service
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST, TO_VEHICLE
from user_lib.contract.messages import (
    Ack,
    Deliver,
    Events,
    Hello,
    JobChanged,
    ReadEvents,
    Request,
    Result,
    RoundClosed,
    Submit,
    TaskEnded,
)
from user_lib.contract.states import JOB_ENDS, JobState, TaskState

VEHICLES = ("a", "b", "c")
vehicles = st.sampled_from(VEHICLES)


class FakeClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return 10**18 + self.now_ns


class CloudMachine(RuleBasedStateMachine):
    """One assignment on three vehicles, and a cloud that may be built anew at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="oodida-laws-"))
        self.clock = FakeClock()
        self.works: list[Work] = []
        self.seen: list[Any] = []
        self.acked: set[tuple[str, int]] = set()
        self.sent: set[tuple[str, int]] = set()
        self.ends: set[str] = set()
        self.next: dict[str, int] = dict.fromkeys(VEHICLES, 1)
        self.number = 0
        self.state = JobState.SCHEDULED
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder / "cloud.db")
        self.service = Service(
            Config(lease_s=5, ledger=self.folder / "cloud.db"),
            self.ledger,
            self.clock,
            "test",
            Auth(None),
        )
        self.finish()

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.ledger.close()
            shutil.rmtree(self.folder)

    # --- plumbing --------------------------------------------------------------------------------

    def finish(self) -> list[Any]:
        """End a tick: take acknowledgements and answers, keep the off-board work."""
        mail, works = self.service.finish()
        self.works += works
        answers = []
        for peer, frames in mail:
            if peer == Peer(b"analyst"):
                answers.append(REPLY.decode(frames).answer)
                continue
            message = TO_VEHICLE.decode(frames)
            if isinstance(message, Ack):
                self.acked.update((peer.route.decode(), seq) for seq in message.seqs)
        return answers

    def ask(self, ask: Any) -> Any:
        self.number += 1
        request = Request(number=self.number, user="ada", ask=ask)
        self.service.receive(Peer(b"analyst"), REQUEST.encode(request))
        (answer,) = self.finish()
        return answer

    def say(self, vehicle: str, message: Any) -> None:
        self.service.receive(Peer(vehicle.encode()), FROM_VEHICLE.encode(message))

    def hello(self, vehicle: str) -> None:
        hello = Hello(vehicle_id=vehicle, epoch="e", agent_version="1", dbc_hash="d")
        self.say(vehicle, hello)

    def result(self, vehicle: str, iteration: int, ok: bool = True) -> Deliver:
        result = Result(
            assignment_id=self.job,
            epoch="e",
            iteration=iteration,
            status="ok" if ok else "error",
            value=1,
            method="mean",
            dbc_hash="d",
            window_start_ns=0,
            window_stop_ns=1,
            agent_version="1",
            created_ns=0,
        )
        return Deliver(seq=iteration, item=result)

    # --- what may happen -------------------------------------------------------------------------

    @initialize(
        iterations=st.just("forever") | st.integers(1, 5),
        quorum=st.sampled_from([0.3, 1.0]),
        feedback=st.booleans(),
    )
    def submit(self, iterations: Any, quorum: float, feedback: bool) -> None:
        for v in VEHICLES:
            self.hello(v)
        spec = {
            "signals": ["S"],
            "onboard": "mean",
            "offboard": "sum",
            "window": {"samples": 1},
            "iterations": iterations,
            "quorum": quorum,
            "feedback": feedback,
            "deadline_s": 10,
        }
        submitted = self.ask(Submit(spec=msgspec.convert(spec, Assignment), token="t"))
        self.job = submitted.assignment_id
        self.feedback = feedback

    @rule(v=vehicles, ok=st.sampled_from([True, True, False]), crash=st.booleans())
    def answer(self, v: str, ok: bool, crash: bool) -> None:
        if v in self.ends:
            return
        iteration = self.next[v]
        if self.feedback:
            rounds = [i.round for i in self.seen if isinstance(i, RoundClosed)]
            iteration = max(iteration, max(rounds, default=0) + 1)
        self.hello(v)
        self.say(v, self.result(v, iteration, ok))
        if crash:
            self.crash()
            return
        self.finish()
        assert (v, iteration) in self.acked
        self.sent.add((v, iteration))
        self.next[v] = iteration + 1

    @rule(v=vehicles)
    def repeat(self, v: str) -> None:
        for sender, iteration in sorted(self.sent):
            if sender == v:
                self.hello(v)
                self.say(v, self.result(v, iteration))
        self.finish()

    @rule(v=vehicles, state=st.sampled_from([TaskState.FINISHED, TaskState.FAILED]))
    def end(self, v: str, state: TaskState) -> None:
        self.hello(v)
        ended = TaskEnded(assignment_id=self.job, epoch="e", state=state, reason="over")
        self.say(v, Deliver(seq=10_000, item=ended))
        self.finish()
        self.ends.add(v)

    @rule(seconds=st.integers(0, 12))
    def time(self, seconds: int) -> None:
        self.clock.now_ns += seconds * SECOND
        self.service.timers()
        self.finish()

    @rule()
    def value(self) -> None:
        if self.works:
            work = self.works.pop(0)
            outcome = Outcome(status="ok", value=sum(len(p.vehicles) for p in work.closing.parts))
            values = tuple(GroupValue(part, outcome) for part in work.closing.parts)
            self.service.aggregated(Done(work=work, values=values))
            self.finish()

    @rule()
    def crash(self) -> None:
        """A kill: what was not committed is gone, and so is the work in hand."""
        self.ledger.rollback()
        self.ledger.close()
        self.works.clear()
        self.open()

    @rule(v=vehicles)
    def failed_tick(self, v: str) -> None:
        """The disk refuses a tick; the process goes on from its ledger."""
        if v not in self.ends:
            self.hello(v)
            self.say(v, self.result(v, self.next[v]))
        self.service.recover()
        self.finish()

    # --- laws ------------------------------------------------------------------------------------

    @invariant()
    def what_was_read_stays_and_nothing_is_told_twice(self) -> None:
        if not hasattr(self, "job"):
            return
        page = self.ask(ReadEvents(assignment_id=self.job, limit=1000))
        assert isinstance(page, Events)
        assert [e.seq for e in page.events] == list(range(1, len(page.events) + 1))
        items = [e.item for e in page.events]
        assert items[: len(self.seen)] == self.seen
        self.seen, self.state = items, page.state
        results = [(i.vehicle_id, i.iteration) for i in items if isinstance(i, Result)]
        assert len(results) == len(set(results))
        assert set(results) == self.sent
        self.check_rounds([i for i in items if isinstance(i, RoundClosed)])
        ends = [i for i in items if isinstance(i, JobChanged) and i.state in JOB_ENDS]
        assert bool([e for e in ends if not e.vehicle_id]) == (page.state in JOB_ENDS)

    def check_rounds(self, rounds: list[RoundClosed]) -> None:
        numbers = [r.round for r in rounds]
        assert len(numbers) == len(set(numbers))
        late = {(i.vehicle_id, i.iteration) for i in self.seen if isinstance(i, Result) and i.late}
        for closed in rounds:
            for group in closed.groups:
                assert group.value == len(group.vehicles)
                counted = {(v, closed.round) for v in group.vehicles}
                assert counted <= self.sent
                assert not counted & late

    @invariant()
    def open_rounds_wait_for_those_who_did_not_answer(self) -> None:
        for round_ in self.open_rounds():
            assert round_.pending
            assert not round_.pending & round_.answers.keys()
            given = {v for v, iteration in self.sent if iteration == round_.number}
            assert not round_.pending & (given - self.late_in(round_.number))

    def late_in(self, number: int) -> set[str]:
        results = [i for i in self.seen if isinstance(i, Result)]
        return {i.vehicle_id for i in results if i.late and i.iteration == number}

    def open_rounds(self) -> list[Any]:
        job = self.service._jobs.get(getattr(self, "job", ""))
        return [] if job is None else list(job.state.open.values())

    def check_that_nothing_in_time_was_left_out(self) -> None:
        """Once nothing is in work, each result in time is in its round, or that one is open."""
        rounds = {i.round: i for i in self.seen if isinstance(i, RoundClosed)}
        still_open = {r.number for r in self.open_rounds()}
        for result in (i for i in self.seen if isinstance(i, Result) and not i.late):
            closed = rounds.get(result.iteration)
            if closed is None:
                assert result.iteration in still_open or self.state in JOB_ENDS - {"finished"}
                continue
            counted = {v for g in closed.groups for v in g.vehicles}
            assert result.vehicle_id in counted | closed.failed.keys()

    def drain(self) -> None:
        """Whoever still has a task answers every round: the job then goes on, or has ended."""
        if not hasattr(self, "job"):
            return
        for _ in range(6):
            for v in VEHICLES:
                self.answer(v, True, False)
            while self.works:
                self.value()
            self.clock.now_ns += 30 * SECOND
            self.service.timers()
            self.finish()
            while self.works:
                self.value()
            self.what_was_read_stays_and_nothing_is_told_twice()
            self.check_that_nothing_in_time_was_left_out()
        if self.state in JOB_ENDS:
            assert len(self.service._jobs) == 0
            return
        assert self.ends != set(VEHICLES)
        assert [i for i in self.seen if isinstance(i, RoundClosed)], "no round ever closed"


CloudMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestCloud = CloudMachine.TestCase
