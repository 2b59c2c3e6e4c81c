"""Who has to go of those that have sent more than was handed on: decisions only.

What a connection sent and the router did not hand on yet is a message that is not whole, or whole
ones that wait. Whoever means well owes little of the first, and is read again and again while
others wait with it. So:

- Who owes `MOST_AT_ONCE_BYTES` goes at once.
- Who owes more than the largest message, and of whom no message became whole in `PATIENCE_LOOKS`
  looks, with a second and a turn of the loop between them, goes as well.
- Where all together owe too much, the owner (a key, or an address) that owes most goes first,
  connection by connection, until the rest fits. Who owes no more than one message may have stays.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias

from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.wire.unfinished import MOST_UNFINISHED_BYTES

__all__ = ["Cut", "Unread", "Why", "crowding", "endless"]

MOST_AT_ONCE_BYTES = 64 * 1024 * 1024
PATIENCE_LOOKS = 10

Why: TypeAlias = Literal["endless", "unread"]


class Unread(NamedTuple):
    """What a connection owes."""

    fd: int
    key: str
    owed_bytes: int
    looks: int = 0
    """For how many looks no message of it became whole."""

    @property
    def is_suspect(self) -> bool:
        """Whether it owes more than a message that will be whole."""
        return self.owed_bytes > MOST_UNFINISHED_BYTES


class Cut(NamedTuple):
    """A connection that is hung up on, and by which of the rules."""

    fd: int
    why: Why
    key: str
    address: str
    """Only where there is no key."""
    owed_bytes: int


def endless(unread: Iterable[Unread]) -> list[Unread]:
    """Return whose messages never end."""
    return [
        one
        for one in unread
        if one.owed_bytes > MOST_AT_ONCE_BYTES or (one.is_suspect and one.looks >= PATIENCE_LOOKS)
    ]


def crowding(
    unread: Iterable[Unread], most_bytes: int, owner_of: Callable[[Unread], str]
) -> list[Unread]:
    """Return who has to go so that all together owe no more than ``most_bytes``."""
    unread = list(unread)
    too_much = sum(one.owed_bytes for one in unread) - most_bytes
    if too_much <= 0:
        return []
    of_owner: dict[str, list[Unread]] = defaultdict(list)
    for one in sorted(unread, key=lambda one: one.owed_bytes):
        of_owner[owner_of(one)].append(one)
    owing = [(-sum(o.owed_bytes for o in theirs), who) for who, theirs in of_owner.items()]
    heapq.heapify(owing)
    going = []
    while too_much > 0 and owing:
        negative, who = heapq.heappop(owing)
        if -negative <= MAX_BODY_BYTES:
            break
        largest = of_owner[who].pop()
        going.append(largest)
        too_much -= largest.owed_bytes
        heapq.heappush(owing, (negative + largest.owed_bytes, who))
    return going
