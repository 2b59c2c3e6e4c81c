"""What the kernel tells of a connection, by its descriptor alone, and ending it."""

import os
import socket
from collections.abc import Iterator

import pytest

from user_lib.wire.tcp import LOCAL, hang_up, peer_address, received_bytes


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    server = socket.create_server(("127.0.0.1", 0))
    source = ("127.0.0.3", 0)
    with server, socket.create_connection(server.getsockname(), source_address=source) as one:
        other, _ = server.accept()
        with other:
            yield one, other


def test_the_bytes_that_came_are_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.sendall(b"x" * 1000)
    other.recv(1000, socket.MSG_WAITALL)

    assert received_bytes(other.fileno()) == 1000
    other.sendall(b"still open")
    assert one.recv(10) == b"still open"


def test_where_a_connection_comes_from(pair: tuple[socket.socket, socket.socket]) -> None:
    assert peer_address(pair[1].fileno()) == "127.0.0.3"
    here, there = socket.socketpair()
    with here, there:
        assert peer_address(here.fileno()) == LOCAL


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_of_ipv6_it_is_the_network() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server, socket.create_connection(server.getsockname()[:2]):
        other, _ = server.accept()
        with other:
            assert peer_address(other.fileno()) == "::/64"


def test_a_connection_that_is_hung_up_on_ends_at_both_ends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    one, other = pair

    assert hang_up(other.fileno())

    assert one.recv(1) == b""
    assert other.recv(1) == b""
    assert os.fstat(other.fileno())  # the descriptor is its owner's to close


def test_what_is_no_connection_is_left_alone() -> None:
    reading, writing = os.pipe()
    try:
        assert received_bytes(reading) is None
        assert peer_address(reading) is None
        assert not hang_up(reading)
        os.write(writing, b"x")
        assert os.read(reading, 1) == b"x"
    finally:
        os.close(reading)
        os.close(writing)
    assert received_bytes(reading) is None
    assert not hang_up(reading)
