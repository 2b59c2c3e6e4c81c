"""Identifiers: what they look like and how new ones are made."""

import os
import re
from typing import Annotated

import msgspec

__all__ = ["AssignmentId", "CodeHash", "UserId", "VehicleId", "is_name", "new_id"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?![\s\S])"
"""Not ``$``, which also matches in front of a line end at the end."""
_NAME = re.compile(NAME_PATTERN)

VehicleId = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
UserId = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
AssignmentId = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
CodeHash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""sha256 of a custom module's source (UTF-8), in hex: the name of a code version."""


def is_name(text: str) -> bool:
    """Whether ``text`` may name a vehicle, a user or an assignment."""
    return _NAME.fullmatch(text) is not None


def new_id(prefix: str) -> str:
    """Return ``prefix-xxxxxxxxxx``, unguessable and short enough to type."""
    return f"{prefix}-{os.urandom(5).hex()}"
