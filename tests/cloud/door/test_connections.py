"""What came by real connections is held against what was handed on of it."""

import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from cloud.door.connections import GROWN_BYTES, Connections
from cloud.door.unread import PATIENCE_LOOKS
from user_lib.contract.clock import SECOND
from user_lib.wire.tcp import received_bytes
from user_lib.wire.unfinished import MOST_UNFINISHED_BYTES

MB = 1_000_000


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections(100 * MB, keyed=False)
    made.look(1)
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        accepted, _ = server.accept()
    return client, stack.enter_context(accepted)


def send(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    """Send so many bytes and take them in, as ZeroMQ does."""
    client, accepted = ends
    while size:
        part = min(size, 64 * 1024)
        client.sendall(bytes(part))
        size -= part
        while part:
            part -= len(accepted.recv(part))


def grow(stack: ExitStack) -> None:
    """Let this process have more memory in use than it had."""
    block = stack.enter_context(mmap.mmap(-1, GROWN_BYTES + 1024 * 1024))
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1


def is_open(ends: tuple[socket.socket, socket.socket]) -> bool:
    client, _ = ends
    client.settimeout(5)
    try:
        client.sendall(b"x")
        client.setblocking(False)
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_all_together_are_bounded_and_who_owes_most_goes_first(
    connections: Connections, stack: ExitStack
) -> None:
    fair, *greedy = [connected(stack) for _ in range(6)]
    for i, ends in enumerate((fair, *greedy)):
        send(ends, 1009)
        key = "mallory" if ends in greedy else "ada"
        connections.took(ends[1].fileno(), bytes([i]), key, connections.sent_bytes(1000))
        send(ends, 30 * MB if ends in greedy else 5 * MB)

    assert connections.look(SECOND) == []
    grow(stack)
    cut = connections.look(2 * SECOND)

    assert {(each.why, each.key, round(each.owed_bytes / MB)) for each in cut} == {
        ("unread", "mallory", 30)
    }
    assert len(cut) == 2
    assert is_open(fair)
    assert sum(map(is_open, greedy)) == 3


def test_a_message_that_goes_on_and_on_below_all_bounds_is_cut_in_the_end(
    connections: Connections, stack: ExitStack
) -> None:
    stuck, busy, slow = (connected(stack) for _ in range(3))
    send(stuck, MOST_UNFINISHED_BYTES + MB)
    send(busy, MOST_UNFINISHED_BYTES + 2 * MB)
    send(slow, MOST_UNFINISHED_BYTES - MB)
    grow(stack)

    cut = []
    for second in range(1, PATIENCE_LOOKS + 1):
        cut += connections.look(second * SECOND)
        connections.took(busy[1].fileno(), b"busy", "", 2)

    assert [(each.fd, each.why, each.address) for each in cut] == [
        (stuck[1].fileno(), "endless", "127.0.0.1")
    ]
    assert not is_open(stuck)
    assert is_open(busy)
    assert is_open(slow)


def test_what_was_taken_of_one_connection_is_not_to_spare_for_the_next_of_its_descriptor(
    connections: Connections, stack: ExitStack
) -> None:
    client, accepted = connected(stack)
    fd = accepted.fileno()
    connections.took(fd, b"same", "", 500 * MB)
    successor = connected(stack)
    accepted.close()
    client.close()
    os.dup2(successor[1].fileno(), fd)
    try:
        send(successor, 70 * MB)
        grow(stack)
        cut = connections.look(SECOND)
    finally:
        os.close(fd)

    assert fd in {each.fd for each in cut}


@pytest.mark.parametrize("keyed", [False, True])
def test_a_frame_is_counted_as_long_as_it_was_on_its_way(keyed: bool, stack: ExitStack) -> None:
    context = stack.enter_context(zmq.Context())
    router = stack.enter_context(context.socket(zmq.ROUTER))
    dealer = stack.enter_context(context.socket(zmq.DEALER))
    dealer.setsockopt(zmq.LINGER, 0)
    if keyed:
        public, secret = zmq.curve_keypair()
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, secret)
        dealer.setsockopt(zmq.CURVE_SERVERKEY, public)
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, public)
        dealer.setsockopt(zmq.CURVE_SECRETKEY, secret)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.connect(f"tcp://127.0.0.1:{port}")
    connections = Connections(100 * MB, keyed=keyed)
    stack.callback(connections.close)

    before = 0
    for sizes in ((4, 5), (0, 222), (4, 223), (4, 255), (4, 256), (4, 3_000_000)):
        dealer.send_multipart([bytes(size) for size in sizes])
        assert router.poll(10_000)
        first = router.recv(copy=False)
        while router.getsockopt(zmq.RCVMORE):
            router.recv()
        after = received_bytes(int(first[zmq.SRCFD]))
        assert after is not None
        if before:  # the handshake is over
            assert after - before == sum(map(connections.sent_bytes, sizes)), sizes
        before = after
