"""Recorded logs: one reader a format, all yielding batches of frames with exact times."""

from hw.logs.log import FORMATS, Log, read_log
from hw.logs.write import write_candump

__all__ = ["FORMATS", "Log", "read_log", "write_candump"]
