"""The small language of triggers, `where`, `until` and derived signals.

It is a subset of Python's expressions, parsed with `ast` and checked node by node against an
allow-list, then evaluated by walking the tree: nothing is ever handed to ``eval``. Names may be
dotted (``Vehicle.Speed``), may have an ``@`` or a channel (``@bus.can0.load``,
``can1:Motion.Speed``), and are what the caller gives values for. Values are numbers, strings,
booleans or numpy arrays (then everything is element-wise).

Three-valued by nature: a comparison with NaN is false, so a trigger never fires on missing data.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from user_lib.contract.errors import ExpressionError, nearest
from user_lib.contract.quoting import stand_ins

__all__ = ["Expression", "parse_arithmetic", "parse_condition"]

MAX_LENGTH = 1000
MAX_NODES = 200

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
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
_ARGUMENTS = {"atan2": 2, "pow": 2, "min": 2, "max": 2, "where": 3}
"""How many a function takes, if it is not one."""
_CONSTANTS: Mapping[str, Any] = {"pi": math.pi, "true": True, "false": False}
_VERSION = re.compile(r"^\d+(\.\d+)+([.a-z0-9+-]*)$")


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: its text, the names it reads, and how to evaluate it."""

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    @property
    def texts(self) -> tuple[str, ...]:
        """The strings that it compares with."""
        constants = (n.value for n in ast.walk(self._tree) if isinstance(n, ast.Constant))
        return tuple(value for value in constants if isinstance(value, str))

    def evaluate(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - scalar or array
        """Return the expression's value for ``values``, a value for each of `names`.

        Raises: ExpressionError, if a name has no value or the operands do not go together.
        """
        try:
            with np.errstate(all="ignore"):
                return _evaluate(self._tree, values)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise ExpressionError(f"{self.text!r} cannot be computed: {error}") from error

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a condition is true for scalar ``values``."""
        return bool(self.evaluate(values))


def parse_condition(text: str, *, path: str = "") -> Expression:
    """Parse a condition such as ``Vehicle.Speed > 100 and not Brake.Active``.

    Raises: ExpressionError, naming the part that is not allowed, or that there is no comparison.
    """
    expression = _parse(text, path)
    if not _is_condition(expression._tree):
        raise ExpressionError(
            f"{text!r} is not a condition; compare something, as in 'Vehicle.Speed > 100'",
            path=path,
        )
    return expression


def parse_arithmetic(text: str, *, path: str = "") -> Expression:
    """Parse arithmetic such as ``floor(abs(x / 5))``; conditions count as 0 and 1.

    Raises: ExpressionError, naming the part that is not allowed.
    """
    return _parse(text, path)


def _parse(text: str, path: str) -> Expression:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"an expression of {len(text)} characters; the limit is {MAX_LENGTH}", path=path
        )
    plain, names_of = stand_ins(text.strip())
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(f"{text!r} does not parse: {reason}", path=path) from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ExpressionError(f"{text[:40]!r}… has more than {MAX_NODES} parts", path=path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names_of.get(node.id, node.id)
    names: dict[str, None] = {}
    _check(tree, names, path)
    return Expression(text, tuple(names), tree)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def _check(node: ast.expr, names: dict[str, None], path: str) -> None:
    """Refuse every node that is not on the allow-list, and collect the names."""
    for child in _children(node, path):
        _check(child, names, path)
    name = _dotted(node)
    if name is not None and name not in _CONSTANTS:
        names[name] = None


def _children(node: ast.expr, path: str) -> list[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            return [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return [left, right]
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(
            type(o) in _COMPARE for o in ops
        ):
            return [left, *rest]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            _check_call(name, len(args), path)
            return args
        case ast.Constant(value=bool() | int() | float() | str()):
            return []
        case ast.Name() | ast.Attribute() if _dotted(node) is not None:
            return []
        case _:
            pass
    part = ast.unparse(node)
    raise ExpressionError(
        f"{part!r} is not allowed in an expression; allowed are names, numbers, strings, "
        "+ - * / // % **, comparisons, and, or, not, and " + ", ".join(sorted(_FUNCTIONS)),
        path=path,
    )


def _check_call(name: str, arguments: int, path: str) -> None:
    if name not in _FUNCTIONS:
        near = nearest(name, _FUNCTIONS)
        raise ExpressionError(
            f"no function {name!r}; there are {', '.join(sorted(_FUNCTIONS))}", path=path, near=near
        )
    wanted = _ARGUMENTS.get(name, 1)
    if arguments != wanted:
        raise ExpressionError(f"{name} takes {wanted} argument(s), got {arguments}", path=path)


def _is_condition(node: ast.expr) -> bool:
    match node:
        case ast.Compare():
            return True
        case ast.BoolOp(values=values):
            return all(_is_condition(v) for v in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_condition(operand)
        case ast.Name() | ast.Attribute():
            return True  # a boolean signal
        case ast.Constant(value=value):
            return isinstance(value, bool)
        case _:
            return False


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _lookup(_dotted(node) or "", values)
        case ast.BoolOp(op=op, values=parts):
            return _boolean(op, [_evaluate(p, values) for p in parts])
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(op, _evaluate(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, _evaluate(left, values), _evaluate(right, values))
        case ast.Compare():
            return _compare(node, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_evaluate(a, values) for a in args))
        case _:
            raise ExpressionError(f"{type(node).__name__} is not allowed in an expression")


def _lookup(name: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if name in values:
        return values[name]
    if name in _CONSTANTS:
        return _CONSTANTS[name]
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
    return _ARITHMETIC[type(op)](_number(left), _number(right))


def _number(value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(value, np.ndarray) else np.float64(value)


def _compare(node: ast.Compare, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    left = _evaluate(node.left, values)
    total: Any = True
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(comparator, values)
        total = np.logical_and(total, _COMPARE[type(op)](*_comparable(left, right)))
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
