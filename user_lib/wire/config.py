"""YAML files into frozen structs: unknown keys are refused with the nearest known one named."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from user_lib.contract.errors import ConfigError, nearest

__all__ = ["convert_config", "load_config", "read_yaml"]

T = TypeVar("T", bound=msgspec.Struct)
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<path>[^`]*)`)?")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises: ConfigError, naming the file and what is wrong with it.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds a {type(found).__name__}, not a mapping of keys")
    return found


def load_config(path: Path, into: type[T]) -> T:
    """Read a YAML file into a frozen struct.

    Raises: ConfigError, naming the file, the key, what it holds and what is allowed.
    """
    return convert_config(read_yaml(path), into, where=str(path))


def convert_config(plain: Mapping[str, Any], into: type[T], *, where: str) -> T:
    """Turn a plain mapping into a frozen struct; ``where`` names its origin in errors.

    Raises: ConfigError, as `load_config`.
    """
    try:
        return msgspec.convert(dict(plain), into, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(str(error), into)}") from None


def _decode_path(kind: type, value: object) -> Path:
    """Read the one type that configurations have beyond msgspec's own; it adds the path."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _explain(message: str, into: type[msgspec.Struct]) -> str:
    """Say msgspec's complaint in the words of the file, with the nearest key for a wrong one."""
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is None:
        text, _, path = message.partition(" - at `$")
        path = path.strip("`.")
        return f"{path}: {text.replace('`', '')}" if path else text.replace("`", "")
    key = unknown["key"]
    near = nearest(key, _all_fields(into))
    hint = f"did you mean {' or '.join(near)}?" if near else "see the commented example"
    path = (unknown["path"] or "").strip(".")
    return f"{path + '.' if path else ''}{key}: no such key; {hint}"


def _all_fields(struct: type[msgspec.Struct]) -> set[str]:
    """Collect the field names of a struct and of the structs within it."""
    names: set[str] = set()
    seen: set[object] = set()
    todo: list[object] = [struct]
    while todo:
        kind = todo.pop()
        if kind in seen:
            continue
        seen.add(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            fields = msgspec.structs.fields(kind)
            names.update(f.encode_name for f in fields)
            todo.extend(f.type for f in fields)
        else:
            todo.extend(getattr(kind, "__args__", ()))
    return names
