"""What the monitor of a socket tells, as ZeroMQ writes it."""

from collections.abc import Iterator

import pytest
import zmq

from user_lib.wire.monitor import LinkEvent, events

PATIENCE_MS = 5000


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    with zmq.Context() as context:
        yield context


def test_a_connection_that_comes_and_goes_is_told_in_order(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    watched = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with dealer.get_monitor_socket(watched) as monitor:
            dealer.connect(f"tcp://127.0.0.1:{port}")
            assert monitor.poll(PATIENCE_MS)
            came = list(events(monitor))
            router.close(linger=0)
            assert monitor.poll(PATIENCE_MS)
            went = list(events(monitor))
            dealer.disable_monitor()

    assert [event.kind for event in came] == [zmq.EVENT_HANDSHAKE_SUCCEEDED]
    assert [event.kind for event in went] == [zmq.EVENT_DISCONNECTED]


def test_a_refused_connection_comes_with_the_status_of_the_handshake(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    public, secret = zmq.curve_keypair()
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, secret)
        router.setsockopt(zmq.CURVE_PUBLICKEY, public)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL) as monitor:
            dealer.connect(f"tcp://127.0.0.1:{port}")
            assert monitor.poll(PATIENCE_MS)
            told = next(events(monitor))
            dealer.disable_monitor()

    assert told == LinkEvent(
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
    )


def test_without_events_nothing_is_waited_for(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    with context.socket(zmq.DEALER) as dealer, dealer.get_monitor_socket() as monitor:
        assert list(events(monitor)) == []
        dealer.disable_monitor()
