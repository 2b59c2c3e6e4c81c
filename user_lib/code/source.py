"""A custom module as an analyst has it at hand: a file, a text, or a function in a notebook."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from user_lib.contract.code import ENTRY_POINT, check
from user_lib.contract.errors import CodeError

__all__ = ["Code", "source_of"]

Code: TypeAlias = str | Path | Callable[..., Any]
"""A path to a module, the module's text (more than one line), or a function."""


def source_of(code: Code) -> str:
    """Return the source of a custom module, checked as the vehicle will check it.

    A function becomes a module that defines it, imports the modules that it uses by the names it
    uses them by, and calls it as ``custom``.

    Raises: CodeError, naming the file or line and what to do.
    """
    if isinstance(code, Path):
        source = _read(code)
    elif isinstance(code, str):
        if not code.strip():
            raise CodeError("the text of the module is empty; it must define custom")
        source = code if "\n" in code else _read(Path(code))
    else:
        source = _source_of_function(code)
    check(source)
    return source


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CodeError(
            f"{path}: cannot be read: {error.strerror}; give a file, a function, or the text of a "
            "module"
        ) from None
    except UnicodeDecodeError as error:
        raise CodeError(f"{path}: is not UTF-8 text: {error.reason} at {error.start}") from None


def _source_of_function(function: Callable[..., Any]) -> str:
    if not isinstance(function, types.FunctionType) or function.__name__ == "<lambda>":
        raise CodeError(f"{function!r:.60} is not a function written with def")
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise CodeError(
            f"the source of {function.__name__} is not to be found; put it in a file and give that"
        ) from None
    imports = _imports_of(function, text)
    return "\n".join([*imports, "", text.rstrip(), *_entry_point(function), ""])


def _imports_of(function: types.FunctionType, text: str) -> list[str]:
    """Return import lines for the globals that ``function`` uses; refuse what cannot be sent."""
    if function.__closure__:
        names = ", ".join(function.__code__.co_freevars)
        raise CodeError(
            f"{function.__name__} uses {names} of the function around it, which stays here; "
            "define that inside it"
        )
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    lines = []
    for name in sorted(used & function.__globals__.keys() - {function.__name__}):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            lines.append(f"import {value.__name__} as {name}")
        elif _comes_from_module(value, name):
            lines.append(f"from {value.__module__} import {value.__name__} as {name}")
        elif name not in _local_names(function):
            raise CodeError(
                f"{function.__name__} uses {name}, a {type(value).__name__} of its module, which "
                "stays here; define it inside the function, or give it in onboard_params"
            )
    return lines


def _comes_from_module(value: object, name: str) -> bool:
    """Whether ``value`` can be imported by name where the code will run."""
    module = getattr(value, "__module__", None)
    return (
        isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType))
        and isinstance(module, str)
        and module != "__main__"
        and hasattr(value, "__name__")
        and name.isidentifier()
    )


def _local_names(function: types.FunctionType) -> set[str]:
    code = function.__code__
    return set(code.co_varnames) | set(code.co_cellvars)


def _entry_point(function: types.FunctionType) -> list[str]:
    """Return the lines that let a function of any name be called as ``custom``."""
    if function.__name__ == ENTRY_POINT:
        return []
    names = ", ".join(list(inspect.signature(function).parameters)[:2])
    return ["", "", f"def {ENTRY_POINT}({names}):", f"    return {function.__name__}({names})"]
