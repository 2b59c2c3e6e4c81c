"""The client's socket: good addresses pass, and sending without a peer fails at once."""

import pytest
import zmq

from user_lib.contract.errors import ConfigError
from user_lib.wire.socket import check_endpoint, dealer, is_loopback, send_frames


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5570", "tcp://[::1]:5570", "ipc:///run/x"])
def test_an_address_passes(endpoint: str) -> None:
    check_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", ["", "5570", "localhost:5570", "tcp://host", "http://a:1"])
def test_anything_else_is_refused_with_the_form(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="tcp://HOST:PORT"):
        check_endpoint(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("ipc:///run/x", True),
        ("tcp://0.0.0.0:1", False),
        ("tcp://*:1", False),
        ("tcp://10.0.0.1:1", False),
    ],
)
def test_what_leaves_the_machine_is_known(endpoint: str, loopback: bool) -> None:
    assert is_loopback(endpoint) is loopback


def test_sending_without_a_peer_fails_at_once_instead_of_queueing() -> None:
    with (
        zmq.Context() as context,
        dealer(context, "tcp://127.0.0.1:9", None) as socket,
        pytest.raises(zmq.Again),
    ):
        socket.send(b"x", zmq.NOBLOCK)


def test_a_message_goes_whole_and_without_waiting() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with dealer(context, f"tcp://127.0.0.1:{port}", None) as socket:
            assert socket.poll(5000, zmq.POLLOUT)
            send_frames(socket, [b"head", b"", b"body"])

            assert router.poll(5000)
            route, *frames = router.recv_multipart()
            assert frames == [b"head", b"", b"body"]
            send_frames(router, (route, b"answer"))
            assert socket.poll(5000)
            assert socket.recv_multipart() == [b"answer"]

        with dealer(context, "tcp://127.0.0.1:9", None) as alone, pytest.raises(zmq.Again):
            send_frames(alone, [b"head", b"body"])


def test_those_who_lose_their_cloud_do_not_all_come_back_at_once() -> None:
    with zmq.Context() as context:
        sockets = [dealer(context, "tcp://127.0.0.1:9", None) for _ in range(30)]
        first_ms = [s.getsockopt(zmq.RECONNECT_IVL) for s in sockets]
        most_ms = [s.getsockopt(zmq.RECONNECT_IVL_MAX) for s in sockets]
        for socket in sockets:
            socket.close(0)

    assert len(set(first_ms)) > 5
    assert len(set(most_ms)) > 5
    assert max(most_ms) < 10_000
