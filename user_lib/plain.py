"""Structs as plain dictionaries with every field, for programs that read what we write.

On the wire a field at its default is left out; a file or a pipe should rather say
``"lost_frames": 0`` than leave the reader to wonder.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from user_lib.contract.assignment import Assignment

__all__ = ["plain"]


def plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return ``value`` with structs as dictionaries, their tag first; assignments as submitted."""
    if isinstance(value, Assignment):
        return value.to_dict()
    if isinstance(value, msgspec.Struct):
        return {**_tag(value), **{f: plain(getattr(value, f)) for f in value.__struct_fields__}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(inner) for inner in value]
    return value


def _tag(value: msgspec.Struct) -> dict[str, Any]:
    config = value.__struct_config__
    return {config.tag_field: config.tag} if config.tag_field else {}
