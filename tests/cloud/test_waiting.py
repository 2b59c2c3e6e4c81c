"""Requests that wait at the cloud: bounded a peer and in all, each answered once."""

import pytest

from cloud.config import Bounds
from cloud.waiting import Waiting, WaitingRequest
from user_lib.contract.errors import Rejected
from user_lib.contract.messages import CodeStatus, ReadEvents


def request(peer: bytes, number: int, job: str = "job-1", until_ns: int = 10) -> WaitingRequest:
    return WaitingRequest(peer, number, "ada", ReadEvents(assignment_id=job), until_ns)


def test_news_wake_those_who_wait_for_it_and_no_one_else() -> None:
    waiting = Waiting(Bounds())
    mine, other = request(b"p", 1), request(b"p", 2, "job-2")
    code = WaitingRequest(b"p", 3, "ada", CodeStatus(), 10)
    for each in (mine, other, code):
        waiting.park(each)

    assert waiting.for_assignment("job-1") == [mine]
    assert waiting.for_assignment("job-1") == []
    assert waiting.for_code("ada") == [code]
    assert len(waiting) == 1


def test_those_whose_time_is_up_are_given_back() -> None:
    waiting = Waiting(Bounds())
    early, late = request(b"p", 1, until_ns=5), request(b"p", 2, until_ns=9)
    waiting.park(early)
    waiting.park(late)

    assert waiting.due(5) == [early]
    assert waiting.due(8) == []
    assert waiting.due(9) == [late]
    assert len(waiting) == 0


def test_a_peer_may_not_wait_too_often_and_a_repeat_replaces() -> None:
    waiting = Waiting(Bounds(waiting_requests_per_peer=2))
    waiting.park(request(b"p", 1))
    waiting.park(request(b"p", 1))
    waiting.park(request(b"p", 2))

    with pytest.raises(Rejected):
        waiting.park(request(b"p", 3))
    waiting.park(request(b"q", 1))


def test_all_together_may_not_wait_too_often() -> None:
    waiting = Waiting(Bounds(waiting_requests=1))
    waiting.park(request(b"p", 1))

    with pytest.raises(Rejected, match="too many"):
        waiting.park(request(b"q", 1))
    waiting.for_assignment("job-1")
    waiting.park(request(b"q", 1))
