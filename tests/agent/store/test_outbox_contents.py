"""Large results in the outbox: with their bytes on disk, counted, and gone with their entry."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.contents import KEPT_UNWANTED_NS, Contents, Wanted
from agent.store import Acknowledge, EndTask, Enqueue, Store
from user_lib.contract.content import CHUNK_BYTES, Content, content_of
from user_lib.contract.messages import Chunk, Losses, Result, SendChunk, TaskEnded
from user_lib.contract.states import TaskState

MakeResult = Callable[..., Result]
BODY = random.Random(1).randbytes(2 * CHUNK_BYTES + 5)
LARGE = content_of(BODY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, outbox_mb=4)
    yield store
    store.close()


def chunks_of(body: bytes) -> list[Chunk]:
    digest = content_of(body).digest
    return [
        Chunk(digest=digest, offset=at, data=body[at : at + CHUNK_BYTES])
        for at in range(0, len(body), CHUNK_BYTES)
    ]


def test_a_result_and_its_content_are_on_disk_together(tmp_path: Path, result: MakeResult) -> None:
    store = Store(tmp_path, outbox_mb=10)
    store.apply([Enqueue(result(value=None, payload=LARGE), 5, BODY)])
    store.close()

    again = Store(tmp_path, outbox_mb=10)

    (entry,) = again.deliverable()
    assert entry.size > LARGE.size
    assert again.contents.read(LARGE.digest) == BODY
    again.close()


def test_an_acknowledged_result_takes_its_content_along(store: Store, result: MakeResult) -> None:
    store.apply([Enqueue(result(iteration=i, payload=LARGE), 5, BODY) for i in (1, 2)])
    first, second = (entry.seq for entry in store.deliverable())

    store.apply([Acknowledge((first,))])
    assert store.contents.is_whole(LARGE)
    store.apply([Acknowledge((second,))])

    assert store.contents.listed() == []
    assert store.outbox_bytes == 0


def test_the_outboxs_limit_counts_contents_and_a_dropped_one_is_gone(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path / "small", outbox_mb=1.2)
    bodies = [bytes([i]) * 400_000 for i in range(4)]
    for i, body in enumerate(bodies):
        store.apply([Enqueue(result(iteration=i + 1, payload=content_of(body)), 5, body)])

    assert store.dropped_results == 2
    items = [store.load(seq) for (seq,) in store._rows("SELECT seq FROM outbox ORDER BY seq")]
    lost = [item.iterations[0] for item in items if isinstance(item, Losses)]
    kept = [item.payload for item in items if isinstance(item, Result)]
    assert lost == [(2, 2), (3, 3)]
    assert [digest for digest, _ in store.contents.listed()] == [c.digest for c in kept if c]
    store.close()


def test_the_end_of_a_task_waits_for_the_contents_of_its_results(
    store: Store, result: MakeResult
) -> None:
    ended = TaskEnded(assignment_id="job-1", epoch="e", state=TaskState.FINISHED)
    store.apply([Enqueue(result(payload=LARGE), 5, BODY), EndTask(ended, 5)])

    (large,) = store.deliverable()
    store.apply([Acknowledge((large.seq,))])

    (end,) = store.deliverable()
    assert isinstance(store.load(end.seq), TaskEnded)


def test_only_what_the_outbox_names_is_given_away(store: Store, result: MakeResult) -> None:
    contents = Contents(store, 10_000_000)
    params = b"p" * CHUNK_BYTES
    store.receive(content_of(params), chunks_of(params))
    ask = SendChunk(digest=LARGE.digest, offset=CHUNK_BYTES)

    assert contents.answer(ask) is None
    store.apply([Enqueue(result(payload=LARGE), 5, BODY)])

    assert contents.answer(ask) == chunks_of(BODY)[1]
    assert contents.answer(SendChunk(digest=LARGE.digest, offset=8 * CHUNK_BYTES)) is None
    assert contents.answer(SendChunk(digest=content_of(params).digest, offset=0)) is None


def test_a_store_of_version_2_gets_the_tables_of_contents(
    tmp_path: Path, result: MakeResult
) -> None:
    store = Store(tmp_path, outbox_mb=10)
    store.apply([Enqueue(result(), 5)])
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.executescript(
            "DROP INDEX outbox_contents; ALTER TABLE outbox DROP COLUMN digest;"
            "ALTER TABLE outbox DROP COLUMN measured; DROP TABLE origins;"
            "DROP TABLE contents; DROP TABLE chunks; PRAGMA user_version = 2"
        )
    connection.close()

    again = Store(tmp_path, outbox_mb=10)
    again.apply([Enqueue(result(iteration=2, payload=LARGE), 5, BODY)])

    assert len(again.deliverable()) == 2
    again.close()


# --- what tasks were given -----------------------------------------------------------------------


def wanted(content: Content) -> list[Wanted]:
    return [Wanted("job-1", content)]


def test_a_download_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path, outbox_mb=10)
    contents = Contents(store, 10_000_000)
    contents.want(wanted(LARGE), 0)
    assert [f.offset for f in contents.due(0)] == [0, CHUNK_BYTES]
    contents.hear(chunks_of(BODY)[0], 0)
    contents.keep(0)
    store.close()

    store = Store(tmp_path, outbox_mb=10)
    contents = Contents(store, 10_000_000)
    contents.want([], 0)  # the round has not been told again yet
    contents.want(wanted(LARGE), 10)
    assert contents.missing([LARGE]) == "content 0.3 of 0.5 MB"
    assert [f.offset for f in contents.due(10)] == [CHUNK_BYTES, 2 * CHUNK_BYTES]
    for chunk in chunks_of(BODY)[1:]:
        contents.hear(chunk, 10)
    contents.keep(10)

    assert contents.missing([LARGE]) == ""
    assert store.contents.read(LARGE.digest) == BODY
    assert contents.received_bytes == len(BODY) - CHUNK_BYTES
    store.close()


def test_what_nobody_wants_goes_after_a_while(store: Store) -> None:
    contents = Contents(store, 10_000_000)
    store.receive(LARGE, chunks_of(BODY))
    contents.want(wanted(LARGE), 0)
    contents.want([], 1)
    assert store.contents.is_whole(LARGE)

    contents.want([], 1 + KEPT_UNWANTED_NS)

    assert store.contents.listed() == []


def test_what_nobody_wants_goes_at_once_when_its_room_is_needed(store: Store) -> None:
    contents = Contents(store, len(BODY) + 100_000)
    store.receive(LARGE, chunks_of(BODY))
    contents.want(wanted(LARGE), 0)

    contents.want(wanted(content_of(b"x" * CHUNK_BYTES)), 1)

    assert not store.contents.is_whole(LARGE)


def test_more_than_the_store_may_hold_waits_and_says_so(store: Store) -> None:
    contents = Contents(store, len(BODY) + 1000)
    other = content_of(b"x" * CHUNK_BYTES)
    contents.want([Wanted("job-1", LARGE), Wanted("job-2", other)], 0)

    assert {f.digest for f in contents.due(0)} == {LARGE.digest}
    assert contents.missing([other]) == (
        "content 0.0 of 0.3 MB (waits for room: contents.store_mb here is 0.5 MB)"
    )


def test_bytes_that_are_not_what_was_named_are_counted_and_asked_for_anew(store: Store) -> None:
    contents = Contents(store, 10_000_000)
    contents.want(wanted(LARGE), 0)
    list(contents.due(0))
    for chunk in chunks_of(BODY[:-1] + b"?"):
        contents.hear(replace(chunk, digest=LARGE.digest), 0)
    contents.keep(0)

    assert contents.damaged == 1
    assert "not what was named" in contents.missing([LARGE])
    assert list(contents.due(0)) == []
    assert [f.offset for f in contents.due(60 * 10**9)] == [0, CHUNK_BYTES]
