"""What an expression may be made of, and its value: the tree is walked, and never compiled."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from user_lib.contract.errors import ExpressionError, nearest

__all__ = [
    "ARGUMENTS",
    "ARITHMETIC",
    "COMPARE",
    "CONSTANTS",
    "FUNCTIONS",
    "dotted",
    "evaluate",
]

ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "pow": np.float_power,
    "min": np.minimum,
    "max": np.maximum,
    "where": np.where,
}
ARGUMENTS = {"atan2": 2, "pow": 2, "min": 2, "max": 2, "where": 3}
"""How many a function takes, if it is not one."""
CONSTANTS: Mapping[str, Any] = {"pi": math.pi, "true": True, "false": False}
_VERSION = re.compile(r"^\d+(\.\d+)+([.a-z0-9+-]*)$")


def dotted(node: ast.expr) -> str | None:
    """Return the name that a node spells, with its dots; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - scalar or array
    """Return the value of a checked expression, for a value of each name in it.

    Raises: ExpressionError, if a name has no value; TypeError, ValueError, ZeroDivisionError or
            OverflowError, if the operands do not go together.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _lookup(dotted(node) or "", values)
        case ast.BoolOp(op=op, values=parts):
            return _boolean(op, [evaluate(p, values) for p in parts])
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(op, evaluate(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, evaluate(left, values), evaluate(right, values))
        case ast.Compare():
            return _compare(node, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*(evaluate(a, values) for a in args))
        case _:
            raise ExpressionError(f"{type(node).__name__} is not allowed in an expression")


def _lookup(name: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if name in values:
        return values[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    raise ExpressionError(f"{name!r} has no value here", near=nearest(name, values))


def _truth(value: Any) -> Any:  # noqa: ANN401
    """Return a value as true or false; NaN, the missing value, is false."""
    if isinstance(value, np.ndarray):
        return (value != 0) & (value == value)  # NaN differs from itself
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return bool(value)


def _boolean(op: ast.boolop, parts: list[Any]) -> Any:  # noqa: ANN401
    combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
    total = _truth(parts[0])
    for part in parts[1:]:
        total = combine(total, _truth(part))
    return total


def _unary(op: ast.unaryop, value: Any) -> Any:  # noqa: ANN401
    if isinstance(op, ast.Not):
        return np.logical_not(_truth(value))
    return -value if isinstance(op, ast.USub) else value


def _binary(op: ast.operator, left: Any, right: Any) -> Any:  # noqa: ANN401
    # float64 throughout: Python's integers would grow without bound under **
    return ARITHMETIC[type(op)](_number(left), _number(right))


def _number(value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(value, np.ndarray) else np.float64(value)


def _compare(node: ast.Compare, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    left = evaluate(node.left, values)
    total: Any = True
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = evaluate(comparator, values)
        total = np.logical_and(total, COMPARE[type(op)](*_comparable(left, right)))
        left = right
    return total


def _comparable(left: Any, right: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Let versions compare as versions: '1.10' is after '1.9'."""
    if (
        isinstance(left, str)
        and isinstance(right, str)
        and _VERSION.match(left)
        and _VERSION.match(right)
    ):
        return _version(left), _version(right)
    return left, right


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.findall(r"\d+", text.split("+")[0].split("-")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
