"""The receiver of one content, pure: which chunks to ask for, and when again.

::

    begin ─▶ poll: ask for up to `CREDIT` chunks beyond what is here
    arrived: the next chunk in order is kept, any other is a repeat and ignored
    all is here ─▶ the bytes are verified ─▶ done, or `damaged` and from the start again

What is here is a prefix, kept on disk chunk by chunk: so a transfer that was cut off anywhere goes
on with the first chunk that is missing. Whoever sends needs no memory of the transfer, and never
has more than `CREDIT` chunks under way to one receiver.
"""

import msgspec
from msgspec.structs import replace

from user_lib.contract.clock import SECOND
from user_lib.contract.content import CHUNK_BYTES, Content, chunk_size, megabytes

__all__ = ["CREDIT", "Transfer", "arrived", "begin", "damaged", "interrupted", "poll", "postponed"]

CREDIT = 2
AGAIN_NS = 5 * SECOND
AGAIN_MAX_NS = 20 * SECOND
DAMAGED_NS = 10 * SECOND
"""Who sent wrong bytes once is asked again after this long, and twice as long each time."""
MAX_DOUBLINGS = 5


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a content has come; times are monotonic ns."""

    content: Content
    have: int = 0
    """Bytes that are here, from the first one on."""
    asked: int = 0
    """Up to where was asked."""
    due_ns: int = 0
    """When to ask again for what did not come."""
    tries: int = 0
    rest_until_ns: int = 0
    failures: int = 0
    """How often all bytes came and were not the content."""

    @property
    def whole(self) -> bool:
        """Whether all bytes are here."""
        return self.have >= self.content.size

    def __str__(self) -> str:
        return f"content {self.have / 1e6:.1f} of {megabytes(self.content.size)}"


def begin(content: Content, have: int) -> Transfer:
    """Begin, or go on after ``have`` bytes."""
    return Transfer(content=content, have=have, asked=have)


def poll(transfer: Transfer, now_ns: int) -> tuple[Transfer, tuple[int, ...]]:
    """Return the offsets to ask for now, and the transfer as if that was done."""
    if transfer.whole or now_ns < transfer.rest_until_ns:
        return transfer, ()
    if transfer.asked > transfer.have and now_ns >= transfer.due_ns:
        transfer = replace(transfer, asked=transfer.have, tries=transfer.tries + 1)
    offsets = []
    asked = transfer.asked
    while asked < min(transfer.content.size, transfer.have + CREDIT * CHUNK_BYTES):
        offsets.append(asked)
        asked += chunk_size(transfer.content, asked)
    if not offsets:
        return transfer, ()
    wait_ns = min(AGAIN_NS << min(transfer.tries, MAX_DOUBLINGS), AGAIN_MAX_NS)
    return replace(transfer, asked=asked, due_ns=now_ns + wait_ns), tuple(offsets)


def arrived(transfer: Transfer, offset: int, size: int, now_ns: int) -> Transfer:
    """Take a chunk; the transfer has moved on if it is the one to keep, else it is the same."""
    if offset != transfer.have or size != chunk_size(transfer.content, offset) or not size:
        return transfer
    have = offset + size
    return replace(
        transfer,
        have=have,
        asked=max(transfer.asked, have),
        tries=0,
        due_ns=now_ns + AGAIN_NS,
    )


def interrupted(transfer: Transfer) -> Transfer:
    """The connection is gone, and with it what was asked for."""
    return replace(transfer, asked=transfer.have, tries=0)


def postponed(transfer: Transfer, now_ns: int) -> Transfer:
    """The other end cannot send it at present: ask again later."""
    return replace(transfer, asked=transfer.have, rest_until_ns=now_ns + AGAIN_NS)


def damaged(transfer: Transfer, now_ns: int) -> Transfer:
    """All bytes came and are not the content: begin again, after a rest."""
    rest_ns = DAMAGED_NS << min(transfer.failures, MAX_DOUBLINGS)
    return Transfer(
        content=transfer.content,
        rest_until_ns=now_ns + rest_ns,
        failures=transfer.failures + 1,
    )
