import logging
import os
import re
import sys
from pathlib import Path

import pytest

from user_lib.wire.logs import ForJournal, OneLine, is_journal


def record(level: int = logging.ERROR) -> logging.LogRecord:
    """An entry with a traceback."""
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        return logging.LogRecord(
            "agent.loop", level, "f", 1, "it %s", ("failed\r\nhere",), sys.exc_info()
        )


def test_an_entry_is_one_line_with_its_traceback() -> None:
    line = OneLine().format(record())

    assert "\n" not in line
    assert "\r" not in line
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=ERROR part=agent.loop it failed", line
    )
    assert "ValueError: bad\\nvalue" in line


@pytest.mark.parametrize(
    ("level", "priority"),
    [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)],
)
def test_the_journal_gets_a_priority_and_no_time(level: str, priority: int) -> None:
    line = ForJournal().format(record(logging.getLevelNamesMapping()[level]))

    assert line.startswith(f"<{priority}>part=agent.loop it failed\\r\\nhere")
    assert "\n" not in line


def test_stderr_is_the_journal_only_when_the_descriptor_is_the_one_named(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "wb") as stream:
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino}"

        assert is_journal(stream.fileno(), {"JOURNAL_STREAM": named})
        assert not is_journal(stream.fileno(), {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(stream.fileno(), {})
