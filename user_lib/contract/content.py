"""Content: bytes too large for a message, named by their sha256 and pulled in chunks.

What a message would have carried in full, it then only names; the receiver asks for the chunks, a
few at a time, and believes the bytes when their hash is the name. A message that is signed covers
the name, and with it every byte.
"""

from typing import Annotated, Any, TypeAlias

import msgspec

from user_lib.contract.digest import sha256
from user_lib.contract.errors import ProtocolError
from user_lib.contract.plainness import NotJson, check_json

__all__ = [
    "CHUNK_BYTES",
    "INLINE_BYTES",
    "Content",
    "Digest",
    "Offset",
    "ResultBody",
    "Value",
    "chunk_size",
    "content_of",
    "megabytes",
    "pack",
    "unpack",
    "unpack_body",
]

CHUNK_BYTES = 256 * 1024
INLINE_BYTES = 128 * 1024
"""Up to this size a value stays in its message."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**40, multiple_of=CHUNK_BYTES)]
Value: TypeAlias = Any
"""Any JSON value."""


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The name of some bytes, and how many there are."""

    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class ResultBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a result is content: what the iteration returned, and what ``merge`` pools."""

    value: Value = None
    partial: Value = None


def content_of(data: bytes) -> Content:
    """Return the name of some bytes."""
    return Content(sha256(data).hex(), len(data))


def chunk_size(content: Content, offset: int) -> int:
    """Return how many bytes the chunk at an offset has; 0 beyond the end."""
    return max(0, min(CHUNK_BYTES, content.size - offset))


def pack(value: Value) -> bytes:
    """Return a value as bytes, ready to be content."""
    return msgspec.msgpack.encode(value)


def unpack(data: bytes) -> Value:
    """Return the value that bytes hold. Raises: ProtocolError, when they hold none."""
    value = _decoded(data, Any)
    _check_json(value, "value", len(data))
    return value


def unpack_body(data: bytes) -> ResultBody:
    """Return the body of a result. Raises: ProtocolError, when it is none."""
    body: ResultBody = _decoded(data, ResultBody)
    _check_json(body.value, "value", len(data))
    _check_json(body.partial, "partial", len(data))
    return body


def megabytes(size: int) -> str:
    """Return a size for a person.

    >>> megabytes(3_200_000)
    '3.2 MB'
    """
    return f"{size / 1e6:.1f} MB"


def _decoded(data: bytes, kind: Any) -> Any:  # noqa: ANN401 - of the kind asked for
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"the content is not what it should be: {error}") from None


def _check_json(value: Value, path: str, most: int) -> None:
    try:
        check_json(value, path, finite=False, most=most)
    except NotJson as error:
        raise ProtocolError(f"the content holds what is no JSON: {error.path}: {error}") from None
