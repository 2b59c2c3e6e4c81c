"""The audit log: durable, chained, bounded but not in silence, and open about what befell it."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.config import Config
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import ConfigError
from user_lib.wire.audit_entry import Entry, Mark
from user_lib.wire.audit_log import CURRENT, AuditLog, files_of
from user_lib.wire.audit_reading import USUAL, check, find_logs, read

Open = Callable[..., AuditLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    opened: list[AuditLog] = []

    def make(limit_mb: float = 1.0, known: Mark | None = None) -> AuditLog:
        for log in opened:
            log.close()
        folder = tmp_path / "audit"
        opened.append(AuditLog(folder, SystemClock(), limit_mb=limit_mb, known=known))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def entry(event: str = "accepted", **more: str) -> Entry:
    return Entry(at="2026-05-01T08:00:00.000Z", event=event, **more)


def rewrite(path: Path, change: Callable[[list[bytes]], None]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def test_entries_are_numbered_over_restarts_and_the_chain_holds(open_log: Open) -> None:
    open_log().append([entry(who="ada"), entry(who="bo")])
    log = open_log()
    log.append([entry(who="cy")])

    assert [(e.number, e.who) for e in read(log.directory)] == [(1, "ada"), (2, "bo"), (3, "cy")]
    found = check(log.directory)
    assert (found.problems, found.last, found.chain) == ((), 3, log.chain)


def test_only_the_owner_can_read_it(open_log: Open) -> None:
    log = open_log()

    assert (log.directory / CURRENT).stat().st_mode & 0o777 == 0o600
    assert log.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines.pop(1), "entry 3 follows entry 1"),
        (lambda lines: lines.pop(0), "entries 1 to 1 are missing"),
        (lambda ls: ls.__setitem__(1, ls[1].replace(b"bo", b"eve")), "is not chained"),
        (lambda ls: ls.__setitem__(0, ls[0].replace(b"ada", b"eve")), "the oldest, was changed"),
        (lambda ls: ls.insert(1, b"nothing\n"), "is no entry"),
        (lambda ls: ls.insert(1, ls[0]), "entry 1 follows entry 1"),
    ],
)
def test_a_line_that_was_changed_or_removed_shows(
    open_log: Open, change: Callable[[list[bytes]], None], words: str
) -> None:
    log = open_log()
    log.append([entry(who="ada"), entry(who="bo"), entry(who="cy")])

    rewrite(log.directory / CURRENT, change)

    assert any(words in problem for problem in check(log.directory).problems)


def test_a_noted_hash_shows_that_the_end_was_cut_off(open_log: Open) -> None:
    log = open_log()
    log.append([entry(), entry()])
    noted = log.chain
    log.append([entry()])
    assert check(log.directory, noted).noted_at == 2

    rewrite(log.directory / CURRENT, lambda lines: lines.__delitem__(slice(1, None)))

    found = check(log.directory, noted)
    assert (found.problems, found.noted_at) == ((), None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines.__delitem__(slice(1, None)), "entries 2 to 3 were removed"),
        (lambda lines: lines.clear(), "entries 1 to 3 were removed"),
        (lambda lines: lines.append(b"nothing\n"), "entries 1 to 3 were removed"),
    ],
)
def test_an_end_that_was_cut_off_while_nobody_wrote_shows_from_then_on(
    open_log: Open, change: Callable[[list[bytes]], None], words: str
) -> None:
    log = open_log()
    log.append([entry(), entry(), entry()])
    known = log.mark
    log.close()
    rewrite(log.directory / CURRENT, change)

    log = open_log(known=known)
    log.append([entry()])

    (problem,) = [p for p in check(log.directory).problems if "while nothing wrote" in p]
    assert words in problem
    assert known.chain in problem
    again = open_log(known=log.mark)
    assert [e.event for e in read(again.directory)].count("tail_missing") == 1


def test_an_end_that_was_written_anew_shows(open_log: Open) -> None:
    log = open_log()
    log.append([entry(who="eve"), entry()])
    known = log.mark
    (log.directory / CURRENT).unlink()
    open_log().append([entry(who="bo"), entry(), entry()])

    log = open_log(known=known)

    (problem,) = check(log.directory).problems
    assert "entry 2 is not the one that was written" in problem


def test_a_log_that_is_ahead_of_what_its_owner_kept_is_whole(open_log: Open) -> None:
    log = open_log(limit_mb=0.02)
    log.append([entry()])
    long_ago = log.mark
    for i in range(400):
        log.append([entry(who=f"user-{i}")])
    before = log.mark
    log.append([entry()])

    for known in (long_ago, before, log.mark):
        open_log(limit_mb=0.02, known=known)

    assert check(log.directory).problems == ()
    assert "tail_missing" not in [e.event for e in read(log.directory)]


def test_what_a_power_cut_left_unfinished_is_removed_and_told_of(open_log: Open) -> None:
    log = open_log()
    log.append([entry(), entry()])
    log.close()
    with (log.directory / CURRENT).open("ab") as file:
        file.write(b'{"number":3,"at"')

    log = open_log()

    assert [e.event for e in read(log.directory)] == ["accepted", "accepted", "cut_off"]
    assert check(log.directory).problems == ()


def test_a_full_log_lets_the_oldest_go_and_says_which(open_log: Open) -> None:
    log = open_log(limit_mb=0.02)
    for i in range(400):
        log.append([entry(who=f"user-{i}")])

    found = check(log.directory)
    events = [e for e in read(log.directory) if e.event == "rotated"]
    size = sum(path.stat().st_size for path in files_of(log.directory))
    assert size < 0.03e6
    assert found.first > 1
    assert f"to {found.first - 1} (" in events[-1].detail
    assert found.problems == ()
    assert check(open_log(limit_mb=0.02).directory).last == found.last


def test_a_rotated_file_that_is_removed_by_hand_shows(open_log: Open) -> None:
    log = open_log(limit_mb=0.02)
    for i in range(400):
        log.append([entry(who=f"user-{i}")])

    files_of(log.directory)[0].unlink()

    assert "are missing" in check(log.directory).problems[-1]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_the_disk_did_not_take_is_not_in_the_log(open_log: Open) -> None:
    log = open_log()
    log.append([entry(who="ada")])
    size = os.stat(log.directory / CURRENT).st_size

    with full_disk(size + 50), pytest.raises(OSError, match=r"written|large"):
        log.append([entry(who="bo")])

    log.append([entry(who="cy")])
    assert [e.who for e in read(log.directory)] == ["ada", "cy"]
    assert check(log.directory).problems == ()


def test_a_log_is_found_in_the_directory_of_the_state(open_log: Open, tmp_path: Path) -> None:
    log = open_log()

    assert find_logs(tmp_path) == find_logs(log.directory) == (log.directory,)
    with pytest.raises(ConfigError, match="no audit log in"):
        find_logs(tmp_path / "elsewhere")


def test_all_logs_of_a_place_are_found(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    shutil.copytree(log.directory, tmp_path / "cloud.audit")

    assert find_logs(tmp_path) == (log.directory, tmp_path / "cloud.audit")


@pytest.mark.skipif(
    any(place.exists() for place in USUAL[:2]), reason="the packaged services run on this machine"
)
def test_without_a_directory_a_cloud_started_by_hand_is_found(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=f"/var/lib/oodida-cloud, {tmp_path}/.local/state/oodida"):
        find_logs(None)

    log = open_log()
    beside_ledger = Config().ledger.expanduser().with_suffix(".audit")
    beside_ledger.parent.mkdir(parents=True)
    log.directory.rename(beside_ledger)

    assert find_logs(None) == (beside_ledger,)
