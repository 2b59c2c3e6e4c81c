"""What came by a connection and made no whole message is known, whatever the other end sends."""

import socket
import threading

from user_lib.wire.unfinished import FRAME_OVERHEAD_BYTES, MOST_UNFINISHED_BYTES, Unfinished


def test_without_a_connection_nothing_is_unfinished() -> None:
    unfinished = Unfinished()
    assert not unfinished.is_endless()
    unfinished.opened(0)  # whatever that is, it is no connection of ours
    assert not unfinished.is_endless()


def test_more_than_a_message_may_have_is_endless() -> None:
    with connection() as (here, there):
        unfinished = Unfinished()
        unfinished.opened(here.fileno())
        passed(there, here, MOST_UNFINISHED_BYTES)
        assert not unfinished.is_endless()

        passed(there, here, 1)
        assert unfinished.is_endless()

        unfinished.closed()
        assert not unfinished.is_endless()


def test_messages_that_were_taken_are_never_too_much_and_neither_is_what_is_around_them() -> None:
    with connection() as (here, there):
        unfinished = Unfinished()
        unfinished.opened(here.fileno())
        size = MOST_UNFINISHED_BYTES // 4
        for more in (-FRAME_OVERHEAD_BYTES, 0, MOST_UNFINISHED_BYTES // 4) * 5:
            passed(there, here, size + more)
            unfinished.took([bytes(size - FRAME_OVERHEAD_BYTES)])
            assert not unfinished.is_endless()

        passed(there, here, MOST_UNFINISHED_BYTES + 1)
        assert unfinished.is_endless()


class connection:  # noqa: N801 - reads as a verb
    """Two ends of a TCP connection."""

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.there = socket.create_connection(server.getsockname())
            self.here, _ = server.accept()
        return self.here, self.there

    def __exit__(self, *exc: object) -> None:
        self.here.close()
        self.there.close()


def passed(there: socket.socket, here: socket.socket, size: int) -> None:
    """Let so many bytes go through, as ZeroMQ takes them in."""
    sending = threading.Thread(target=there.sendall, args=(bytes(size),))
    sending.start()
    while size:
        size -= len(here.recv(min(size, 1 << 20)))
    sending.join()
