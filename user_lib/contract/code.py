"""Custom modules: what they must define, what they may import, and the name of a version.

The check is early advice, made at the analyst's side before anything is sent and again on the
vehicle; what code can actually do is decided by the sandbox it runs in.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache

from user_lib.contract.assignment import Json
from user_lib.contract.digest import sha256
from user_lib.contract.errors import CodeError, nearest

__all__ = ["ALLOWED_IMPORTS", "ENTRY_POINT", "MAX_SOURCE_BYTES", "Result", "check", "version_of"]

ENTRY_POINT = "custom"
MAX_SOURCE_BYTES = 256 * 1024

_ALLOWED = """
__future__ abc array base64 bisect calendar cmath collections contextlib copy dataclasses datetime
decimal enum fractions functools hashlib heapq itertools json math numbers numpy operator random re
statistics string struct textwrap threading time types typing user_lib warnings zlib
"""
ALLOWED_IMPORTS = frozenset(_ALLOWED.split())
"""Top-level packages that a custom module may import, unless a vehicle's policy says otherwise."""


@dataclass(frozen=True)
class Result:
    """What ``custom`` returns when it wants its ``state`` back at the next iteration."""

    value: Json
    state: Json = None


def version_of(source: str) -> str:
    """Return the name of a code version: sha256 of its source in UTF-8, in hex."""
    return sha256(source.encode()).hex()


def check(source: str, *, allowed: frozenset[str] = ALLOWED_IMPORTS) -> None:
    """Refuse a module that cannot work: size, syntax, no ``custom``, an import not ``allowed``.

    Raises: CodeError, with the line and what to do.
    """
    size = len(source.encode(errors="replace"))
    if size > MAX_SOURCE_BYTES:
        raise CodeError(
            f"the module has {size} bytes; at most {MAX_SOURCE_BYTES} are allowed: give the data "
            "in it as onboard_params or offboard_params, which may be larger"
        )
    _check_content(source, allowed)


@lru_cache(maxsize=16)
def _check_content(source: str, allowed: frozenset[str]) -> None:
    """Refuse what `check` does for what stands in it; a source that passed is not parsed again."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line, why = None, str(error) or "it is nested too deeply"
        if isinstance(error, SyntaxError):
            line, why = error.lineno, f"{error.msg}: {(error.text or '').strip()!r:.80}"
        raise CodeError(f"the module does not parse: {why}", line=line) from None
    _check_entry_point(tree)
    for node in ast.walk(tree):
        for name in _imported(node):
            if name.split(".")[0] not in allowed:
                _refuse_import(name, getattr(node, "lineno", None), allowed)


def _check_entry_point(tree: ast.Module) -> None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == ENTRY_POINT:
            _check_arguments(node)
            return
    raise CodeError(
        "the module defines no function custom; write def custom(data, params): or def custom(xs):"
    )


def _check_arguments(node: ast.FunctionDef) -> None:
    positional = len(node.args.posonlyargs) + len(node.args.args)
    required = positional - len(node.args.defaults)
    if node.args.vararg is None and (positional == 0 or required > 2):
        raise CodeError(
            f"custom takes {positional} argument(s); it is called as custom(data, params) "
            "or custom(xs)",
            line=node.lineno,
        )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return []


def _refuse_import(name: str, line: int | None, allowed: frozenset[str]) -> None:
    near = nearest(name.split(".")[0], allowed)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise CodeError(
        f"import of {name!r} is not allowed; {hint}allowed are {', '.join(sorted(allowed))}",
        line=line,
    )
