"""What a rule forbids to leave becomes a record of losses, once, and its content is gone."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.contents import Contents
from agent.store import Acknowledge, EndTask, Enqueue, Origin, Retract, SaveTask, Store
from agent.store.store import MAX_IN_FLIGHT
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
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
    rule = Retract("job-1", RULE)
    assert (store.forbidden(rule), store.forbidden(Retract("other", RULE))) == (3, 1)

    store.apply([rule, EndTask(ENDED, 5)])

    assert (store.forbidden(rule), store.retracted_results, store.dropped_results) == (0, 3, 0)
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


def test_what_was_sent_is_in_a_record_that_no_acknowledgement_of_it_takes_away(
    store: Store, result: MakeResult
) -> None:
    store.apply([Enqueue(result(iteration=i), 5) for i in (1, 2, 3)])
    first, second, _ = (entry.seq for entry in store.deliverable())
    store.sending(second)

    store.apply([Retract("job-1", RULE)])
    store.apply([Acknowledge((first, second))])

    assert (store.entries, store.outbox_bytes) == (1, sum(e.size for e in store.deliverable()))
    (record,) = items(store)
    assert isinstance(record, Losses)
    assert record.iterations == ((1, 3),)


@pytest.mark.parametrize(
    ("measured", "kept"), [({}, [1, 2]), ({"A": 9}, [2]), ({"B": 1}, [1, 2]), ({"A": 10}, [1, 2])]
)
def test_a_rule_on_samples_keeps_the_results_over_fewer(
    store: Store, result: MakeResult, measured: dict[str, int], kept: list[int]
) -> None:
    many, few = {"A": 10, "B": 3}, {"A": 9, "B": 3}
    store.apply(
        [
            Enqueue(result(iteration=1, samples=many), 5, measured=measured),
            Enqueue(result(iteration=2, samples=many), 5),
            Enqueue(result(iteration=3, samples=few), 5),
            Enqueue(result(iteration=4, samples=few, status="refused", value=None), 5),
        ]
    )

    store.apply([Retract("job-1", RULE, {"A": 10})])

    found = items(store)
    assert [i.iteration for i in found if isinstance(i, Result)] == [*kept, 4]
    (record,) = (i for i in found if isinstance(i, Losses))
    assert record.count == 3 - len(kept)


def test_what_is_barred_waits_and_no_chunk_of_it_is_given(store: Store, result: MakeResult) -> None:
    large = content_of(BODY)
    store.apply([Enqueue(result(payload=large), 5, BODY)])
    store.apply([Enqueue(result(assignment_id="other"), 5)])

    store.bar(["job-1"])
    (entry,) = store.deliverable()
    assert store.load(entry.seq) == result(assignment_id="other")
    assert not store.owes(large.digest)

    store.bar([])
    assert len(store.deliverable()) == 2
    assert store.owes(large.digest)


def test_what_an_ended_task_was_is_known_while_anything_of_it_waits(
    tmp_path: Path, result: MakeResult, spec: Callable[..., Assignment]
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    for name in ("job-1", "job-2"):
        store.apply([SaveTask(name, "ana", spec(), Position(iteration=1))])
    store.apply([Enqueue(result(), 5), EndTask(ENDED, 5)])
    store.apply([EndTask(replace(ENDED, assignment_id="job-2"), 5)])
    store.close()

    again = Store(tmp_path, outbox_mb=10)
    assert again.tasks == ()
    assert again.origins() == tuple(Origin(f"job-{i}", "ana", spec()) for i in (1, 2))

    items(again)
    assert again.origins() == ()
    again.apply([SaveTask("job-3", "ana", spec(), Position(iteration=1))])
    again.apply([EndTask(replace(ENDED, assignment_id="job-3"), 5)])
    again.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as raw:
        assert raw.execute("SELECT assignment_id FROM origins").fetchall() == [("job-3",)]


def test_an_end_loses_the_words_that_may_hold_samples_and_no_others(store: Store) -> None:
    said = replace(ENDED, reason="code_failed", detail="ValueError: [59.9139]")
    ruled = replace(ENDED, reason="budget", rule="daily", detail="rule daily: 10 results a day")
    for i, ended in enumerate((said, ruled)):
        store.apply([EndTask(replace(ended, assignment_id=f"job-{i}"), 5)])
    forbidding = [Retract(f"job-{i}", RULE) for i in (0, 1)]
    assert [store.forbidden_words(write) for write in forbidding] == [True, False]
    assert not store.forbidden_words(Retract("job-0", RULE, {"A": 10}))

    store.apply(forbidding)

    assert (store.entries, store.outbox_bytes) == (2, sum(e.size for e in store.deliverable()))
    assert not store.forbidden_words(forbidding[0])
    one, other = items(store)
    assert isinstance(one, TaskEnded)
    assert isinstance(other, TaskEnded)
    assert (one.reason, one.detail) == ("code_failed", "rule cabin keeps the words on the vehicle")
    assert other.detail == ruled.detail


def test_an_outbox_of_an_agent_without_the_additions_is_read_on(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    epoch = store.epoch
    store.apply([Enqueue(result(), 5), EndTask(ENDED, 5)])
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as raw:
        raw.executescript("ALTER TABLE outbox DROP COLUMN measured; DROP TABLE origins")

    again = Store(tmp_path, outbox_mb=10)
    assert (again.epoch, again.origins()) == (epoch, ())
    again.apply([Retract("job-1", RULE, {"A": 10})])
    end, record = items(again)
    assert end == ENDED
    assert isinstance(record, Losses)
    again.close()


OLDER = """
INSERT INTO tasks VALUES ('job-9', 'ana', x'80', x'80');
DELETE FROM tasks WHERE assignment_id = 'job-9';
INSERT OR REPLACE INTO code VALUES ('ben', x'80');
DELETE FROM code WHERE analyst = 'ben';
INSERT OR IGNORE INTO ended (assignment_id) VALUES ('job-9');
INSERT INTO outbox (assignment_id, kind, priority, size, item)
    SELECT 'job-9', kind, priority, size, item FROM outbox WHERE kind = 0;
UPDATE outbox SET kind = kind, item = item, size = size, digest = NULL WHERE kind = 0;
"""
"""How agents of the first release of schema 3 write."""


def test_an_agent_that_was_rolled_back_goes_on_with_the_state_and_the_newer_one_after_it(
    tmp_path: Path, spec: Callable[[], Assignment], result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    epoch = store.epoch
    store.apply([SaveTask("job-1", "ana", spec(), Position(iteration=1))])
    store.apply([Enqueue(result(), 5, measured={"A": 3}), EndTask(ENDED, 5)])
    store.close()

    with closing(sqlite3.connect(tmp_path / "state.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (3,)
        raw.executescript(OLDER)
        assert len(raw.execute("SELECT * FROM meta").description) == 2

    again = Store(tmp_path, outbox_mb=10)
    assert (again.epoch, again.entries) == (epoch, 3)
    assert again.has_ended("job-9")
    assert [origin.assignment_id for origin in again.origins()] == ["job-1"]
    again.apply([Retract("job-1", RULE, {"A": 10})])
    assert sum(isinstance(item, Losses) for item in items(again)) == 1
    again.close()


def test_a_record_that_was_sent_does_not_grow(store: Store, result: MakeResult) -> None:
    store.apply([Enqueue(result(iteration=1), 5), Retract("job-1", RULE)])
    store.sending(store.deliverable()[0].seq)

    store.apply([Enqueue(result(iteration=2), 5), Retract("job-1", RULE)])

    told = [item.iterations for item in items(store) if isinstance(item, Losses)]
    assert told == [((1, 1),), ((2, 2),)]


def test_after_a_start_nothing_that_is_forbidden_leaves_whoever_may_have_sent_it(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    last = MAX_IN_FLIGHT + 5
    store.apply([Enqueue(result(iteration=i), 5) for i in range(1, last + 1)])
    store.close()

    again = Store(tmp_path, outbox_mb=10)
    again.apply([Retract("job-1", RULE)])

    (record,) = items(again)
    assert isinstance(record, Losses)
    assert record.iterations == ((1, last),)
    again.close()


def test_a_record_that_the_process_before_may_have_sent_does_not_grow(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    store.apply([Enqueue(result(iteration=1), 5), Retract("job-1", RULE)])
    store.apply([Enqueue(result(iteration=2), 5)])
    store.close()

    again = Store(tmp_path, outbox_mb=10)
    again.apply([Retract("job-1", RULE)])

    told = [item.iterations for item in items(again) if isinstance(item, Losses)]
    assert told == [((1, 1),), ((2, 2),)]
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
