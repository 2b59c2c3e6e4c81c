"""A cloud in an attacker's hands against a real analyst client: what it forges is not believed."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from msgspec.structs import replace

from cloud.auth import ENROLLED
from cloud.config import Bounds
from cloud.door.doorman import Doorman
from cloud.door.router import Router
from user_lib.contract.clock import SystemClock
from user_lib.contract.code import version_of
from user_lib.contract.codec import REPLY, REQUEST
from user_lib.contract.content import ResultBody, content_of, pack
from user_lib.contract.errors import ProtocolError, SignatureError
from user_lib.contract.messages import (
    Ask,
    Chunk,
    CodeSlot,
    CodeSlots,
    CodeStatus,
    Event,
    Events,
    Explain,
    Explanation,
    JobChanged,
    Losses,
    Ping,
    Pong,
    Proof,
    Prove,
    PushCode,
    ReadChunk,
    ReadEvents,
    Rejection,
    Reply,
    Result,
    RollbackCode,
    RoundClosed,
    Submit,
    Submitted,
    TaskEnded,
)
from user_lib.contract.signed import Signed, SlotOrder, assignment_id_of
from user_lib.contract.signing import open_slot, seal, sign_item
from user_lib.contract.states import JobState, RoundState, TaskState
from user_lib.fleet import Fleet, connect
from user_lib.wire.enrolment import enrol
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys, write_card, write_keys

CLOUD, ADA = create_keys("cloud", "cloud"), create_keys("ada", "analyst")
EVE = create_keys("eve", "analyst")
CARS = {name: create_keys(name, "vehicle") for name in ("compact-1", "wagon-1")}
FAKE = create_keys("compact-1", "vehicle")
GOOD = "def custom(xs):\n    return 1\n"
EVIL = version_of("def custom(xs):\n    return 'mine'\n")


class LyingCloud:
    """Answers as an honest cloud would, but for what a test makes it forge."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self.signed: Signed | None = None
        self.job = ""
        self.tamper: Callable[[Any], Any] = lambda answer: answer
        self.cards = tuple(keys.card for keys in CARS.values())
        self.slot = CodeSlot(side="onboard", generation=0, version="")
        self.pushed: list[Any] = []
        self.results: list[Any] = []
        self.changes: list[JobChanged] = []
        self.rounds: Callable[[RoundClosed], list[RoundClosed]] = lambda closed: [closed]
        self.over = True
        self.ends: list[TaskEnded] = []
        self.contents: dict[str, bytes] = {}

    def __call__(self, ask: Ask) -> Any:
        return self.tamper(self._answer(ask))

    def _answer(self, ask: Ask) -> Any:
        match ask:
            case Ping():
                return Pong(cloud_version="1", vehicles_online=2)
            case Submit():
                self.signed, self.job = ask.signed, assignment_id_of("ada", ask.token)
                self.results = [self.result("compact-1", 60.0), self.result("wagon-1", 62.0)]
                return Submitted(assignment_id=self.job, vehicles=tuple(CARS))
            case Explain():
                info = replace(self._make.job_info(JobState.FINISHED), assignment_id=self.job)
                return Explanation(job=info, members=(), open_rounds=(), waiting_for=())
            case Prove(after=None):
                return self._proof()
            case Prove(after=after):
                return Proof(assignment_id=self.job, ends=tuple(self.ends[1:] if after else ()))
            case ReadEvents(after_seq=0):
                closed = self._make.round_closed(1, {"Vehicle.Speed": 61.0}, assignment_id=self.job)
                items = [*self.results, *self.rounds(closed), *self.changes]
                events = tuple(Event(seq=i, item=item) for i, item in enumerate(items, 1))
                state = JobState.FINISHED if self.over else JobState.RUNNING
                return Events(events=events, next_seq=len(items), state=state, ended=self.over)
            case ReadEvents(after_seq=after):
                return Events(events=(), next_seq=after, state=JobState.RUNNING, ended=False)
            case _:
                return self._code(ask)

    def _proof(self) -> Proof:
        """Return the first page, which has one end."""
        following = self.ends[0].vehicle_id if self.ends[1:] else None
        return Proof(
            assignment_id=self.job,
            signed=self.signed,
            cards=self.cards,
            ends=tuple(self.ends[:1]),
            next_after=following,
        )

    def _code(self, ask: Ask) -> Any:
        if isinstance(ask, ReadChunk) and ask.digest in self.contents:
            return Chunk(digest=ask.digest, offset=0, data=self.contents[ask.digest])
        if isinstance(ask, CodeStatus):
            return CodeSlots(onboard=self.slot, offboard=replace(self.slot, side="offboard"))
        if isinstance(ask, PushCode | RollbackCode):
            self.pushed.append(ask)
            return self.slot
        return Rejection(reason="unknown", message="what?")

    def result(self, name: str, value: float) -> Any:
        plain = self._make.result(name, 1, {"Vehicle.Speed": value}, assignment_id=self.job)
        return sign_item(replace(plain, serial=1), CARS[name].sign)

    def ended(self, name: str, *, iterations: int = 1, **changes: Any) -> TaskEnded:
        plain = TaskEnded(
            assignment_id=self.job,
            vehicle_id=name,
            epoch=self.results[0].epoch,
            state=TaskState.FINISHED,
            reason="iterations",
            iterations=iterations,
        )
        return sign_item(replace(plain, **changes), CARS[name].sign)

    def lost(self, name: str, *runs: tuple[int, int]) -> JobChanged:
        """Return losses as an honest cloud relays them."""
        epoch = self.results[0].epoch
        losses = Losses(assignment_id=self.job, vehicle_id=name, epoch=epoch, iterations=runs)
        said = sign_item(losses, CARS[name].sign)
        return JobChanged(
            assignment_id=self.job,
            state=JobState.RUNNING,
            vehicle_id=name,
            reason="results_lost",
            detail=said.words,
            said=said,
        )


def told(said: TaskEnded, /, **changes: Any) -> JobChanged:
    """Return an end as an honest cloud relays it."""
    return replace(
        JobChanged(
            assignment_id=said.assignment_id,
            state=JobState.FINISHED,
            vehicle_id=said.vehicle_id,
            task_state=said.state,
            reason=said.reason,
            detail=said.detail,
            said=said,
        ),
        **changes,
    )


def regrouped(closed: RoundClosed, **changes: Any) -> RoundClosed:
    """Return a round with another group in the place of its own."""
    return replace(closed, groups=(replace(closed.groups[0], **changes),))


@pytest.fixture
def lies(make: Any) -> LyingCloud:
    return LyingCloud(make)


@pytest.fixture
def fleet(tmp_path: Path, lies: LyingCloud) -> Iterator[Fleet]:
    cards = tmp_path / "cards"
    enrol(ADA.card, cards)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doorman = Doorman(context, Keyring(cards, *ENROLLED), SystemClock())
    router = Router(context, "tcp://127.0.0.1:*", CLOUD, Bounds(messages_per_peer=100))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            router.wait(20)
            for peer, frames in router.receive(10):
                request = REQUEST.decode(frames)
                answer = lies(request.ask)
                router.send(peer, REPLY.encode(Reply(number=request.number, answer=answer)))

    thread = threading.Thread(target=serve)
    thread.start()
    write_card(CLOUD.card, tmp_path / "cloud.pub")
    own = write_keys(ADA, tmp_path)
    with connect(router.endpoint, keys={"own": own, "cloud": tmp_path / "cloud.pub"}) as fleet:
        yield fleet
    stop.set()
    thread.join()
    router.close()
    doorman.close()
    context.term()


def test_an_honest_clouds_job_verifies(fleet: Fleet, lies: LyingCloud, make: Any) -> None:
    job = fleet.assign(make.spec)

    assert [r.value["Vehicle.Speed"] for r in job.results()] == [60.0, 62.0]
    verified = job.verify()
    assert verified.ok, verified
    assert (verified.results, verified.aggregates) == (2, 1)
    assert "trusted on first use" in repr(verified)


@pytest.mark.parametrize(
    "forge",
    [
        lambda r: replace(r, value={"Vehicle.Speed": 99.0}),
        lambda r: replace(r, signature=b""),
        lambda r: sign_item(replace(r, value={"Vehicle.Speed": 99.0}), FAKE.sign),
        lambda r: sign_item(replace(r, assignment_id="job-other"), CARS["compact-1"].sign),
        lambda r: replace(r, vehicle_id="wagon-1"),
    ],
)
def test_a_forged_result_is_not_handed_on(
    fleet: Fleet, lies: LyingCloud, make: Any, forge: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results[0] = forge(lies.results[0])

    for read in (job.results, lambda: list(job.stream()), lambda: list(job.events_so_far())):
        with pytest.raises(SignatureError, match="iteration 1 of vehicle"):
            read()
    assert not job.verify().ok


def test_ends_of_tasks_are_verified_as_results_are(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.ends = [lies.ended(name) for name in CARS]
    lies.changes = [told(end) for end in lies.ends]

    assert len(list(job.events_so_far())) == 5
    verified = job.verify()
    assert verified.ok, verified
    assert "have not said" not in repr(verified)


@pytest.mark.parametrize(
    "forge",
    [
        lambda e: told(e, said=None),
        lambda e: told(e, task_state=TaskState.FAILED),
        lambda e: told(e, reason="no_code"),
        lambda e: told(e, vehicle_id="wagon-1"),
        lambda e: told(replace(e, state=TaskState.FAILED)),
        lambda e: told(sign_item(replace(e, signature=b""), FAKE.sign)),
        lambda e: told(replace(e, signature=b"")),
        lambda e: told(sign_item(replace(e, assignment_id="job-x"), CARS["compact-1"].sign)),
        lambda e: told(e, reason="results_lost", task_state=None, said=None),
    ],
)
def test_an_end_that_the_vehicle_did_not_tell_is_not_handed_on(
    fleet: Fleet, lies: LyingCloud, make: Any, forge: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.changes = [forge(lies.ended("compact-1"))]

    with pytest.raises(SignatureError, match=r"of vehicle|is of another"):
        list(job.events_so_far())
    assert not job.verify().ok


def test_a_result_that_is_held_back_leaves_a_gap(fleet: Fleet, lies: LyingCloud, make: Any) -> None:
    job = fleet.assign(make.spec)
    again = [sign_item(replace(r, iteration=3, serial=3, late=True), CARS[r.vehicle_id].sign)
             for r in lies.results]  # fmt: skip
    lies.results += again[:1]

    (problem,) = job.verify().problems
    assert problem.startswith("compact-1: 1 iterations that it committed are missing (after 1)")

    lies.results = lies.results[:2]
    lies.ends = [lies.ended("compact-1"), lies.ended("wagon-1", iterations=4)]
    (problem,) = job.verify().problems
    assert problem.startswith("wagon-1: 3 iterations that it committed are missing")


def test_losses_fill_the_gaps_they_are_of_once_and_no_others(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    changed = lies.lost("compact-1", (2, 3))
    lies.changes = [changed, changed]
    lies.ends = [lies.ended("compact-1", iterations=3)]
    assert job.verify().ok

    lies.ends = [lies.ended("compact-1", iterations=4)]
    (problem,) = job.verify().problems
    assert problem.startswith("compact-1: 1 iterations that it committed are missing")

    lies.changes = [replace(changed, detail="nothing of value")]
    with pytest.raises(SignatureError, match="something else than the vehicle"):
        list(job.events_so_far())


def test_a_loss_of_what_was_delivered_hides_no_gap(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.changes = [lies.lost("compact-1", (1, 1))]
    lies.ends = [lies.ended("compact-1", iterations=2)]

    (problem,) = job.verify().problems
    assert problem.startswith("compact-1: 1 iterations that it committed are missing")


@pytest.fixture
def named(fleet: Fleet, lies: LyingCloud, make: Any) -> Any:
    """Return a job of both vehicles by name, of which the cloud tells one alone."""
    job = fleet.assign({**make.spec, "vehicles": list(CARS)})
    del lies.results[1]
    lies.rounds = lambda closed: [regrouped(closed, **ONE)]
    lies.ends = [lies.ended("compact-1")]
    return job


def test_a_vehicle_that_was_named_and_is_told_nowhere_is_missed(
    fleet: Fleet, lies: LyingCloud, named: Any
) -> None:
    lies.cards = lies.cards[:1]
    (problem,) = named.verify().problems
    assert problem == "the cloud tells nothing of vehicles that you named: wagon-1"


def test_a_vehicle_that_was_named_is_in_a_round_or_said_why_not(
    fleet: Fleet, lies: LyingCloud, named: Any
) -> None:
    (problem,) = named.verify().problems
    assert problem.startswith("vehicles that you named are in no round, and not told as refused")
    assert problem.endswith(": wagon-1")

    lies.rounds = lambda closed: [
        replace(regrouped(closed, **ONE), missing=("wagon-1",), state=RoundState.SHORT)
    ]
    assert named.verify().ok
    lies.rounds = lambda closed: [regrouped(closed, **ONE)]
    refused = lies.ended("wagon-1", state=TaskState.REJECTED, reason="no_code", iterations=0)
    lies.ends.append(refused)
    assert named.verify().ok


def test_a_vehicle_that_was_not_named_is_told_of_in_vain(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign({**make.spec, "vehicles": ["compact-1"]})

    problem = job.verify().problems[-1]
    assert problem == "the cloud tells of vehicles that you did not name: wagon-1"


def test_what_only_the_cloud_says_about_ends_is_noted(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    said = lies.ended("compact-1", state=TaskState.CANCELLED, reason="withdrawn")
    lies.ends = [said]
    over = JobChanged(assignment_id=job.id, state=JobState.FINISHED, reason="iterations")
    lies.changes = [over]

    notes = repr(job.verify())
    assert "the cloud, not you, ended the tasks of compact-1" in notes
    assert "not said that their task ended, so more may come: wagon-1" in notes


def test_an_aggregate_that_does_not_follow_from_the_results_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [regrouped(closed, value={"Vehicle.Speed": 5.0})]

    (problem,) = job.verify().problems
    assert problem.startswith("round 1: the aggregate is {'Vehicle.Speed': 61.0}")


ONE = {"vehicles": ("compact-1",), "value": {"Vehicle.Speed": 60.0}, "weight": 100.0}
"""What is right of the one vehicle that it counts."""


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (
            lambda c: [regrouped(c, vehicles=(), value={"Vehicle.Speed": 5.0})],
            "round 1: an aggregate counts no vehicle",
        ),
        (
            lambda c: [regrouped(c, vehicles=("compact-1", "compact-1", "wagon-1"))],
            "round 1: compact-1 counted more than once",
        ),
        (
            lambda c: [replace(c, groups=c.groups * 2)],
            "round 1: two aggregates are of the same code version",
        ),
        (
            lambda c: [regrouped(c, **ONE)],
            "round 1: the results of wagon-1 were in time and are left out",
        ),
        (
            lambda c: [replace(regrouped(c, **ONE), not_counted={"wagon-1": ""})],
            "round 1: the results of wagon-1 were in time and are left out",
        ),
        (lambda c: [c, regrouped(c, **ONE)], "round 1 is told 2 times"),
        (
            lambda c: [regrouped(c, value=None, error="it failed")],
            "round 1: the cloud has no aggregate of what can be computed: it failed",
        ),
        (
            lambda c: [regrouped(c, weight=300.0)],
            "round 1: the vehicles gave it the weight 200, the cloud says 300",
        ),
        (
            lambda c: [replace(c, offboard_method="sum")],
            "round 1: it is of sum, not of mean",
        ),
        (lambda c: [], "no round is told of iterations 1 with results in time"),
    ],
)
def test_a_round_that_does_not_count_each_result_once_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any, forge: Any, said: str
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = forge

    assert said in job.verify().problems


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failed": {"ghost-1": "crash"}}, "round 1: ghost-1 told as failed, which they have not"),
        ({"failed": {"compact-1": "crash"}}, "round 1: compact-1 told in more than one place"),
        ({"missing": ("compact-1",)}, "round 1: compact-1 told in more than one place"),
        ({"not_counted": {"compact-1": "abc"}}, "round 1: compact-1 told in more than one place"),
        ({"not_counted": {"ghost-1": "abc"}}, "round 1: ghost-1 told as of another version"),
        ({"state": RoundState.SHORT}, "round 1: the cloud says short, but 2 of 2 vehicles answ"),
        ({"state": RoundState.OPEN}, "round 1: the cloud says open, but 2 of 2 vehicles answered"),
        ({"missing": ("ghost-1",)}, "round 1: the cloud says complete, but 2 of 3 vehicles answ"),
        ({"lost_frames": 7}, "round 1: the vehicles lost 0 frames, the cloud says 7"),
        ({"away_ms": 7}, "round 1: interfaces were away for 0 ms, the cloud says 7"),
        ({"offboard_version": "f" * 64}, "round 1: mean has no versions, the cloud says ffffffff"),
        ({"assignment_id": "job-x"}, "round 1: it is of another assignment, job-x"),
    ],
)
def test_a_round_that_contradicts_itself_or_the_vehicles_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any, changes: Any, said: str
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [replace(closed, **changes)]

    assert any(problem.startswith(said) for problem in job.verify().problems), job.verify()


def test_a_failure_that_is_signed_and_not_told_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    failed = replace(lies.results[1], status="error", reason="wall")
    lies.results[1] = sign_item(failed, CARS["wagon-1"].sign)
    lies.rounds = lambda closed: [regrouped(closed, **ONE)]

    problems = job.verify().problems
    assert problems == ("round 1: the failures of wagon-1 were in time and are left out",)


def test_a_task_that_has_failed_by_its_vehicles_word_fails_its_rounds(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results = lies.results[:1]
    reason = {"wagon-1": "task ended: no_code"}
    lies.rounds = lambda closed: [replace(regrouped(closed, **ONE), failed=reason)]
    assert not job.verify().ok

    lies.ends = [lies.ended("wagon-1", state=TaskState.FAILED, reason="no_code", iterations=0)]
    verified = job.verify()
    assert verified.ok, verified


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"round": 77, "missing": ("compact-1",)}, "there is no such round in 3 iterations"),
        ({"round": 0, "missing": ("compact-1",)}, "there is no such round in 3 iterations"),
        ({"round": 2, "missing": ("compact-1",)}, "the cloud says complete, but 0 of 1 vehicles"),
        ({"round": 2}, "it has no members"),
    ],
)
def test_a_round_that_is_made_up_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any, changes: Any, said: str
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [closed, replace(closed, groups=(), **changes)]

    assert f"round {changes['round']}: {said}" in " ".join(job.verify().problems)


def test_a_vehicle_that_is_but_a_name_is_told_as_unchecked(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign({**make.spec, "quorum": 0.5})
    lies.rounds = lambda closed: [replace(closed, missing=("ghost-1",))]

    verified = job.verify()
    assert (verified.ok, verified.problems) == (False, ())
    assert "whether there are such vehicles, of which rounds tell: ghost-1" in repr(verified)


def deep(levels: int, value: Any = 1.0) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "weights",
    [(math.inf, -math.inf), (1e308, 1.7e308), (math.nan, 1.0), (-5.0, 1.0)],
)
def test_a_weight_that_is_none_is_told_as_unchecked(
    fleet: Fleet, lies: LyingCloud, make: Any, weights: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results = [
        sign_item(replace(r, weight=w), CARS[r.vehicle_id].sign)
        for r, w in zip(lies.results, weights, strict=True)
    ]

    verified = job.verify()
    assert (verified.ok, verified.problems) == (False, ())
    assert "cannot be checked: the aggregate of round 1, because the weights" in repr(verified)
    assert ("wagon-1" if weights[0] == 1e308 else "compact-1") in verified.unchecked[0]


HOSTILE = [
    {"Vehicle.Speed": math.nan},
    {None: 1},
    {"Vehicle.Speed": msgspec.msgpack.Ext(5, b"x")},
    {"Vehicle.Speed": deep(400)},
    deep(400),
    {"Vehicle.Speed": {"a": {"a": deep(900)}}},
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("offboard", ["mean", "collect"])
def test_a_value_that_a_hostile_vehicle_signs_breaks_nothing(
    fleet: Fleet, lies: LyingCloud, make: Any, value: Any, offboard: str, tmp_path: Path
) -> None:
    job = fleet.assign({**make.spec, "offboard": offboard})
    lies.results[0] = sign_item(replace(lies.results[0], value=value), CARS["compact-1"].sign)
    lies.rounds = lambda closed: [replace(closed, offboard_method=offboard)]

    verified = job.verify()
    found = (*verified.problems, *verified.unchecked)
    assert "compact-1" in " ".join(found), verified
    assert job.save(tmp_path / "events.jsonl") == 3
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert "compact-1 iteration 1" in repr(job.results())
    assert job.to_numpy().rows == 2


def test_values_that_no_number_can_hold_together_are_told_as_unchecked(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results = [
        sign_item(replace(r, value={"Vehicle.Speed": 1e308}), CARS[r.vehicle_id].sign)
        for r in lies.results
    ]

    (unchecked,) = job.verify().unchecked
    assert "nothing can be computed of what came from compact-1, wagon-1 together" in unchecked


def test_a_result_whose_weight_is_none_may_be_told_as_failed_for_it(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [replace(regrouped(closed, **ONE), failed={"wagon-1": "weight"})]
    assert not job.verify().ok

    lies.results[1] = sign_item(replace(lies.results[1], weight=math.inf), CARS["wagon-1"].sign)
    assert job.verify().ok


def test_a_round_of_another_job_is_not_handed_on(fleet: Fleet, lies: LyingCloud, make: Any) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [replace(closed, assignment_id="job-x")]
    for read in (job.closed_rounds, lambda: list(job.rounds())):
        with pytest.raises(SignatureError, match="round 1 is of another assignment, job-x"):
            read()


def test_two_results_of_a_vehicle_in_a_round_leave_the_cloud_no_choice(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    other = replace(lies.results[0], epoch="another", value={"Vehicle.Speed": 99.0})
    lies.results.append(sign_item(other, CARS["compact-1"].sign))
    (problem,) = job.verify().problems
    assert problem == "round 1: compact-1 has 2 results that are said to be in time"


def test_a_result_that_is_told_again_is_given_once(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results += [lies.results[0]] * 7 + [replace(lies.results[0], late=True)]

    assert [r.vehicle for r in job.results()] == list(CARS)
    assert job.to_numpy().rows == 2
    assert [r.vehicle for r in job.stream()] == list(CARS)
    assert [type(e.item) for e in job.events()] == [Result, Result, RoundClosed]
    verified = job.verify()
    assert verified.problems == ("iteration 1 of compact-1: the cloud tells it 9 times",)
    assert verified.results == 2


def test_what_an_honest_cloud_leaves_out_is_no_problem(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    late, failed = CARS["wagon-1"], replace(lies.results[1], status="error", reason="wall")
    for result, told_failed in (
        (sign_item(failed, late.sign), {"wagon-1": "wall"}),
        (replace(lies.results[1], late=True), {}),
    ):
        lies.results[1] = result
        lies.rounds = lambda closed, failed=told_failed: [
            replace(regrouped(closed, **ONE), failed=failed)
        ]
        verified = job.verify()
        assert verified.ok, verified
        assert verified.aggregates == 1


def test_an_aggregate_that_a_cloud_could_not_make_is_noted_and_not_counted(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    error = "overload: the off-board method is slower than the rounds come"
    lies.rounds = lambda closed: [regrouped(closed, value=None, error=error)]

    verified = job.verify()
    assert verified.ok
    assert verified.aggregates == 0
    assert f"round 1: the cloud has no aggregate of what can be computed: {error}" in verified.notes


@pytest.mark.parametrize("error", ["overload: x", "\n"])
@pytest.mark.parametrize(
    "forged", [{"value": {"Vehicle.Speed": 5.0}}, {"value": None, "payload": content_of(b"x" * 9)}]
)
def test_a_value_beside_an_error_is_refused(
    fleet: Fleet, lies: LyingCloud, make: Any, forged: Any, error: str
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: [regrouped(closed, **forged, error=error)]

    (problem,) = job.verify().problems
    assert problem.startswith("round 1: an aggregate that failed has a value all the same")
    assert job.closed_rounds()[0].value is None
    told = [e.item for e in job.events_so_far() if isinstance(e.item, RoundClosed)]
    assert (told[0].groups[0].value, told[0].groups[0].payload) == (None, None)


@pytest.mark.parametrize(("end", "known"), [("cancelled", True), ("until", False)])
def test_rounds_may_be_missing_only_after_an_end_that_leaves_them_open(
    fleet: Fleet, lies: LyingCloud, make: Any, end: str, known: bool
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds = lambda closed: []
    lies.changes = [JobChanged(assignment_id=job.id, state=JobState.CANCELLED, reason=end)]

    verified = job.verify()
    assert verified.ok is known
    assert "no round is told of iterations 1 with results in time" in repr(verified)


def test_rounds_that_are_open_while_the_job_runs_are_noted(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.rounds, lies.over = lambda closed: [], False

    verified = job.verify()
    assert verified.ok
    assert "no round is told yet of iterations 1" in repr(verified)


BODY = pack(ResultBody({"Vehicle.Speed": 62.0}, None))
VALUE, OTHER = pack({"Vehicle.Speed": 61.0}), pack({"Vehicle.Speed": 5.0})


def large_result(lies: LyingCloud, body: bytes = BODY) -> Any:
    """Return the second result with its value in a content, as its vehicle signs it then."""
    named = replace(lies.results[1], value=None, payload=content_of(body))
    return sign_item(named, CARS["wagon-1"].sign)


def test_values_that_travelled_by_content_are_pulled_and_computed_again(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results[1] = large_result(lies)
    lies.contents = {content_of(data).digest: data for data in (BODY, VALUE, OTHER)}
    lies.rounds = lambda c: [regrouped(c, value=None, payload=content_of(VALUE))]
    verified = job.verify()
    assert verified.ok, verified
    assert verified.aggregates == 1

    lies.rounds = lambda c: [regrouped(c, value=None, payload=content_of(OTHER))]
    (problem,) = job.verify().problems
    assert problem.startswith("round 1: the aggregate is {'Vehicle.Speed': 61.0}, not what was")


@pytest.mark.parametrize("gone", [BODY, VALUE])
def test_what_the_cloud_no_longer_has_is_told_as_unchecked_with_its_reason(
    fleet: Fleet, lies: LyingCloud, make: Any, gone: bytes
) -> None:
    job = fleet.assign(make.spec)
    lies.results[1] = large_result(lies)
    lies.contents = {content_of(data).digest: data for data in (BODY, VALUE) if data != gone}
    lies.rounds = lambda c: [regrouped(c, value=None, payload=content_of(VALUE))]

    verified = job.verify()
    assert (verified.problems, verified.results, verified.aggregates) == ((), 2, 0)
    assert not verified.ok
    assert "verified in part; 2 results" in repr(verified)
    assert "cannot be checked: the aggregate of round 1, because what?" in repr(verified)


def test_other_bytes_than_those_that_were_named_are_a_problem(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results[1] = large_result(lies)
    lies.contents = {content_of(BODY).digest: BODY[:-1] + b"!"}

    (problem,) = job.verify().problems
    assert problem.startswith("round 1: what the cloud gave as content")


def test_a_result_that_a_cloud_calls_too_large_is_told_as_unchecked(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results[1] = large_result(lies)
    said = {"wagon-1": "content_too_large"}
    lies.rounds = lambda c: [replace(regrouped(c, **ONE), failed=said)]

    verified = job.verify()
    assert (verified.ok, verified.problems, verified.aggregates) == (False, (), 1)
    assert "round 1 without the result of wagon-1, because the cloud says" in repr(verified)

    lies.results[1] = lies.result("wagon-1", 62.0)  # without a content nothing is too large
    assert "the results of wagon-1 were in time and are left out" in repr(job.verify())


def test_a_result_of_another_method_than_the_analyst_signed_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.results[1] = sign_item(replace(lies.results[1], method="max"), CARS["wagon-1"].sign)

    assert job.verify().problems == ("iteration 1 of wagon-1: it is of max, not mean",)


def test_what_is_late_is_told_as_the_clouds_word(fleet: Fleet, lies: LyingCloud, make: Any) -> None:
    job = fleet.assign(make.spec)
    assert "late" not in repr(job.verify())
    lies.results[1] = replace(lies.results[1], late=True)
    lies.rounds = lambda closed: [regrouped(closed, **ONE)]

    verified = job.verify()
    assert verified.ok
    assert "that 1 of the results were late, and so count in no round" in repr(verified)


def test_an_aggregate_that_counts_a_vehicle_without_a_result_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    del lies.results[1]

    (problem,) = job.verify().problems
    assert "counts wagon-1, without a verified result" in problem


def test_another_order_than_ones_own_is_found(fleet: Fleet, lies: LyingCloud, make: Any) -> None:
    job = fleet.assign(make.spec)
    first = lies.signed
    fleet.assign(make.spec)
    lies.job = job.id
    assert "order that the cloud shows is that of" in repr(job.verify())
    lies.signed = None
    assert "is not signed" in repr(job.verify())
    assert first is not None
    lies.signed = replace(first, body=first.body + b"x")
    assert "signature of the assignment is not of ada" in repr(job.verify())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signals": ("Vehicle.Other",), "onboard": "max"}, "signals, onboard differ"),
        ({"onboard_params": {"a": True}}, "onboard_params differ"),
        ({"vehicles": ("compact-1",)}, "vehicles differ"),
    ],
)
def test_a_job_that_is_told_otherwise_than_it_was_signed_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any, changes: Any, said: str
) -> None:
    given = fleet.assign({**make.spec, "vehicles": list(CARS), "onboard_params": {}})
    lies.ends = [lies.ended(name) for name in CARS]

    def tamper(answer: Any) -> Any:
        if not isinstance(answer, Explanation):
            return answer
        spec = replace(given.spec, **changes)
        return replace(answer, job=replace(answer.job, spec=spec))

    assert given.verify().ok
    lies.tamper = tamper
    (problem,) = fleet.job(given.id).verify().problems
    assert problem == f"the cloud tells of another assignment than you signed: {said}"


def test_a_job_that_is_told_of_strangers_is_found(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign({**make.spec, "vehicles": ["compact-1"]})

    assert "given to vehicles you did not name: wagon-1" in repr(job.verify())


def test_another_job_than_was_asked_for_is_refused(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    job = fleet.assign(make.spec)
    lies.job = "job-other"
    for ask in (job.explain, lambda: fleet.job(job.id)):
        with pytest.raises(ProtocolError, match="tells of another job: job-other"):
            ask()


def test_a_vehicles_key_that_changes_after_first_use_is_not_believed(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    fleet.assign(make.spec).results()
    lies.cards = (FAKE.card, CARS["wagon-1"].card)
    job = fleet.assign(make.spec)
    lies.results[0] = sign_item(lies.results[0], FAKE.sign)

    with pytest.raises(SignatureError, match=r"or the vehicle has new keys: then enrol its card"):
        job.results()


def test_pinned_cards_count_and_nothing_that_the_cloud_says(
    fleet: Fleet, lies: LyingCloud, make: Any, tmp_path: Path
) -> None:
    for keys in CARS.values():
        enrol(keys.card, tmp_path / "pinned")
    lies.cards = (FAKE.card,)
    paths = {"own": tmp_path / "ada.key", "cloud": tmp_path / "cloud.pub"}
    with connect(fleet.cloud, keys={**paths, "vehicles": tmp_path / "pinned"}) as pinned:
        job = pinned.assign(make.spec)
        assert len(job.results()) == 2
        assert "first use" not in repr(job.verify())
        lies.results[0] = sign_item(lies.results[0], FAKE.sign)
        with pytest.raises(SignatureError):
            job.results()


def test_the_answer_with_another_assignment_is_refused(
    fleet: Fleet, lies: LyingCloud, make: Any
) -> None:
    lies.tamper = lambda a: replace(a, assignment_id="job-x") if isinstance(a, Submitted) else a

    with pytest.raises(ProtocolError, match="another assignment: job-x"):
        fleet.assign(make.spec)


def held(signer: Any, generation: int, version: str) -> Signed:
    order = SlotOrder(
        analyst=signer.card.name,
        side="onboard",
        generation=generation,
        version=version,
        created_ns=1,
    )
    return seal(order, signer.sign)


def test_what_the_cloud_says_was_there_is_signed_only_if_it_was_ones_own(
    fleet: Fleet, lies: LyingCloud
) -> None:
    lies.slot = CodeSlot(side="onboard", generation=4, version=EVIL, next_generation=5)
    for signed in (None, held(EVE, 4, EVIL), replace(held(ADA, 4, "0" * 64), signature=bytes(64))):
        lies.slot = replace(lies.slot, signed=signed, previous_signed=signed)
        with pytest.raises(SignatureError, match="was not signed with your present keys"):
            fleet.update_code(GOOD, vehicles=["wagon-1"], wait=False)
        if signed is not None:
            with pytest.raises(SignatureError, match="was not signed"):
                fleet.rollback_code(wait=False)
    assert lies.pushed == []

    lies.slot = replace(lies.slot, signed=held(ADA, 4, "0" * 64))  # the cloud still says EVIL
    fleet.update_code(GOOD, vehicles=["wagon-1"], wait=False)

    order = open_slot(lies.pushed[0].signed, [ADA.card])
    assert order.version == "0" * 64
    assert order.overrides == {"wagon-1": version_of(GOOD)}
    assert order.generation == 5


def test_a_generation_that_cannot_be_is_not_signed(fleet: Fleet, lies: LyingCloud) -> None:
    signed = held(ADA, 4, "0" * 64)
    for following in (4, 2, 2**52):
        lies.slot = CodeSlot(
            side="onboard",
            generation=4,
            version="0" * 64,
            next_generation=following,
            signed=signed,
        )
        with pytest.raises(SignatureError, match="nothing was signed"):
            fleet.update_code(GOOD, wait=False)
    assert lies.pushed == []
