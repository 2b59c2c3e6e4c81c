"""Signed orders as they are kept: to the byte, since the vehicles verify them again."""

import msgspec

from user_lib.contract.signed import Signed

__all__ = ["pack_signed", "unpack_signed"]


def pack_signed(signed: Signed | None) -> bytes | None:
    """Return a column's value."""
    return None if signed is None else msgspec.msgpack.encode(signed)


def unpack_signed(column: bytes | None) -> Signed | None:
    """Return what `pack_signed` made a column of."""
    return None if column is None else msgspec.msgpack.decode(column, type=Signed)
