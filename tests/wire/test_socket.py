"""The client's socket: good addresses pass, and sending without a peer fails at once."""

import pytest
import zmq

from user_lib.contract.errors import ConfigError
from user_lib.wire.socket import check_endpoint, dealer, is_loopback


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
