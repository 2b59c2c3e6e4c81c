"""The built-in methods, as an analyst looks them up and as an assignment is checked with them."""

from collections.abc import Mapping

from agent.sandbox.methods.registry import Description, describe
from agent.sandbox.methods.registry import check_params as check_half
from user_lib.contract.assignment import Assignment
from user_lib.tables import Column, Table

__all__ = ["MethodInfo", "check_params", "method_table"]

MethodInfo = Description

_COLUMNS: Mapping[str, Column[Description]] = {
    "half": lambda m: m.half,
    "method": lambda m: m.name,
    "takes": lambda m: "; ".join(param.partition(":")[0] for param in m.params),
    "returns": lambda m: m.doc,
}


def method_table() -> Table[MethodInfo]:
    """Return every built-in method, on-board first."""
    return Table(describe(), _COLUMNS, "no methods")


def check_params(assignment: Assignment) -> None:
    """Check the params of both methods, as the vehicle and the cloud will.

    Raises: AssignmentError, naming the param and what it may hold.
    """
    check_half("onboard", assignment.onboard, assignment.onboard_params)
    check_half("offboard", assignment.offboard, assignment.offboard_params)
