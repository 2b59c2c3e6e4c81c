"""What a rule forbids to leave becomes a record of losses, once, and its content is gone."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.contents import Contents
from agent.store import Acknowledge, EndTask, Enqueue, Retract, Store
from agent.store.store import MAX_IN_FLIGHT
from user_lib.contract.content import CHUNK_BYTES, content_of
from user_lib.contract.messages import Losses, Result, SendChunk, TaskEnded
from user_lib.contract.states import TaskState

MakeResult = Callable[..., Result]
RULE = "rule cabin"
BODY = b"b" * (CHUNK_BYTES + 9)
ENDED = TaskEnded(assignment_id="job-1", epoch="e", state=TaskState.FAILED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, outbox_mb=10)
    yield store
    store.close()


def items(store: Store) -> list[Result | Losses | TaskEnded]:
    """Deliver the whole outbox."""
    found = []
    while entries := store.deliverable():
        found += [item for e in entries if (item := store.load(e.seq)) is not None]
        store.apply([Acknowledge(tuple(e.seq for e in entries))])
    return found


def test_what_was_not_sent_becomes_one_record_before_the_end(
    store: Store, result: MakeResult
) -> None:
    store.apply([Enqueue(result(iteration=i), 5) for i in (1, 2, 4)])
    store.apply([Enqueue(result(assignment_id="other"), 5)])
    assert (store.unsent("job-1"), store.unsent("other")) == (3, 1)

    store.apply([Retract("job-1", RULE), EndTask(ENDED, 5)])

    assert (store.unsent("job-1"), store.retracted_results, store.dropped_results) == (0, 3, 0)
    counted = (store.entries, store.outbox_bytes)
    assert counted == (3, sum(e.size for e in store.deliverable()))
    record, other, end = items(store)
    assert record == Losses(
        assignment_id="job-1",
        vehicle_id="car-1",
        epoch="e",
        iterations=((1, 2), (4, 4)),
        reason=RULE,
    )
    assert (other, end) == (result(assignment_id="other"), ENDED)


def test_what_was_sent_stays_as_it_is_and_is_in_no_record(store: Store, result: MakeResult) -> None:
    store.apply([Enqueue(result(iteration=i), 5) for i in (1, 2, 3)])
    store.sending(store.deliverable()[1].seq)

    store.apply([Retract("job-1", RULE)])

    *sent, record = items(store)
    assert sent == [result(iteration=1), result(iteration=2)]
    assert isinstance(record, Losses)
    assert record.iterations == ((3, 3),)


def test_a_record_that_was_sent_does_not_grow(store: Store, result: MakeResult) -> None:
    store.apply([Enqueue(result(iteration=1), 5), Retract("job-1", RULE)])
    store.sending(store.deliverable()[0].seq)

    store.apply([Enqueue(result(iteration=2), 5), Retract("job-1", RULE)])

    told = [item.iterations for item in items(store) if isinstance(item, Losses)]
    assert told == [((1, 1),), ((2, 2),)]


def test_after_a_start_what_the_process_before_may_have_sent_stays(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    last = MAX_IN_FLIGHT + 5
    store.apply([Enqueue(result(iteration=i), 5) for i in range(1, last + 1)])
    store.close()

    again = Store(tmp_path, outbox_mb=10)
    again.apply([Retract("job-1", RULE)])

    *sent, record = items(again)
    assert len(sent) == MAX_IN_FLIGHT
    assert isinstance(record, Losses)
    assert record.iterations == ((MAX_IN_FLIGHT + 1, last),)
    again.close()


def test_what_a_rule_keeps_and_what_a_full_outbox_drops_are_told_apart(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path / "small", outbox_mb=1.0)
    for i in range(1, 25):
        store.apply([Enqueue(result(iteration=i, value="x" * 50_000), 5)])
    dropped = store.dropped_results
    assert dropped > 0

    store.apply([Retract("job-1", RULE)])

    told: Counter[str] = Counter()
    for record in items(store):
        assert isinstance(record, Losses)
        told[record.reason] += record.count
    assert told == {"outbox_full": dropped, RULE: 24 - dropped}
    store.close()


def test_a_content_goes_with_its_result_and_no_chunk_of_it_is_given(
    store: Store, result: MakeResult
) -> None:
    large = content_of(BODY)
    store.apply([Enqueue(result(payload=large), 5, BODY)])
    ask = SendChunk(digest=large.digest, offset=0)
    contents = Contents(store, 10_000_000)
    assert contents.answer(ask) is not None

    store.apply([Retract("job-1", RULE)])

    assert contents.answer(ask) is None
    assert store.contents.listed() == []
