"""The filters of `oodida audit`: what they keep, and what they refuse to take for a filter."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest

from agent.tasks.code import ReportState
from user_lib.cli.entry import main
from user_lib.contract.clock import SystemClock
from user_lib.wire.audit_entry import EVENTS, Entry
from user_lib.wire.audit_log import CURRENT, AuditLog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    audit = AuditLog(tmp_path / "audit", SystemClock(), limit_mb=1)
    audit.append(
        [
            Entry(at=f"2026-05-0{day}T08:00:00.000Z", event=event)
            for day, event in enumerate(("started", "accepted", "sent", "ended"), 1)
        ]
    )
    audit.close()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--since", "2026-05-03"], ["sent", "ended"]),
        (["--until", "2026-05-02T08:00"], ["started"]),
        (["--since", "2026-05-02T10:00+02:00", "--until", "2026-05-03"], ["accepted"]),
        (["--since", "2026-05-02T10:00:00.001+02:00"], ["sent", "ended"]),
        (["--event", "sent"], ["sent"]),
        (["--event", "refused"], []),
        (["--last", "2"], ["sent", "ended"]),
        (["--last", "9", "--until", "2026-05-02"], ["started"]),
    ],
)
def test_a_filter_keeps_what_it_says(
    log: Path, capfd: pytest.CaptureFixture[str], words: list[str], kept: list[str]
) -> None:
    assert main(["audit", str(log), "--json", *words]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == kept


@pytest.mark.parametrize("text", ["-5", "0", "two", "1.5", ""])
def test_the_newest_are_a_number_of_them(
    log: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["audit", str(log), f"--last={text}"])

    assert left.value.code == 2
    assert f"--last: {text!r} is no number of entries" in capfd.readouterr().err


def test_of_two_logs_on_a_machine_both_are_shown_and_checked(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    agents, clouds = log / "audit", log / "cloud.audit"
    shutil.copytree(agents, clouds)

    assert main(["audit", str(log), "--last", "1"]) == 0
    first, newest, second, newest_too = capfd.readouterr().out.splitlines()
    assert (first, second) == (f"{agents}:", f"{clouds}:")
    assert newest == newest_too
    assert "ended" in newest

    assert main(["audit", str(log), "--json"]) == 0
    told = [json.loads(line)["log"] for line in capfd.readouterr().out.splitlines()]
    assert told == [str(agents)] * 4 + [str(clouds)] * 4

    damaged = (clouds / CURRENT).read_text().replace("accepted", "refused")
    (clouds / CURRENT).write_text(damaged)
    assert main(["audit", str(log), "--check", "--json"]) == 1
    checked = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(c["directory"], bool(c["problems"])) for c in checked] == [
        (str(agents), False),
        (str(clouds), True),
    ]


def test_a_hash_that_was_noted_is_that_of_one_of_the_logs(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = AuditLog(log / "cloud.audit", SystemClock(), limit_mb=1)
    other.append([Entry(at="2026-05-01T08:00:00.000Z", event="started", who="cloud")])
    noted = other.chain
    other.close()

    assert main(["audit", str(log), "--check", "--noted", noted]) == 0
    assert "entry 1 has the noted hash" in capfd.readouterr().out
    assert main(["audit", str(log), "--check", "--noted", "0" * 64]) == 1


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("text", ["yesterday", "2026-13-45", "", "0001-01-01T00:00+02:00"])
def test_what_is_no_time_is_refused_with_an_example(
    log: Path, capfd: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["audit", str(log), option, text])

    assert left.value.code == 2
    said = capfd.readouterr().err
    assert f"{option}: {text!r} is not a time such as 2026-05-01 or 2026-05-01T08:00" in said


def test_an_unknown_event_is_refused_with_the_nearest_and_all_there_are(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for text in ("refusd", "zzzz"):
        with pytest.raises(SystemExit) as left:
            main(["audit", str(log), "--event", text])
        assert left.value.code == 2
        said = capfd.readouterr().err
        assert f"{text!r} is no event; " in said
        assert ("did you mean refused" in said) == (text == "refusd")
        assert f"there are {', '.join(sorted(EVENTS))}" in said


def test_whatever_becomes_of_code_can_be_asked_for() -> None:
    states = {f"code_{state}" for state in get_args(ReportState)}
    actions = {f"code_{action}" for action in ("push", "rollback", "remove")}

    assert states | actions <= EVENTS
