"""An analyst's line with keys: a clear error when they do not fit, and no long wait for it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from cloud.auth import ENROLLED
from cloud.config import Bounds
from cloud.door.doorman import Doorman
from cloud.door.router import Router
from user_lib.cli.entry import main
from user_lib.connection import Connection
from user_lib.contract.clock import SystemClock
from user_lib.contract.codec import REPLY, REQUEST
from user_lib.contract.errors import ConfigError, LinkRefused
from user_lib.contract.messages import Ping, Pong, Reply
from user_lib.settings import Given, KeyPaths, Settings, load_settings
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import Keys, LinkKeys, create_keys, write_card, write_keys

CLOUD, ADA = create_keys("cloud", "cloud"), create_keys("ada", "analyst")
PONG = Pong(cloud_version="1", vehicles_online=0)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """Return a router with keys that answers every request with a Pong."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doorman = Doorman(context, Keyring(tmp_path, *ENROLLED), SystemClock())
    router = Router(context, "tcp://127.0.0.1:*", CLOUD, Bounds(messages_per_peer=100))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            router.wait(20)
            for peer, frames in router.receive(10):
                request = REQUEST.decode(frames)
                router.send(peer, REPLY.encode(Reply(number=request.number, answer=PONG)))

    thread = threading.Thread(target=serve)
    thread.start()
    yield router
    stop.set()
    thread.join()
    router.close()
    doorman.close()
    context.term()


def connection(router: Router, own: Keys = ADA, cloud: Keys = CLOUD) -> Connection:
    return Connection(Settings(router.endpoint, "ada", 10.0, LinkKeys(own, cloud.card)))


def test_an_enrolled_analyst_is_answered(router: Router, tmp_path: Path) -> None:
    enrol(ADA.card, tmp_path)
    with connection(router) as line:
        assert line.ask(Ping(), Pong) == PONG


def test_an_unknown_key_is_an_error_that_says_what_to_do(router: Router) -> None:
    with (
        connection(router) as line,
        pytest.raises(LinkRefused, match=r"not know the key of ada .* `oodida keys enrol ada.pub"),
    ):
        line.ask(Ping(), Pong)


def test_a_revoked_key_is_exit_code_1_and_the_way_out_is_told(
    router: Router, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    enrol(ADA.card, tmp_path)
    revoke("ada", tmp_path)
    own = write_keys(ADA, tmp_path / "own")
    write_card(CLOUD.card, tmp_path / "own" / "cloud.pub")
    keys = ["--key", str(own), "--cloud-key", str(tmp_path / "own" / "cloud.pub")]

    assert main(["vehicles", "--cloud", router.endpoint, *keys]) == 1
    assert "unless it was revoked" in capfd.readouterr().err


def test_the_wrong_clouds_key_is_an_error_that_says_so(router: Router, tmp_path: Path) -> None:
    enrol(ADA.card, tmp_path)
    other = create_keys("cloud", "cloud")
    with (
        connection(router, cloud=other) as line,
        pytest.raises(LinkRefused, match="another key than the card"),
    ):
        line.ask(Ping(), Pong)


def test_a_key_that_is_enrolled_after_the_error_works_on_the_same_line(
    router: Router, tmp_path: Path
) -> None:
    with connection(router) as line:
        with pytest.raises(LinkRefused):
            line.ask(Ping(), Pong)
        enrol(ADA.card, tmp_path)
        assert line.ask(Ping(), Pong) == PONG
        revoke("ada", tmp_path)


def test_the_user_is_the_name_on_the_keys(tmp_path: Path) -> None:
    own = write_keys(ADA, tmp_path)
    write_card(CLOUD.card, tmp_path / "cloud.pub")
    (tmp_path / "analyst.yaml").write_text(
        "cloud: tcp://fleet.example:5570\nkeys: {own: ada.key, cloud: cloud.pub}\n"
    )
    environ = {"HOME": "/none", "OODIDA_CONFIG": str(tmp_path / "analyst.yaml")}

    settings = load_settings(environ=environ)

    assert (settings.user, settings.cloud) == ("ada", "tcp://fleet.example:5570")
    assert settings.keys is not None
    assert settings.keys.cloud == CLOUD.card
    with pytest.raises(ConfigError, match="user: eve is not the name on your keys, ada"):
        load_settings(Given(user="eve"), environ=environ)
    with pytest.raises(ConfigError, match="give both your own"):
        load_settings(Given(keys=KeyPaths(own=own)), environ={"HOME": "/none"})
    with pytest.raises(ConfigError, match="keys: none are given"):
        load_settings(environ={"HOME": "/none"})
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        load_settings(
            Given(insecure=True, cloud="tcp://fleet.example:1"), environ={"HOME": "/none"}
        )
