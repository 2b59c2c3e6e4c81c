"""The analyst's side of OODIDA: ``import user_lib; fleet = user_lib.connect()``.

A lazy facade: names load their modules when they are first used, so that importing the contract
(or ``Result``, as custom modules do on a vehicle) loads neither sockets nor the sandbox.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user_lib.code.slots import CodeOverview, CodeUpdate, SwapLatency
    from user_lib.code.try_out import try_code
    from user_lib.columns import Columns
    from user_lib.contract.code import Result
    from user_lib.contract.errors import (
        AssignmentError,
        CodeError,
        ConfigError,
        LinkError,
        OodidaError,
        Rejected,
    )
    from user_lib.contract.states import JobState, RoundState
    from user_lib.contract.window import Window
    from user_lib.fleet import Fleet, connect
    from user_lib.job import Job, JobFailed
    from user_lib.results import Round, VehicleResult

    __version__: str

__all__ = [
    "AssignmentError",
    "CodeError",
    "CodeOverview",
    "CodeUpdate",
    "Columns",
    "ConfigError",
    "Fleet",
    "Job",
    "JobFailed",
    "JobState",
    "LinkError",
    "OodidaError",
    "Rejected",
    "Result",
    "Round",
    "RoundState",
    "SwapLatency",
    "VehicleResult",
    "Window",
    "__version__",
    "connect",
    "try_code",
]

_HOMES = {
    "user_lib.code.slots": ("CodeOverview", "CodeUpdate", "SwapLatency"),
    "user_lib.contract.code": ("Result",),
    "user_lib.contract.errors": (
        "AssignmentError",
        "CodeError",
        "ConfigError",
        "LinkError",
        "OodidaError",
        "Rejected",
    ),
    "user_lib.contract.states": ("JobState", "RoundState"),
    "user_lib.contract.window": ("Window",),
    "user_lib.fleet": ("Fleet", "connect"),
    "user_lib.job": ("Job", "JobFailed"),
    "user_lib.columns": ("Columns",),
    "user_lib.results": ("Round", "VehicleResult"),
    "user_lib.code.try_out": ("try_code",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("user_lib.wire.version").installed_version()
    if name not in _HOME_OF:
        raise AttributeError(f"module 'user_lib' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
