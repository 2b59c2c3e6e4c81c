"""The log on stderr: one line an entry, whatever is in it, with UTC times that sort."""

import logging
import sys
import time

__all__ = ["OneLine", "set_up_log"]


class OneLine(logging.Formatter):
    """``2026-05-01T08:00:00.123Z level=INFO part=agent.loop ...``; line ends are written out."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s level=%(levelname)s part=%(name)s %(message)s")

    @staticmethod
    def converter(timestamp: float | None) -> time.struct_time:
        """Take the time in UTC."""
        return time.gmtime(timestamp)

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry as one line, a traceback included."""
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def set_up_log(level: str) -> None:
    """Let everything from ``level`` on go to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
