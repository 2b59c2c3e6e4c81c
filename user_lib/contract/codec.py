"""Messages to frames and back: one header frame, one msgpack frame, sizes capped before parsing.

A message on the wire is two ZeroMQ frames: ``OD`` with the protocol version and the direction, and
the msgpack body. Whatever does not fit raises a `ProtocolError` that says how; nothing is guessed.
Bump `PROTOCOL_VERSION` when a message changes in a way that an older peer cannot read.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from user_lib.contract.assignment import Json
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import (
    Deliver,
    Feedback,
    FromVehicle,
    Reply,
    Request,
    Result,
    ToVehicle,
)
from user_lib.contract.plainness import NotJson, check_json

__all__ = [
    "FROM_VEHICLE",
    "MAX_BODY_BYTES",
    "PROTOCOL_VERSION",
    "REPLY",
    "REQUEST",
    "TO_VEHICLE",
    "Codec",
    "direction",
]

PROTOCOL_VERSION = 3
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_CONTAINERS = 100_000
"""Lists and mappings in a result or a round's value; no method gives back more."""
_MAGIC = b"OD"

T = TypeVar("T")


class Codec(Generic[T]):
    """Encodes and decodes the messages of one direction.

    Laws: ``decode(encode(m)) == m``; ``decode`` raises ProtocolError on any other bytes.
    """

    def __init__(self, direction: bytes, union: object) -> None:
        self.header = _MAGIC + bytes([PROTOCOL_VERSION]) + direction
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(union)

    def encode(self, message: T) -> list[bytes]:
        """Return the frames of a message.

        Raises: ProtocolError, if it is larger than `MAX_BODY_BYTES` or holds what cannot travel: a
                number beyond 64 bits, half a character, too deep a nesting.
        """
        try:
            body = self._encoder.encode(message)
        except (ValueError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"the message cannot be sent: {error}") from None
        _check_size(len(body))
        return [self.header, body]

    def decode(self, frames: Sequence[bytes]) -> T:
        """Parse the frames of a message.

        Raises: ProtocolError, naming what is wrong with them.
        """
        if len(frames) != 2:
            raise ProtocolError(f"a message has 2 frames, got {len(frames)}")
        header, body = frames
        self._check_header(header)
        _check_size(len(body))
        try:
            message: T = self._decoder.decode(body)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"the body is not a message of this direction: {error}") from None
        for name, value in _values(message):
            try:
                check_json(value, name, finite=False, most=MAX_CONTAINERS)
            except NotJson as error:
                raise ProtocolError(f"{error.path}: {error}") from None
        return message

    def _check_header(self, header: bytes) -> None:
        if header == self.header:
            return
        if len(header) != len(self.header) or header[:2] != _MAGIC:
            raise ProtocolError(f"not a message of OODIDA: it begins with {header[:8]!r}")
        if header[2] != PROTOCOL_VERSION:
            raise ProtocolError(
                f"protocol version {header[2]} of the other end; here it is {PROTOCOL_VERSION}: "
                "upgrade the older of the two"
            )
        raise ProtocolError(f"a message of direction {header[3:]!r}, not {self.header[3:]!r}")


def direction(frames: Sequence[bytes]) -> bytes:
    """Return the direction byte of a message's header; empty when there is none."""
    return frames[0][3:4] if frames else b""


def _values(message: object) -> Iterable[tuple[str, Json]]:
    """Return what of a message is any value; an assignment's params have their own check."""
    match message:
        case Deliver(item=Result(value=value, partial=partial)):
            return (("value", value), ("partial", partial))
        case Feedback(value=value):
            return (("value", value),)
        case _:
            return ()


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise ProtocolError(f"a message of {size} bytes; at most {MAX_BODY_BYTES} are allowed")


FROM_VEHICLE: Codec[FromVehicle] = Codec(b"v", FromVehicle)
TO_VEHICLE: Codec[ToVehicle] = Codec(b"V", ToVehicle)
REQUEST: Codec[Request] = Codec(b"a", Request)
REPLY: Codec[Reply] = Codec(b"A", Reply)
