import logging
import re
import sys

from agent.logs import OneLine


def test_an_entry_is_one_line_with_its_traceback() -> None:
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        record = logging.LogRecord(
            "agent.loop", logging.ERROR, "f", 1, "it %s", ("failed\r\nhere",), sys.exc_info()
        )

    line = OneLine().format(record)

    assert "\n" not in line
    assert "\r" not in line
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=ERROR part=agent.loop it failed", line
    )
    assert "ValueError: bad\\nvalue" in line
