import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.endless import EndlessServer
from user_lib.connection import Connection
from user_lib.contract.errors import (
    AssignmentError,
    CodeError,
    LinkError,
    ProtocolError,
    Rejected,
)
from user_lib.contract.messages import Ping, Pong, Rejection, Vehicles
from user_lib.settings import Settings

PONG = Pong(cloud_version="1", vehicles_online=0)


def connection(endpoint: str, timeout_s: float = 5.0) -> Connection:
    return Connection(Settings(cloud=endpoint, user="ada", timeout_s=timeout_s))


def test_every_request_is_numbered_and_says_who_asks(scripted: Any) -> None:
    with scripted(lambda _: PONG) as cloud, connection(cloud.endpoint) as line:
        assert line.ask(Ping(), Pong) == PONG
        assert line.ask(Ping(), Pong) == PONG

    assert [(r.number, r.user) for r in cloud.asked] == [(1, "ada"), (2, "ada")]


def test_silence_is_a_link_error_that_says_what_to_do() -> None:
    with (
        connection("tcp://127.0.0.1:9", timeout_s=0.2) as line,
        pytest.raises(LinkError, match=r"no cloud at tcp://127\.0\.0\.1:9 .* OODIDA_CLOUD"),
    ):
        line.ask(Ping(), Pong)


def test_an_unanswered_question_is_asked_again_over_a_fresh_connection(scripted: Any) -> None:
    answers: Iterator[Pong | None] = iter([None, PONG])
    with scripted(lambda _: next(answers)) as cloud, connection(cloud.endpoint) as line:
        assert line.ask(Ping(), Pong) == PONG

    assert [r.number for r in cloud.asked] == [1, 1]


def test_a_cloud_that_comes_back_at_the_same_address_is_found_again(scripted: Any) -> None:
    first = scripted(lambda _: PONG)
    with connection(first.endpoint) as line:
        line.ask(Ping(), Pong)
        first.close()
        with scripted(lambda _: PONG, endpoint=first.endpoint):
            assert line.ask(Ping(), Pong) == PONG


def test_a_question_lost_with_the_cloud_is_asked_again_before_its_wait_is_over(
    scripted: Any,
) -> None:
    arrived = threading.Event()

    def hold(_: object) -> None:
        arrived.set()

    first = scripted(hold)
    with connection(first.endpoint) as line:
        answered: list[Pong] = []
        asking = threading.Thread(
            target=lambda: answered.append(line.ask(Ping(), Pong, wait_s=600.0))
        )
        asking.start()
        assert arrived.wait(10)
        first.close()
        with scripted(lambda _: PONG, endpoint=first.endpoint):
            asking.join(60)

    assert answered == [PONG]


@pytest.mark.parametrize(
    ("reason", "error"),
    [("not_yours", Rejected), ("invalid", AssignmentError), ("bad_code", CodeError)],
)
def test_a_rejection_is_raised_as_the_error_it_names(
    scripted: Any, reason: Any, error: Any
) -> None:
    no = Rejection(reason=reason, message="window: too long", path="window", near=("w",))
    with (
        scripted(lambda _: no) as cloud,
        connection(cloud.endpoint) as line,
        pytest.raises(error) as caught,
    ):
        line.ask(Ping(), Pong)

    assert str(caught.value) == "window: too long"
    if error is not CodeError:
        assert (caught.value.path, caught.value.near) == ("window", ("w",))


def test_an_answer_to_something_else_is_a_protocol_error(scripted: Any) -> None:
    with (
        scripted(lambda _: Vehicles(vehicles=())) as cloud,
        connection(cloud.endpoint) as line,
        pytest.raises(ProtocolError, match="asked for Pong, the cloud answered Vehicles"),
    ):
        line.ask(Ping(), Pong)


def test_threads_that_share_a_connection_each_get_their_own_answer(scripted: Any) -> None:
    count = iter(range(1, 1000))
    with (
        scripted(lambda _: Pong(cloud_version="1", vehicles_online=next(count))) as cloud,
        connection(cloud.endpoint) as line,
    ):
        found: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: found.extend(
                    line.ask(Ping(), Pong).vehicles_online for _ in range(20)
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(found) == list(range(1, 81))


def test_an_answer_without_an_end_is_a_link_error_and_bounded() -> None:
    hostile = EndlessServer()
    try:
        with (
            connection(f"tcp://127.0.0.1:{hostile.port}", timeout_s=20) as line,
            pytest.raises(LinkError, match="no whole message: is that a cloud"),
        ):
            line.ask(Ping(), Pong)
    finally:
        hostile.close()

    assert hostile.sent_mb[0] < hostile.most_mb


def test_a_closed_connection_says_so() -> None:
    line = connection("tcp://127.0.0.1:9")
    line.close()

    with pytest.raises(LinkError, match="closed"):
        line.ask(Ping(), Pong)
