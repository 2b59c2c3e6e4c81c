"""The built-in methods, as an analyst looks them up and as an assignment is checked with them."""

import textwrap
from collections.abc import Mapping

from agent.sandbox.methods.registry import Description, describe
from agent.sandbox.methods.registry import check_params as check_half
from user_lib.contract.assignment import Assignment
from user_lib.tables import Column, Table

__all__ = ["MethodInfo", "check_params", "method_table", "method_text"]

MethodInfo = Description
WIDTH = 100

_COLUMNS: Mapping[str, Column[Description]] = {
    "half": lambda m: m.half,
    "method": lambda m: m.name,
    "takes": lambda m: ", ".join(param.partition(" ")[0] for param in m.params) or None,
    "returns": lambda m: m.doc,
}


def method_table() -> Table[MethodInfo]:
    """Return every built-in method, on-board first."""
    return Table(describe(), _COLUMNS, "no methods")


def method_text(method: MethodInfo) -> str:
    """Return all there is to say of a method, for a person."""
    lines = [f"{method.half} {method.name}", *textwrap.wrap(method.doc, WIDTH)]
    if method.shares_raw:
        lines.append("Its value can carry single samples, which a vehicle's owner may forbid.")
    lines += ["", f"{method.half}_params:" if method.params else "takes no params"]
    for param in method.params:
        lines += textwrap.wrap(param, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def check_params(assignment: Assignment) -> None:
    """Check the params of both methods, as the vehicle and the cloud will.

    Raises: AssignmentError, naming the param and what it may hold.
    """
    if assignment.onboard_content is None:
        check_half("onboard", assignment.onboard, assignment.onboard_params)
    if assignment.offboard_content is None:
        check_half("offboard", assignment.offboard, assignment.offboard_params)
