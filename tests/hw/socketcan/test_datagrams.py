"""Many datagrams in one call, from real sockets."""

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from hw.socketcan.can_datagrams import CONTROL_BYTES, FRAME_BYTES
from hw.socketcan.datagrams import Datagrams

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    with receiver, sender:
        yield receiver, sender


def datagrams(slots: int) -> Datagrams:
    return Datagrams(slots, payload_bytes=FRAME_BYTES, control_bytes=CONTROL_BYTES)


def test_one_call_takes_what_waits_and_no_more_than_fits(pair: Pair) -> None:
    receiver, sender = pair
    room = datagrams(4)
    for i in range(6):
        sender.send(struct.pack("=IB3x8s", i, 8, bytes([i] * 8)))

    assert room.receive(receiver.fileno(), 0, 4) == 4
    first = room.received(4)
    assert first.length.tolist() == [16] * 4
    assert first.payload[:, 8].tolist() == [0, 1, 2, 3]
    assert room.receive(receiver.fileno(), 0, 1) == 1
    assert room.receive(receiver.fileno(), 1, 4) == 1
    assert room.received(2).payload[:, 8].tolist() == [4, 5]
    assert room.receive(receiver.fileno(), 0, 4) == 0
    assert room.receive(receiver.fileno(), 4, 4) == 0


def test_a_datagram_too_long_for_its_slot_says_so(pair: Pair) -> None:
    receiver, sender = pair
    sender.send(bytes(100))
    room = datagrams(4)

    assert room.receive(receiver.fileno(), 0, 4) == 1
    assert room.received(1).flags.tolist() == [socket.MSG_TRUNC]


def test_control_records_have_their_full_room_in_every_call(pair: Pair) -> None:
    receiver, sender = pair
    receiver.setsockopt(socket.SOL_SOCKET, 35, 1)
    room = datagrams(2)
    for _ in range(3):
        sender.send(bytes(16))
        assert room.receive(receiver.fileno(), 1, 2) == 1
        assert room.received(2).control_length.tolist()[1] == 32
        room.free(2)


def test_an_error_of_the_socket_is_raised() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        datagrams(2).receive(1_000_000, 0, 2)

    assert caught.value.errno == errno.EBADF
