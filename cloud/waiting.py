"""Requests that wait at the cloud for news: bounded, answered when it comes or time is up."""

from dataclasses import dataclass

from cloud.auth import Peer
from cloud.config import Bounds
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId
from user_lib.contract.messages import CodeStatus, ReadEvents

__all__ = ["Waiting", "WaitingRequest"]


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that is asked again when there is news, and answered in any case at its time."""

    peer: Peer
    number: int
    user: UserId
    ask: ReadEvents | CodeStatus
    until_ns: int


class Waiting:
    """The requests that wait, by what they wait for.

    A peer has at most so many; when all together are too many, a new one is refused at once.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._by_key: dict[str, dict[tuple[Peer, int], WaitingRequest]] = {}
        self._per_peer: dict[Peer, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def park(self, request: WaitingRequest) -> None:
        """Let a request wait; the same number again replaces the first.

        Raises: Rejected, when the peer, or all peers together, have too many waiting.
        """
        waiting = self._by_key.setdefault(_key(request), {})
        if (request.peer, request.number) in waiting:
            waiting[request.peer, request.number] = request
            return
        mine = self._per_peer.get(request.peer, 0)
        if mine >= self._bounds.waiting_requests_per_peer:
            raise Rejected(
                f"{mine} requests of this connection wait already; wait for their answers",
                reason="busy",
            )
        if self._total >= self._bounds.waiting_requests:
            raise Rejected("too many requests wait at the cloud; ask again later", reason="busy")
        waiting[request.peer, request.number] = request
        self._per_peer[request.peer] = mine + 1
        self._total += 1

    def for_assignment(self, assignment_id: str) -> list[WaitingRequest]:
        """Return and forget the requests that wait for an assignment's events."""
        return self._take(f"events {assignment_id}")

    def for_code(self, analyst: UserId) -> list[WaitingRequest]:
        """Return and forget the requests that wait for an analyst's code."""
        return self._take(f"code {analyst}")

    def due(self, now_ns: int) -> list[WaitingRequest]:
        """Return and forget the requests whose time is up."""
        due = [
            request
            for waiting in self._by_key.values()
            for request in waiting.values()
            if request.until_ns <= now_ns
        ]
        for request in due:
            self._forget(request)
        return due

    def _take(self, key: str) -> list[WaitingRequest]:
        found = list(self._by_key.get(key, {}).values())
        for request in found:
            self._forget(request)
        return found

    def _forget(self, request: WaitingRequest) -> None:
        key = _key(request)
        waiting = self._by_key[key]
        del waiting[request.peer, request.number]
        if not waiting:
            del self._by_key[key]
        self._total -= 1
        self._per_peer[request.peer] -= 1
        if not self._per_peer[request.peer]:
            del self._per_peer[request.peer]


def _key(request: WaitingRequest) -> str:
    if isinstance(request.ask, ReadEvents):
        return f"events {request.ask.assignment_id}"
    return f"code {request.user}"
