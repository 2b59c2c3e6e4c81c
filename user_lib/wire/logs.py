"""The log on stderr: one line an entry, whatever is in it, for a person or for the journal."""

import logging
import os
import sys
import time
from collections.abc import Mapping

from user_lib.contract.escaping import LINES, escaped

__all__ = ["ForJournal", "OneLine", "complain", "is_journal", "set_up_log"]

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG = 7
_PATTERN = "%(asctime)s level=%(levelname)s part=%(name)s %(message)s"


class OneLine(logging.Formatter):
    """``2026-05-01T08:00:00.123Z level=INFO part=agent.loop ...``; line ends are written out."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, pattern: str = _PATTERN) -> None:
        super().__init__(pattern)

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry as one line, a traceback included."""
        line = super().format(record).replace("\r", "\\r").replace("\n", "\\n")
        return escaped(line, keep="\t")


class ForJournal(OneLine):
    """``<6>part=agent.loop ...``: the journal takes the number as priority and adds the time."""

    def __init__(self) -> None:
        super().__init__("part=%(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry behind its priority as syslog(3) counts it."""
        found = (priority for level, priority in _PRIORITIES if record.levelno >= level)
        return f"<{next(found, _DEBUG)}>{super().format(record)}"


def is_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Whether a descriptor leads to the journal, as ``JOURNAL_STREAM`` says of it."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up_log(level: str) -> None:
    """Let everything from ``level`` on go to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ForJournal() if is_journal(2, os.environ) else OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def complain(program: str, problem: object) -> None:
    """Say on stderr why a program does not start; the journal is told that it is an error."""
    prefix = "<3>" if is_journal(2, os.environ) else f"{program}: "
    words = escaped(str(problem), keep=LINES)
    if prefix == "<3>":
        words = words.replace("\n", f"\n{prefix}")
    sys.stderr.write(f"{prefix}{words}\n")
