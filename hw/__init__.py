"""The machine's side of CAN: interfaces, recorded logs, a simulated car, as batches of frames.

`open_source` turns an entry of the agent's configuration into a `Source`; `read_log` reads a
recorded log of any known format; `simulate` drives a demo car offline.

A lazy facade: a vehicle on a real bus loads neither the readers of logs nor the simulated car.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from hw.simulated.car import MODELS, SimulatedDrive, model_databases, model_mapping, simulate
    from hw.simulated.speed_table import SpeedTable, read_speed_table
    from hw.source import Source, SourceEnded, SourceStats

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

_HOMES = {
    "hw.config": (
        "CanConfig",
        "ReplayConfig",
        "SimulatedConfig",
        "SourceConfig",
        "open_source",
        "open_sources",
    ),
    "hw.logs": ("Log", "read_log", "write_candump"),
    "hw.merged": ("merge",),
    "hw.simulated.car": (
        "MODELS",
        "SimulatedDrive",
        "model_databases",
        "model_mapping",
        "simulate",
    ),
    "hw.source": ("Source", "SourceEnded", "SourceStats"),
    "hw.simulated.speed_table": ("SpeedTable", "read_speed_table"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hw' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
