"""The machine's side of CAN: interfaces, recorded logs, a simulated car, as batches of frames.

`open_source` turns an entry of the agent's configuration into a `Source`; `read_log` reads a
recorded log of any known format; `simulate` drives a demo car offline.
"""

from hw.config import (
    CanConfig,
    ReplayConfig,
    SimulatedConfig,
    SourceConfig,
    open_source,
    open_sources,
)
from hw.logs import Log, read_log, write_candump
from hw.merged import merge
from hw.simulated import MODELS, SimulatedDrive, model_databases, model_mapping, simulate
from hw.source import Source, SourceEnded, SourceStats
from hw.speed_table import SpeedTable, read_speed_table

__all__ = [
    "MODELS",
    "CanConfig",
    "Log",
    "ReplayConfig",
    "SimulatedConfig",
    "SimulatedDrive",
    "Source",
    "SourceConfig",
    "SourceEnded",
    "SourceStats",
    "SpeedTable",
    "merge",
    "model_databases",
    "model_mapping",
    "open_source",
    "open_sources",
    "read_log",
    "read_speed_table",
    "simulate",
    "write_candump",
]
