"""The ledger keeps what it committed, once, in order; and says clearly when it cannot."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.ledger import AssignmentRow, Ledger, LedgerError
from cloud.ledger.schema import VERSION
from user_lib.contract.content import content_of
from user_lib.contract.messages import JobChanged, Losses, Result, TaskEnded
from user_lib.contract.states import JobState, TaskState
from user_lib.contract.validation import parse

SPEC = parse({"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "cloud.db")
    yield opened
    opened.close()


def row_of(name: str = "job-1") -> AssignmentRow:
    return AssignmentRow(
        row=0,
        assignment_id=name,
        analyst="ada",
        spec=SPEC,
        state=JobState.RUNNING,
        reason="",
        detail="",
        created_ns=1,
        started_ns=None,
        ended_ns=None,
        last_seq=0,
        results=0,
        rounds_closed=0,
    )


def result_of(iteration: int, vehicle: str = "kona-1", **more: Any) -> Result:
    fields: dict[str, Any] = {
        "assignment_id": "job-1",
        "vehicle_id": vehicle,
        "epoch": "e1",
        "iteration": iteration,
        "status": "ok",
        "value": float(iteration),
        "method": "mean",
        "dbc_hash": "d",
        "window_start_ns": 0,
        "window_stop_ns": 1,
        "agent_version": "1",
        "created_ns": 0,
    }
    return Result(**{**fields, **more})


def added(ledger: Ledger, name: str = "job-1") -> AssignmentRow:
    row = row_of(name)
    ledger.assignments.add(row, f"token-{name}", ["kona-1", "leaf-1"])
    ledger.commit()
    return row


def test_a_result_is_kept_once_under_its_identity(ledger: Ledger) -> None:
    row = added(ledger)

    assert ledger.add_result(row, result_of(1), 5)
    assert not ledger.add_result(row, result_of(1, value=99.0), 6)
    assert ledger.add_result(row, result_of(1, epoch="e2"), 7)
    assert ledger.add_result(row, result_of(1, vehicle="leaf-1"), 8)
    ledger.commit()

    values = [e.item.value for e in ledger.events.page(row, 0, 10, ("result",)).events]
    assert values == [1.0, 1.0, 1.0]
    member, _ = ledger.members.of(row.row)
    assert (member.results, member.iteration, member.last_result_ns) == (2, 1, 7)


def test_events_are_numbered_without_gaps_and_survive_reopening(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cloud.db")
    row = added(ledger)
    for i in range(1, 4):
        ledger.add_result(row, result_of(i), i)
        change = JobChanged(assignment_id="job-1", state=JobState.RUNNING, reason=str(i))
        ledger.append(row, "job", change)
    ledger.commit()
    ledger.close()

    again = Ledger(tmp_path / "cloud.db")
    found = again.find("job-1")
    assert found is not None
    assert (found.last_seq, found.results) == (6, 3)
    page = again.events.page(found, 0, 100, ("result", "job"))
    assert [e.seq for e in page.events] == [1, 2, 3, 4, 5, 6]
    assert again.events.page(found, 2, 2, ("job",)).next_seq == 6
    again.close()


def test_how_much_came_is_counted_with_its_contents_and_in_an_older_ledger_added_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cloud.db"
    ledger = Ledger(path)
    row = added(ledger)
    content = content_of(b"x" * 500_000)
    ledger.contents.begin(content)
    results = [result_of(1), result_of(2, value=None, payload=content)]
    for result in results:
        ledger.add_result(row, result, 1)
    ledger.add_result(row, results[0], 2)
    ledger.append(row, "job", JobChanged(assignment_id="job-1", state=JobState.RUNNING))
    ledger.commit()
    ledger.close()
    came = sum(len(msgspec.msgpack.encode(result)) for result in results) + content.size

    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT result_bytes FROM assignments").fetchall() == [(came,)]
        raw.execute("ALTER TABLE assignments DROP COLUMN result_bytes")
        raw.execute("PRAGMA user_version = 7")
        raw.commit()
    again = Ledger(path)
    found = again.find("job-1")
    assert found is not None
    assert found.result_bytes == came
    again.close()


def losses_of(*runs: tuple[int, int], reason: str = "rule cabin") -> Losses:
    return Losses(
        assignment_id="job-1", vehicle_id="kona-1", epoch="e1", iterations=runs, reason=reason
    )


def kept_as_lost(ledger: Ledger, row: AssignmentRow) -> list[int]:
    return [i for i in range(1, 20) if ledger.members.lost_in(row.row, i)]


def test_an_iteration_is_a_result_or_lost_whichever_came_first(ledger: Ledger) -> None:
    """A rule may keep on a vehicle what it had sent already, and a link may bring it late."""
    row = added(ledger)
    for i in (3, 4, 7):
        ledger.add_result(row, result_of(i), i)
    ledger.add_result(row, result_of(5, vehicle="leaf-1"), 5)
    ledger.add_result(row, result_of(6, epoch="e2"), 6)

    news = ledger.members.lost(row.row, losses_of((1, 5), (7, 7), (9, 9)))
    assert news == ((1, 2), (5, 5), (9, 9))
    assert ledger.members.lost(row.row, losses_of((1, 5), (7, 7), (9, 9))) == ()
    assert kept_as_lost(ledger, row) == [1, 2, 5, 9]

    assert not ledger.add_result(row, result_of(5), 9)
    assert ledger.add_result(row, result_of(5, epoch="e2"), 9)
    assert ledger.add_result(row, result_of(8), 9)
    member, _ = ledger.members.of(row.row)
    assert (member.lost_results, member.iteration) == (4, 9)


def test_what_a_vehicle_dropped_is_told_by_reason_the_most_frequent_first(ledger: Ledger) -> None:
    row = added(ledger)
    ledger.add_result(row, result_of(2), 3)
    ledger.members.lost(row.row, losses_of((1, 3)))
    ledger.members.lost(row.row, losses_of((4, 9), (11, 11), reason="outbox_full"))
    assert ledger.members.lost_for(row.row) == {"kona-1": {"outbox_full": 7, "rule cabin": 2}}

    for number in range(20, 40):
        ledger.members.lost(row.row, losses_of((number, number), reason=f"{number}" * 1000))
    reasons = ledger.members.lost_for(row.row)["kona-1"]
    assert list(reasons)[:2] == ["outbox_full", "rule cabin"]
    assert len(reasons) == 10
    assert max(map(len, reasons)) == 200


def test_a_vehicle_that_lies_of_its_losses_does_not_break_the_account_of_them(
    ledger: Ledger,
) -> None:
    row = added(ledger)
    for epoch in range(1200):
        lie = msgspec.structs.replace(losses_of((1, 2**53), reason="outbox_full"), epoch=f"{epoch}")
        ledger.members.lost(row.row, lie)

    assert ledger.members.lost_for(row.row)["kona-1"]["outbox_full"] > 2**62
    assert ledger.members.of(row.row)[0].lost_results == 2**53


def test_runs_without_end_are_not_all_read_for_their_reasons(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.ledger.losses.MAX_RUNS_READ", 3)
    row = added(ledger)
    ledger.members.lost(row.row, losses_of(*((i, i) for i in range(1, 12, 2))))

    assert ledger.members.lost_for(row.row) == {"kona-1": {"rule cabin": 3}}
    assert ledger.members.of(row.row)[0].lost_results == 6


def test_the_rule_that_ended_a_task_is_known(ledger: Ledger) -> None:
    row = added(ledger)
    end = TaskEnded(
        assignment_id="job-1", vehicle_id="kona-1", epoch="e1", state=TaskState.FAILED, rule="cabin"
    )
    assert ledger.members.rules(row.row) == {}

    ledger.members.task_ended(row.row, end)
    ledger.members.task_ended(row.row, msgspec.structs.replace(end, vehicle_id="leaf-1", rule=""))

    assert ledger.members.rules(row.row) == {"kona-1": "cabin"}


def test_a_result_is_never_lost_too_however_large_the_record_and_whatever_its_reason(
    ledger: Ledger,
) -> None:
    row = added(ledger)
    ledger.add_result(row, result_of(3), 3)

    record = losses_of((1, 2**53), reason="outbox_full")
    assert ledger.members.lost(row.row, record) == ((1, 2), (4, 2**53))
    assert kept_as_lost(ledger, row) == [1, 2, *range(4, 20)]
    assert not ledger.add_result(row, result_of(2**52), 3)
    ledger.commit()

    assert ledger.members.lost(row.row, record) == ()
    assert not ledger.commit(), "a repeat has nothing to keep"


def test_what_was_not_committed_leaves_no_trace(ledger: Ledger) -> None:
    row = added(ledger)
    ledger.add_result(row, result_of(1), 5)

    ledger.rollback()

    found = ledger.find("job-1")
    assert found is not None
    assert (found.last_seq, found.results) == (0, 0)
    assert ledger.events.page(found, 0, 10, ("result",)).events == ()


def test_an_assignment_found_in_the_same_tick_knows_its_newest_event(ledger: Ledger) -> None:
    row = added(ledger)
    ledger.add_result(row, result_of(1), 5)

    assert ledger.find("job-1") is row


def test_a_page_of_large_events_ends_early_and_goes_on_where_it_ended(ledger: Ledger) -> None:
    row = added(ledger)
    for i in range(1, 8):
        ledger.add_result(row, result_of(i, value="x" * 400_000), i)

    after, seen = 0, []
    while after < row.last_seq:
        page = ledger.events.page(row, after, 100, ("result",))
        assert 1 <= len(page.events) <= 3
        seen += [e.item.iteration for e in page.events]
        after = page.next_seq

    assert seen == list(range(1, 8))


def test_the_end_of_a_task_is_kept_once(ledger: Ledger) -> None:
    row = added(ledger)
    end = TaskEnded(
        assignment_id="job-1",
        vehicle_id="kona-1",
        epoch="e",
        state=TaskState.FAILED,
        reason="no_code",
    )

    assert ledger.members.task_ended(row.row, end)
    assert not ledger.members.task_ended(row.row, msgspec.structs.replace(end, reason="x"))
    assert ledger.members.of(row.row)[0].reason == "no_code"


def test_a_second_cloud_is_kept_off_the_ledger(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="in use by another oodida-cloud"):
        Ledger(ledger.path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    path.write_bytes(b"these are my holiday pictures" * 100)

    with pytest.raises(LedgerError, match="damaged or no ledger"):
        Ledger(path)

    assert path.read_bytes().startswith(b"these are my holiday")


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(LedgerError, match="of another program"):
        Ledger(path)

    assert path.read_bytes() == before


def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    ledger = Ledger(path)
    row = added(ledger)
    for i in range(1, 200):
        ledger.add_result(row, result_of(i, value="x" * 1000), i)
    ledger.commit()
    ledger.close()
    damaged = bytearray(path.read_bytes())
    for start in range(len(damaged) // 2, len(damaged), 4096):
        damaged[start : start + 64] = b"\x00" * 64
    path.write_bytes(damaged)

    with pytest.raises(LedgerError, match="restore a copy"):
        Ledger(path)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    Ledger(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {VERSION + 1}")
    raw.close()

    with pytest.raises(LedgerError, match="upgrade it"):
        Ledger(path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(LedgerError, match="--ledger"):
        Ledger(blocked / "cloud.db")


def test_old_ended_assignments_are_removed_bit_by_bit_and_others_stay(ledger: Ledger) -> None:
    old, young, live = added(ledger, "job-1"), added(ledger, "job-2"), added(ledger, "job-3")
    for row in (old, young, live):
        for i in range(1, 6):
            ledger.add_result(row, result_of(i, assignment_id=row.assignment_id), i)
    for row, ended_ns in ((old, 100), (young, 900)):
        row.state, row.ended_ns = JobState.FINISHED, ended_ns
        ledger.assignments.ended(row)
    ledger.commit()

    turns = 0
    while ledger.prune(before_ns=500, events=2):
        ledger.commit()
        turns += 1

    assert turns > 1
    assert ledger.find("job-1") is None
    assert len(ledger.events.page(young, 0, 10, ("result",)).events) == 5
    assert ledger.find("job-3") is not None
