"""YAML files into frozen structs: unknown keys are refused with the nearest known one named."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import msgspec
import yaml

from user_lib.contract.errors import ConfigError, nearest

__all__ = ["convert_config", "load_config", "read_yaml"]

T = TypeVar("T", bound=msgspec.Struct)
if TYPE_CHECKING or not yaml.__with_libyaml__:  # noqa: SIM108 - a base class for mypy too
    _Base = yaml.SafeLoader
else:
    _Base = yaml.CSafeLoader
"""The same language; a directory of 10,000 cards is read eight times as fast with libyaml."""
MAX_BYTES = 4 * 1024 * 1024
MAX_VALUES = 500_000
_KEY_NOT_TEXT = re.compile(r"Expected `str`, got `int` - at `key` in `\$(?P<path>[^`]*)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<path>[^`]*)`)?")


class _KeyTwice(yaml.YAMLError):
    """A mapping has a key twice: YAML would keep the last one and drop the others in silence."""


class _Loader(_Base):
    """The safe loader, for files in which nothing that was written is dropped."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises: _KeyTwice, with both lines."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise _KeyTwice(
                    f"line {line}: the key {key.value} is there already, in line "
                    f"{lines[key.value]}; put both together"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises: ConfigError, naming the file and what is wrong with it.
    """
    try:
        found = yaml.load(_text(path), _Loader)  # noqa: S506 - it is a safe loader
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except _KeyTwice as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of 32 March, of 5000 digits
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    _check_values(found, path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds a {type(found).__name__}, not a mapping of keys")
    return found


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: has more than {MAX_BYTES} bytes; is it the right file?")
    return data.decode("utf-8")


def _check_values(found: object, path: Path) -> None:
    """Refuse a file whose aliases stand for more values than anybody writes: a YAML bomb."""
    todo, values = [found], 0
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list | tuple | set):
            todo += value
        values += 1
        if values + len(todo) > MAX_VALUES:
            raise ConfigError(f"{path}: its aliases make more than {MAX_VALUES} values of it")


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
    if not_text := _KEY_NOT_TEXT.search(message):
        path = not_text["path"].strip(".")
        return f'{path}: a key that is a number needs quotes, such as "0": instead of 0:'
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is None:
        text, _, path = message.partition(" - at `$")
        path = path.strip("`.")
        text = text.replace("`", "") + _instead(text, path, into)
        return f"{path}: {text}" if path else text
    key = unknown["key"]
    near = nearest(key, _all_fields(into))
    hint = f"did you mean {' or '.join(near)}?" if near else "see the commented example"
    path = (unknown["path"] or "").strip(".")
    return f"{path + '.' if path else ''}{key}: no such key; {hint}"


def _instead(message: str, path: str, into: type[msgspec.Struct]) -> str:
    """Say which words may stand at a key that may hold only certain ones."""
    if not message.startswith("Invalid"):
        return ""
    key = path.rpartition(".")[2]
    words: set[str] = set()
    for struct in _all_structs(into):
        config = struct.__struct_config__
        if config.tag is not None and config.tag_field == key:
            words.add(str(config.tag))
        for field in msgspec.structs.fields(struct):
            if field.encode_name == key and get_origin(field.type) is Literal:
                words.update(map(str, get_args(field.type)))
    return f"; there are {', '.join(sorted(words))}" if words else ""


def _all_fields(struct: type[msgspec.Struct]) -> set[str]:
    """Collect the field names of a struct and of the structs within it."""
    return {f.encode_name for kind in _all_structs(struct) for f in msgspec.structs.fields(kind)}


def _all_structs(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    seen: list[object] = []
    todo: list[object] = [struct]
    while todo:
        kind = todo.pop()
        if kind in seen:
            continue
        seen.append(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found.append(kind)
            todo.extend(f.type for f in msgspec.structs.fields(kind))
        else:
            todo.extend(getattr(kind, "__args__", ()))
    return found
