"""The filters of `oodida audit`: what they keep, and what they refuse to take for a filter."""

import json
from pathlib import Path
from typing import get_args

import pytest

from agent.tasks.code import ReportState
from user_lib.cli.entry import main
from user_lib.contract.clock import SystemClock
from user_lib.wire.audit_entry import EVENTS, Entry
from user_lib.wire.audit_log import AuditLog


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
    ],
)
def test_a_filter_keeps_what_it_says(
    log: Path, capfd: pytest.CaptureFixture[str], words: list[str], kept: list[str]
) -> None:
    assert main(["audit", str(log), "--json", *words]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == kept


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
