"""The published way to swap code: ``import user_lib.code_update as c; c.code_update("my.py")``.

The cloud and the user are those of `user_lib.connect` without arguments.
"""

from collections.abc import Sequence

from user_lib.code.slots import CodeUpdate
from user_lib.code.source import Code
from user_lib.fleet import Side, connect

__all__ = ["code_update"]


def code_update(
    code: Code, side: Side = "onboard", vehicles: Sequence[str] | None = None
) -> CodeUpdate:
    """Put a custom module in force and return what the vehicles answered.

    Raises: CodeError, Rejected, ConfigError, LinkError, as `Fleet.update_code` and `connect`.
    """
    with connect() as fleet:
        return fleet.update_code(code, side=side, vehicles=vehicles)
