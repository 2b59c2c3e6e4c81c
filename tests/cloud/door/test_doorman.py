"""The doorman answers what ZeroMQ asks and nothing else; when it is gone, nobody gets in."""

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from cloud.app import App
from cloud.config import CloudKeys, Config
from cloud.door.doorman import ENDPOINT, Doorman
from user_lib.contract.clock import SystemClock
from user_lib.demo.local_keys import LocalKeys
from user_lib.wire.enrolment import enrol
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys

ADA = create_keys("ada", "analyst").card
KEY = bytes.fromhex(ADA.curve)
GOOD = [b"1.0", b"7", b"oodida", b"10.0.0.9", b"", b"CURVE", KEY]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Any]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    enrol(ADA, tmp_path)
    doorman = Doorman(context, Keyring(tmp_path), SystemClock())
    asker = context.socket(zmq.REQ)
    asker.connect(ENDPOINT)

    def ask(*request: bytes) -> list[bytes]:
        asker.send_multipart(request)
        assert asker.poll(20_000)
        return asker.recv_multipart()

    yield ask
    asker.close(0)
    doorman.close()
    doorman.close()
    assert not doorman.alive
    context.term()


def test_an_enrolled_key_becomes_the_user_id(ask: Any) -> None:
    assert ask(*GOOD) == [b"1.0", b"7", b"200", b"OK", ADA.curve.encode(), b""]


@pytest.mark.parametrize(
    "request_",
    [
        [*GOOD[:6], bytes(32)],
        [*GOOD[:6], KEY[:31]],
        [*GOOD[:5], b"NULL", KEY],
        [*GOOD[:5], b"PLAIN", b"ada", b"secret"],
        [*GOOD[:2], b"other", *GOOD[3:]],
        [b"2.0", *GOOD[1:]],
        GOOD[:6],
        [*GOOD, b"more"],
        [b""],
    ],
)
def test_anything_else_is_refused_and_the_next_is_served(ask: Any, request_: list[bytes]) -> None:
    answer = ask(*request_)

    assert answer[2] == b"400"
    assert answer[4] == b""
    assert ask(*GOOD)[2] == b"200"


def test_without_a_doorman_the_door_is_closed_and_the_operator_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = LocalKeys(tmp_path / "keys")
    paths = keys.for_cloud()
    app = App(
        Config(
            bind="tcp://127.0.0.1:*",
            ledger=tmp_path / "cloud.db",
            keys=CloudKeys(own=Path(paths["own"]), authorized=Path(paths["authorized"])),
        )
    )
    host, port = app.endpoint.removeprefix("tcp://").split(":")
    doorman = app._doorman
    assert doorman is not None
    doorman.close()

    with caplog.at_level(logging.CRITICAL):
        app._turn()

    assert "no new connections are taken" in caplog.text
    deadline = time.monotonic() + 20
    while _is_listening(host, int(port)):
        assert time.monotonic() < deadline
    app.stop()
    app.run()


def _is_listening(host: str, port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex((host, port)) == 0
