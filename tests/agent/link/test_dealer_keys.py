"""The vehicle's end with keys: refused until enrolled, with words that say who must act."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from agent.link.dealer import Change, Dealer
from cloud.auth import ENROLLED
from cloud.config import Bounds
from cloud.door.doorman import Doorman
from cloud.door.router import Router
from user_lib.contract.clock import SystemClock
from user_lib.wire.enrolment import enrol
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import Keys, LinkKeys, create_keys

CLOUD = create_keys("cloud", "cloud")
KONA = create_keys("kona-1", "vehicle")


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.term()


@pytest.fixture
def router(tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Router]:
    keyring = Keyring(tmp_path, *ENROLLED)
    doorman = Doorman(context, keyring, SystemClock())
    router = Router(context, "tcp://127.0.0.1:*", CLOUD, Bounds(messages_per_peer=100))
    yield router
    router.close()
    doorman.close()


def open_dealer(context: Any, router: Router, own: Keys = KONA, cloud: Keys = CLOUD) -> Dealer:
    return Dealer(context, router.endpoint, LinkKeys(own, cloud.card), SystemClock())


def until(dealer: Dealer, done: Any) -> list[Any]:
    found: list[Any] = []
    deadline = time.monotonic() + 30
    while not done(found):
        assert time.monotonic() < deadline, found
        found += dealer.receive()
        time.sleep(0.01)
    return found


def test_a_key_that_is_enrolled_later_gets_in_without_a_restart(
    tmp_path: Path, context: Any, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    dealer = open_dealer(context, router)
    until(dealer, lambda _: dealer.refused >= 2)
    assert "the cloud does not know the key of kona-1" in caplog.text
    assert KONA.card.fingerprint in caplog.text

    enrol(KONA.card, tmp_path)

    assert Change.CONNECTED in until(dealer, lambda found: Change.CONNECTED in found)
    dealer.close()


def test_the_wrong_cloud_is_told_of_and_not_talked_to(
    tmp_path: Path, context: Any, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(KONA.card, tmp_path)
    dealer = open_dealer(context, router, cloud=create_keys("cloud", "cloud"))

    found = until(dealer, lambda _: dealer.refused >= 3)

    assert Change.CONNECTED not in found
    assert "it has another key than the card given as its own" in caplog.text
    assert caplog.text.count("broke off") == 2  # of refusals 1, 2, 3: a power of two is told of
    dealer.close()
