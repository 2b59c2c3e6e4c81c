import os
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.store import (
    Acknowledge,
    EndTask,
    Enqueue,
    SavePosition,
    SaveSlot,
    SaveTask,
    StateDamaged,
    StateUnwritable,
    Store,
)
from agent.store.store import MAX_IN_FLIGHT
from agent.tasks.code import CodeSlot, Version
from agent.tasks.task import Position
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import ConfigError
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.states import TaskState

MakeResult = Callable[..., Result]


def ended(assignment_id: str = "job-1") -> TaskEnded:
    return TaskEnded(assignment_id=assignment_id, epoch="e", state=TaskState.FINISHED)


def open_store(path: Path, outbox_mb: float = 10.0) -> Store:
    return Store(path, outbox_mb=outbox_mb)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    biggest = max(f.stat().st_size for f in path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (biggest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_all_that_was_written_is_there_after_opening_again(
    tmp_path: Path, spec: Callable[..., Assignment], result: MakeResult
) -> None:
    slot = CodeSlot(analyst="ana", generation=2, versions=(Version(2, "a" * 64, "src", True),))
    store = open_store(tmp_path)
    epoch = store.epoch
    store.apply([SaveTask("job-1", "ana", spec(iterations=7), Position(iteration=1))])
    position = Position(iteration=2, committed=1, memory={"w": [1, 2.5]}, ran_ns=7)
    store.apply([Enqueue(result(value=[1.5]), 5), SavePosition("job-1", position), SaveSlot(slot)])
    store.close()

    again = open_store(tmp_path)

    assert again.epoch == epoch
    (kept,) = again.tasks
    assert (kept.assignment_id, kept.analyst, kept.position) == ("job-1", "ana", position)
    assert kept.spec == spec(iterations=7)
    assert again.slots == (slot,)
    (entry,) = again.deliverable()
    assert again.load(entry.seq) == result(value=[1.5])
    assert (again.entries, again.outbox_bytes) == (1, entry.size)
    again.close()


@pytest.mark.parametrize("outbox_mb", [1.0, 0.002])
def test_the_counts_of_the_outbox_are_those_of_what_is_in_it(
    tmp_path: Path, outbox_mb: float, result: MakeResult
) -> None:
    store = open_store(tmp_path, outbox_mb)
    for iteration in range(1, 30):
        store.apply([Enqueue(result(iteration=iteration), 5)])
    first, second, *_ = store.deliverable()
    store.apply([Acknowledge((first.seq, second.seq, second.seq, 999)), Acknowledge((first.seq,))])
    counted = (store.entries, store.outbox_bytes)
    assert (store.dropped_results > 0) is (outbox_mb < 1)
    store.close()

    again = open_store(tmp_path)

    assert (again.entries, again.outbox_bytes) == counted
    again.close()


def test_a_fresh_state_is_a_new_epoch(tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "a"), open_store(tmp_path / "b")

    assert one.epoch != two.epoch
    one.close()
    two.close()


def test_acknowledged_entries_are_gone_and_their_numbers_are_never_used_again(
    store: Store, result: MakeResult
) -> None:
    store.apply([Enqueue(result(), 5)])
    (first,) = store.deliverable()
    store.apply([Acknowledge((first.seq, 999))])
    assert (store.deliverable(), store.load(first.seq), store.entries) == ([], None, 0)

    store.apply([Enqueue(result(iteration=2), 5)])
    (second,) = store.deliverable()
    assert second.seq > first.seq


def test_an_ended_task_is_remembered_and_its_end_waits_in_the_outbox(
    store: Store, spec: Callable[..., Assignment]
) -> None:
    store.apply([SaveTask("job-1", "ana", spec(), Position(iteration=1))])
    assert not store.has_ended("job-1")

    store.apply([EndTask(ended(), 5)])

    assert store.has_ended("job-1")
    (entry,) = store.deliverable()
    assert store.load(entry.seq) == ended()


def test_only_so_many_entries_may_be_on_their_way(store: Store, result: MakeResult) -> None:
    store.apply([Enqueue(result(iteration=i), 5) for i in range(1, 3 * MAX_IN_FLIGHT)])

    assert len(store.deliverable()) == MAX_IN_FLIGHT


def test_entries_on_their_way_take_at_most_half_of_the_outbox(
    tmp_path: Path, result: MakeResult
) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    store.apply([Enqueue(result(iteration=i, value="x" * 100_000), 5) for i in range(1, 9)])

    assert len(store.deliverable()) == 4
    store.close()


def test_one_entry_may_always_be_on_its_way(tmp_path: Path, result: MakeResult) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    store.apply([Enqueue(result(value="x" * 900_000), 5)])

    assert len(store.deliverable()) == 1
    store.close()


def test_a_full_outbox_drops_the_lowest_priority_first_and_records_it(
    tmp_path: Path, result: MakeResult
) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    for i in range(1, 25):
        name, priority = ("low", 1) if i % 2 else ("high", 8)
        big = result(assignment_id=name, iteration=i, value="x" * 50_000)
        store.apply([Enqueue(big, priority)])
    store.apply([EndTask(ended("low"), 1), EndTask(ended("high"), 8)])

    items = everything(store)
    kept = [i for i in items if isinstance(i, Result)]
    lost = lost_in(items)
    assert store.dropped_results == 24 - len(kept) == len(lost) > 0
    assert {name for name, _ in lost} == {"low"}
    assert sorted([*lost, *((r.assignment_id, r.iteration) for r in kept)]) == sorted(
        ("low" if i % 2 else "high", i) for i in range(1, 25)
    )
    store.close()


def lost_in(items: list[Result | Losses | TaskEnded]) -> list[tuple[str, int]]:
    return [
        (item.assignment_id, iteration)
        for item in items
        if isinstance(item, Losses)
        for first, last in item.iterations
        for iteration in range(first, last + 1)
    ]


def everything(store: Store) -> list[Result | Losses | TaskEnded]:
    """Deliver the whole outbox."""
    items: list[Result | Losses | TaskEnded] = []
    while entries := store.deliverable():
        found = [store.load(e.seq) for e in entries]
        items += [i for i in found if i is not None]
        store.apply([Acknowledge(tuple(e.seq for e in entries))])
    return items


def test_a_result_dropped_after_its_task_ended_is_told_before_the_end(
    tmp_path: Path, result: MakeResult
) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    filler = result(assignment_id="other", value="x" * 100_000)
    store.apply([Enqueue(replace(filler, iteration=i), 9) for i in range(1, 7)])
    store.apply([Enqueue(result(value="y" * 100_000), 1), EndTask(ended(), 1)])
    store.apply([Enqueue(replace(filler, iteration=i), 9) for i in range(7, 12)])

    losses = Losses(assignment_id="job-1", epoch="e", iterations=((1, 1),))
    told = [i for i in everything(store) if i.assignment_id == "job-1"]
    assert told == [replace(losses, vehicle_id="car-1"), ended()]
    store.close()


def test_a_record_of_losses_that_may_be_on_its_way_is_not_changed(
    tmp_path: Path, result: MakeResult
) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    numbers = iter(range(1, 100))

    def fill() -> None:
        for i in [next(numbers) for _ in range(20)]:
            store.apply([Enqueue(result(iteration=i, value="x" * 100_000), 1)])

    fill()
    sent = {e.seq: store.load(e.seq) for e in store.deliverable()}
    assert any(isinstance(item, Losses) for item in sent.values())
    fill()

    assert {seq: store.load(seq) for seq in sent} == sent
    store.close()


def test_a_state_that_only_counted_losses_is_taken_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    epoch = store.epoch
    store.apply([EndTask(ended(), 5)])
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.executescript(
            "DROP TABLE contents; DROP TABLE chunks; DROP INDEX outbox_contents;"
            "ALTER TABLE outbox DROP COLUMN digest;"
            "ALTER TABLE outbox DROP COLUMN measured; DROP TABLE origins;"
            "DROP INDEX outbox_losses; ALTER TABLE outbox RENAME COLUMN kind TO is_end;"
            "CREATE INDEX outbox_ends ON outbox (assignment_id) WHERE is_end;"
            "CREATE TABLE losses (assignment_id TEXT PRIMARY KEY, lost INTEGER NOT NULL);"
            "PRAGMA user_version = 1"
        )
    connection.close()

    again = open_store(tmp_path)
    assert again.epoch == epoch
    assert everything(again) == [ended()]
    again.close()


def test_what_may_be_on_its_way_is_never_dropped(tmp_path: Path, result: MakeResult) -> None:
    store = open_store(tmp_path, outbox_mb=1.0)
    store.apply([Enqueue(result(iteration=i, value="x" * 100_000), 1) for i in range(1, 6)])
    sent = {e.seq for e in store.deliverable()}
    store.apply([Enqueue(result(iteration=i, value="x" * 100_000), 9) for i in range(6, 30)])

    assert sent <= {e.seq for e in store.deliverable()}
    store.close()


def test_a_full_disk_is_said_and_nothing_of_the_transaction_is_kept(
    tmp_path: Path, spec: Callable[..., Assignment], result: MakeResult
) -> None:
    store = open_store(tmp_path)
    store.apply([SaveTask("job-1", "ana", spec(), Position(iteration=1))])

    big = result(value="x" * 1_000_000)
    with full_disk(tmp_path), pytest.raises(StateUnwritable, match="cannot be written"):
        store.apply([SavePosition("job-1", Position(iteration=2)), Enqueue(big, 5)])
    with full_disk(tmp_path), pytest.raises(StateUnwritable):
        store.probe()

    store.probe()
    assert store.deliverable() == []
    store.close()
    again = open_store(tmp_path)
    assert again.tasks[0].position == Position(iteration=1)
    again.close()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    with pytest.raises(ConfigError, match="another agent is using it"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be used"):
        open_store(tmp_path / "file" / "state")


@pytest.mark.parametrize("damage", ["noise", "header", "row"])
def test_a_damaged_file_is_put_aside_and_a_new_epoch_begins(
    tmp_path: Path, damage: str, result: MakeResult
) -> None:
    store = open_store(tmp_path)
    epoch = store.epoch
    store.apply([Enqueue(result(iteration=i, value="x" * 10_000), 5) for i in range(1, 20)])
    store.close()
    path = tmp_path / "state.db"
    if damage == "row":
        with sqlite3.connect(path) as connection:
            connection.execute("INSERT INTO tasks VALUES ('job', 'ana', x'c1', x'c1')")
        connection.close()
    else:
        data = bytearray(path.read_bytes())
        begin = 0 if damage == "header" else 4096
        data[begin : begin + 4096] = os.urandom(4096)
        path.write_bytes(data)

    again = open_store(tmp_path)

    assert again.epoch != epoch
    assert (tmp_path / "state.db.damaged").exists()
    again.apply([Enqueue(result(), 5)])
    assert again.entries == 1
    again.close()


def test_damage_that_is_found_later_is_told_apart_from_a_full_disk(
    tmp_path: Path, result: MakeResult
) -> None:
    store = open_store(tmp_path)
    for i in range(1, 80):
        store.apply([Enqueue(result(iteration=i, value="x" * 100_000), 5)])
    store.close()
    store = open_store(tmp_path)
    path = tmp_path / "state.db"
    with path.open("r+b") as file:
        for page in range(20, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))

    with pytest.raises(StateDamaged):
        _ = [store.load(seq) for seq in range(1, 80)]
    store.close()


def test_text_that_is_none_is_damage_too(tmp_path: Path, result: MakeResult) -> None:
    store = open_store(tmp_path)
    store.apply([Enqueue(result(iteration=1, value="x" * 100_000), 5)])
    with closing(sqlite3.connect(tmp_path / "state.db")) as disk, disk:
        (item,) = disk.execute("SELECT item FROM outbox").fetchone()
        damaged = bytes(item).replace(b"x" * 100, b"\xba" * 100, 1)
        disk.execute("UPDATE outbox SET item = ?", (damaged,))

    with pytest.raises(StateDamaged, match="a row is no"):
        store.load(1)
    store.close()

    again = open_store(tmp_path)
    assert again.epoch != store.epoch
    assert again.entries == 0
    again.close()


def test_a_state_of_a_newer_agent_is_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(ConfigError, match="newer agent"):
        open_store(tmp_path)


def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    open_store(tmp_path / "state").close()

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "state.db").stat().st_mode) == 0o600
