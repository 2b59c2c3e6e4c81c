import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from agent.link.dealer import Change, Dealer, Incoming
from user_lib.contract.clock import SystemClock
from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.contract.errors import ProtocolError
from user_lib.contract.messages import Ack, Deliver, Heartbeat, Result

Wait = Callable[[Dealer, Incoming], list[Incoming]]


@pytest.fixture
def dealer(cloud: Any) -> Iterator[Dealer]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = Dealer(context, cloud.endpoint, None, SystemClock())
    yield dealer
    dealer.close()
    context.term()


@pytest.fixture
def wait() -> Wait:
    def wait(dealer: Dealer, wanted: Incoming) -> list[Incoming]:
        heard: list[Incoming] = []
        poller = zmq.Poller()
        dealer.register(poller)
        deadline = time.monotonic() + 10
        while wanted not in heard:
            assert time.monotonic() < deadline, heard
            poller.poll(100)
            heard += dealer.receive()
        return heard

    return wait


def test_messages_go_both_ways_once_connected(dealer: Dealer, wait: Wait, cloud: Any) -> None:
    wait(dealer, Change.CONNECTED)
    assert dealer.send(Heartbeat(outbox=3))
    cloud.until(lambda: cloud.last(Heartbeat))

    cloud.send(Ack(seqs=(1,)), Ack(seqs=(2,)))

    heard = wait(dealer, Ack(seqs=(2,)))
    assert heard[-2:] == [Ack(seqs=(1,)), Ack(seqs=(2,))]
    assert cloud.last(Heartbeat).outbox == 3


def test_without_a_connection_nothing_is_sent_and_it_is_said(
    dealer: Dealer, wait: Wait, cloud: Any
) -> None:
    wait(dealer, Change.CONNECTED)
    cloud.close()
    wait(dealer, Change.DISCONNECTED)

    assert not dealer.send(Heartbeat())
    assert dealer.unsent == 1
    cloud.open()
    wait(dealer, Change.CONNECTED)
    assert dealer.connects == 2


def test_a_connection_that_came_before_its_monitor_is_told_of(cloud: Any, wait: Wait) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for _ in range(20):
        dealer = Dealer(context, cloud.endpoint, None, SystemClock())
        wait(dealer, Change.CONNECTED)
        dealer.close()
    context.term()


def test_bytes_that_are_no_message_are_counted_and_dropped(
    dealer: Dealer, wait: Wait, cloud: Any
) -> None:
    wait(dealer, Change.CONNECTED)
    dealer.send(Heartbeat())
    cloud.until(lambda: cloud.last(Heartbeat))

    cloud.send_raw(b"noise")
    cloud.send_raw(b"OD\x03V", b"\xff" * 100)
    cloud.send(Ack(seqs=(1,)))

    assert wait(dealer, Ack(seqs=(1,))) == [Ack(seqs=(1,))]
    assert dealer.malformed == 2


def test_a_message_that_is_too_large_is_refused_here(
    dealer: Dealer, result: Callable[..., Result]
) -> None:
    item = result(value="x" * (MAX_BODY_BYTES + 1))

    with pytest.raises(ProtocolError):
        dealer.send(Deliver(seq=1, item=item))
