"""A message that never ends, noticed at a client's one connection.

ZeroMQ keeps the frames of a message until its last one, whatever their number, and shows nothing of
them before: whoever has taken over the other end can fill the memory so. The kernel knows how much
came; what was taken as whole messages is known here; the rest is what is not finished yet.
"""

from collections.abc import Sequence

from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.wire.tcp import received_bytes

__all__ = ["FRAME_OVERHEAD_BYTES", "MOST_UNFINISHED_BYTES", "Unfinished"]

FRAME_OVERHEAD_BYTES = 42
"""What CURVE and ZMTP add to a frame on its way, at most."""
MOST_UNFINISHED_BYTES = 2 * MAX_BODY_BYTES
"""The largest message that there is, and as much that the kernel may hold of others."""


class Unfinished:
    """Knows one connection; without any, nothing is unfinished. Of its owner's thread."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._taken = self._base = 0
        self._took = False

    def opened(self, fd: int) -> None:
        """Note the descriptor of a new connection."""
        self._fd, self._taken, self._base = fd, 0, 0

    def closed(self) -> None:
        """Note that there is no connection."""
        self._fd = None

    def took(self, frames: Sequence[bytes]) -> None:
        """Note a message that was taken."""
        self._taken += sum(map(len, frames)) + FRAME_OVERHEAD_BYTES * len(frames)
        self._took = True

    def is_endless(self) -> bool:
        """Whether more has come than a message may have; asked once all that are whole are taken.

        What a frame has on its way differs a little from what is counted for it. So the count
        begins anew after each message, from what is there by then: a connection is never given up
        for the sum of small differences, and no more than twice the bound can gather.
        """
        received = None if self._fd is None else received_bytes(self._fd)
        if received is None:
            return False
        owed = received - self._taken
        if owed - self._base > MOST_UNFINISHED_BYTES:
            return True
        if self._took:
            self._base, self._took = owed, False
        return False
