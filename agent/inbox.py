"""Where other threads leave news for the main loop: a queue beside a descriptor to poll.

It needs no bound of its own: a task has at most one window asked for and one iteration running, and
each leaves one item.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """Any thread posts; the one owner drains and closes."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread in `wake`
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable while something waits; -1 once closed."""

    def post(self, item: T) -> None:
        """Leave an item and wake the owner; after `close` nobody is there to be woken."""
        self._items.append(item)
        self.wake()

    def wake(self) -> None:
        """Wake the owner though there is no item; safe in a signal handler."""
        with self._lock:
            if self.fd >= 0:
                with contextlib.suppress(BlockingIOError):  # awake already, 2**64 times over
                    os.eventfd_write(self.fd, 1)

    def drain(self) -> Iterator[T]:
        """Take what waits, one by one, in the order in which it came.

        What is left when the taker stops early is there at the next call.
        """
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        while self._items:
            yield self._items.popleft()

    def close(self) -> None:
        """Let the descriptor go."""
        with self._lock:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)
