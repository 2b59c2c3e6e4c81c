"""The machine's side of CAN: interfaces, recorded logs, a simulated car, as batches of frames."""

from hw.logs import Log, read_log, write_candump
from hw.merged import merge
from hw.source import Source, SourceEnded, SourceStats

__all__ = ["Log", "Source", "SourceEnded", "SourceStats", "merge", "read_log", "write_candump"]
