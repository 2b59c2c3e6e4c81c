"""The small language of triggers, `where`, `until` and derived signals.

It is a subset of Python's expressions, parsed with `ast` and checked node by node against an
allow-list, then evaluated by walking the tree (`contract.evaluation`): nothing is ever handed to
``eval``. Names may be
dotted (``Vehicle.Speed``), may have an ``@`` or a channel (``@bus.can0.load``,
``can1:Motion.Speed``), and are what the caller gives values for. Values are numbers, strings,
booleans or numpy arrays (then everything is element-wise).

Three-valued by nature: a comparison with NaN is false, so a trigger never fires on missing data.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from user_lib.contract.errors import ExpressionError, nearest
from user_lib.contract.evaluation import (
    ARGUMENTS,
    ARITHMETIC,
    COMPARE,
    CONSTANTS,
    FUNCTIONS,
    dotted,
    evaluate,
)
from user_lib.contract.quoting import stand_ins

__all__ = ["Expression", "parse_arithmetic", "parse_condition"]

MAX_LENGTH = 1000
MAX_NODES = 200


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
                return evaluate(self._tree, values)
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


def _check(node: ast.expr, names: dict[str, None], path: str) -> None:
    """Refuse every node that is not on the allow-list, and collect the names."""
    for child in _children(node, path):
        _check(child, names, path)
    name = dotted(node)
    if name is not None and name not in CONSTANTS:
        names[name] = None


def _children(node: ast.expr, path: str) -> list[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            return [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            return [left, right]
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(
            type(o) in COMPARE for o in ops
        ):
            return [left, *rest]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            _check_call(name, len(args), path)
            return args
        case ast.Constant(value=bool() | int() | float() | str()):
            return []
        case ast.Name() | ast.Attribute() if dotted(node) is not None:
            return []
        case _:
            pass
    part = ast.unparse(node)
    raise ExpressionError(
        f"{part!r} is not allowed in an expression; allowed are names, numbers, strings, "
        "+ - * / // % **, comparisons, and, or, not, and " + ", ".join(sorted(FUNCTIONS)),
        path=path,
    )


def _check_call(name: str, arguments: int, path: str) -> None:
    if name not in FUNCTIONS:
        near = nearest(name, FUNCTIONS)
        raise ExpressionError(
            f"no function {name!r}; there are {', '.join(sorted(FUNCTIONS))}", path=path, near=near
        )
    wanted = ARGUMENTS.get(name, 1)
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
