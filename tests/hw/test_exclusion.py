"""Excluded identifiers: how they are written, and that the kernel drops just them."""

import ctypes
import socket
import struct

import pytest

from hw.exclusion import excluded_keys, kernel_filter
from user_lib.contract.errors import SourceError

EFF, RTR, ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000


def test_identifiers_of_11_and_29_bits_are_told_apart() -> None:
    assert excluded_keys([0x118, 0x18FEF100, "7DF", "00000118"]) == {
        0x118,
        0x18FEF100 | EFF,
        0x7DF,
        0x118 | EFF,
    }


@pytest.mark.parametrize("asked", [-1, 0x2000_0000, "xyz", "", "FFFFFFFF", "800"])
def test_what_is_no_identifier_is_refused(asked: int | str) -> None:
    with pytest.raises(SourceError, match="is no identifier"):
        excluded_keys([asked])


def test_too_many_are_refused() -> None:
    with pytest.raises(SourceError, match="at most 2000"):
        excluded_keys(range(0x800, 0x800 + 2001))


def test_the_kernel_drops_the_excluded_ones_only() -> None:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver, sender:
        program = ctypes.create_string_buffer(kernel_filter(excluded_keys([0x118, 0x18FEF100])))
        count = (len(program) - 1) // 8
        receiver.setsockopt(
            socket.SOL_SOCKET, 26, struct.pack("@HP", count, ctypes.addressof(program))
        )
        ids = [0x117, 0x118, 0x118 | RTR, 0x118 | EFF, 0x18FEF100 | EFF, ERR | 0x118, 0x119]
        for can_id in ids:
            sender.send(struct.pack("=IB3x8x", can_id, 8))
        receiver.setblocking(False)
        passed = []
        for _ in range(4):
            passed.append(struct.unpack_from("=I", receiver.recv(72))[0])
        with pytest.raises(BlockingIOError):
            receiver.recv(72)

    assert passed == [0x117, 0x118 | EFF, ERR | 0x118, 0x119]
