"""Which contents the cloud pulls from whom, decided without clock, socket or file."""

from typing import Any

from msgspec.structs import replace

from cloud.contents.pulls import AT_ONCE, OFFERS_PER_VEHICLE, Offer, Pulls
from cloud.contents.serving import AT_ONCE as SERVED_AT_ONCE
from cloud.contents.serving import CHUNKS_A_TURN, SILENT_NS, Serving
from user_lib.contract.clock import SECOND
from user_lib.contract.content import CHUNK_BYTES, Content
from user_lib.contract.messages import Chunk, Fetch, Losses, Result
from user_lib.wire.transfer import CREDIT


def content(number: int, chunks: int = 4) -> Content:
    return Content(f"{number:064x}", chunks * CHUNK_BYTES)


def offer(vehicle: str, seq: int = 1, job: str = "job-1") -> Offer:
    result = Result(
        assignment_id=job, epoch="e", iteration=seq, status="ok", method="mean", dbc_hash="d",
        window_start_ns=0, window_stop_ns=1, agent_version="1", created_ns=1,
    )  # fmt: skip
    return Offer(vehicle, seq, result)


def chunk(of: Content, offset: int) -> Chunk:
    return Chunk(digest=of.digest, offset=offset, data=bytes(CHUNK_BYTES))


def asked(pulls: Pulls, now_ns: int = 0) -> list[tuple[str, int]]:
    return [(vehicle, ask.offset) for vehicle, ask in pulls.due(now_ns)]


def test_a_chunk_counts_only_from_whom_it_was_asked_of() -> None:
    pulls, one = Pulls(), content(1)
    pulls.offer(one, offer("a"), 0)
    pulls.offer(one, offer("b"), 0)
    assert asked(pulls) == [("a", 0), ("a", CHUNK_BYTES)]

    assert pulls.arrived("b", chunk(one, 0), 0) is None
    assert pulls.arrived("a", chunk(one, CHUNK_BYTES), 0) is None
    moved = pulls.arrived("a", chunk(one, 0), 0)

    assert moved is not None
    assert moved.have == CHUNK_BYTES
    assert pulls.arrived("a", chunk(content(9), 0), 0) is None


def test_what_a_vehicle_keeps_to_itself_is_pulled_from_another_or_not_at_all() -> None:
    pulls, one, two = Pulls(), content(1), content(2)
    pulls.offer(one, offer("a", seq=1), 0)
    pulls.offer(one, offer("b", seq=1), 0)
    pulls.offer(two, offer("a", seq=2), 0)
    asked(pulls)
    pulls.arrived("a", chunk(one, 0), 0)
    losses = Losses(assignment_id="job-1", vehicle_id="a", epoch="e", iterations=((1, 2),))

    assert pulls.retracted(replace(losses, epoch="other")) == []
    assert pulls.retracted(losses) == [two]

    assert asked(pulls) == [("b", CHUNK_BYTES), ("b", 2 * CHUNK_BYTES)]
    assert len(pulls) == 1


def test_another_vehicle_with_the_same_content_takes_over() -> None:
    pulls, one = Pulls(), content(1)
    pulls.offer(one, offer("a"), 0)
    pulls.offer(one, offer("b"), 0)
    asked(pulls)
    pulls.arrived("a", chunk(one, 0), 0)

    pulls.lost("a")

    assert asked(pulls) == [("b", CHUNK_BYTES), ("b", 2 * CHUNK_BYTES)]
    assert {o.vehicle for o in pulls.done(one.digest)} == {"a", "b"}


def test_how_far_a_content_is_can_be_said_while_its_vehicle_is_away() -> None:
    pulls, one = Pulls(), content(1)
    pulls.offer(one, offer("a"), 2 * CHUNK_BYTES)
    pulls.lost("a")

    assert asked(pulls, 60 * SECOND) == []
    assert pulls.progress("job-1") == {"a": "sends content 0.5 of 1.0 MB"}
    assert pulls.progress("job-2") == {}

    pulls.offer(one, offer("a"), 2 * CHUNK_BYTES)
    assert asked(pulls, 60 * SECOND) == [("a", 2 * CHUNK_BYTES), ("a", 3 * CHUNK_BYTES)]


def test_a_bounded_number_is_under_way_and_who_does_not_answer_lets_others_go_first() -> None:
    pulls = Pulls()
    for i in range(AT_ONCE + 1):
        pulls.offer(content(i), offer(f"v{i}"), 0)
    first = asked(pulls)
    assert len(first) == AT_ONCE * CREDIT
    for now_ns in (5 * SECOND, 15 * SECOND):
        again = asked(pulls, now_ns)

    assert {vehicle for vehicle, _ in first} == {f"v{i}" for i in range(AT_ONCE)}
    assert (f"v{AT_ONCE}", 0) in asked(pulls, 16 * SECOND)
    assert len(again) == AT_ONCE * CREDIT


def test_one_vehicle_cannot_fill_the_clouds_memory_with_offers() -> None:
    pulls = Pulls()
    for i in range(10 * OFFERS_PER_VEHICLE):
        pulls.offer(content(i), offer("a", seq=i), 0)

    assert len(pulls) == OFFERS_PER_VEHICLE


def test_a_damaged_content_is_pulled_from_another_vehicle_if_there_is_one() -> None:
    pulls, one = Pulls(), content(1)
    pulls.offer(one, offer("a"), 0)
    pulls.offer(one, offer("b"), 0)

    pulls.damaged(one.digest, 0)

    assert asked(pulls, 9 * SECOND) == []
    assert asked(pulls, 10 * SECOND) == [("b", 0), ("b", CHUNK_BYTES)]


# --- giving --------------------------------------------------------------------------------------


def fetch(number: int, chunk: int = 0) -> Fetch:
    return Fetch(assignment_id="job-1", digest=content(number).digest, offset=chunk * CHUNK_BYTES)


def served(serving: Serving, now_ns: int = 0) -> list[str]:
    found: list[str] = []
    while turn := list(serving.due(now_ns)):
        assert len(turn) <= CHUNKS_A_TURN + 2 * CREDIT
        found += [vehicle for vehicle, _ in turn]
    return found


def test_so_many_are_served_at_once_and_the_others_in_their_turn() -> None:
    serving = Serving()
    names = [f"v{i}" for i in range(SERVED_AT_ONCE + 2)]
    for name in names:
        serving.ask(name, fetch(1))
    assert served(serving) == names[:-2]
    assert serving.waiting == 2

    serving.ask("v0", fetch(1, 1))  # it has what it was sent; others go first now

    assert served(serving) == [names[-2]]
    serving.ask("v1", fetch(1, 1))
    assert served(serving) == [names[-1]]


def test_who_falls_silent_makes_room() -> None:
    serving = Serving()
    for i in range(SERVED_AT_ONCE):
        serving.ask(f"v{i}", fetch(1))
    served(serving)
    serving.ask("late", fetch(1))
    assert served(serving, SILENT_NS - 1) == []
    assert not serving.can_give

    assert served(serving, SILENT_NS) == ["late"]


def test_a_flood_of_questions_of_one_vehicle_costs_a_few_chunks() -> None:
    serving = Serving()
    for i in range(1000):
        serving.ask("greedy", fetch(i))

    given: list[Any] = list(serving.due(0))

    assert len(given) == 2 * CREDIT
    serving.lost("greedy")
    assert serving.waiting == 0
