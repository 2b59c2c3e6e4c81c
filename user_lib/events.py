"""A job's stream of events, read from any position; it survives a cloud that comes back."""

import logging
from collections.abc import Iterator
from typing import Literal, TypeAlias

from user_lib.connection import Connection
from user_lib.contract.clock import SECOND, Clock, SystemClock
from user_lib.contract.errors import LinkError
from user_lib.contract.messages import Event, Events, ReadEvents

__all__ = ["ALL_KINDS", "Kind", "follow", "pages", "read"]

Kind: TypeAlias = Literal["result", "round", "job"]
ALL_KINDS: tuple[Kind, ...] = ("result", "round", "job")
HOLD_S = 2.0
"""How long the cloud may hold a question for news."""
PATIENCE_S = 120.0
"""How long a stream that was running waits for a cloud that went away."""

_log = logging.getLogger(__name__)


def read(
    connection: Connection,
    assignment_id: str,
    kinds: tuple[Kind, ...] = ALL_KINDS,
    *,
    after_seq: int = 0,
) -> Iterator[Event]:
    """Yield the events so far, oldest first, without waiting for more."""
    for page in pages(connection, assignment_id, kinds, after_seq=after_seq):
        yield from page.events


def pages(
    connection: Connection,
    assignment_id: str,
    kinds: tuple[Kind, ...] = ALL_KINDS,
    *,
    after_seq: int = 0,
) -> Iterator[Events]:
    """Yield the events so far as `read`, in pages; the last one tells whether the job is over."""
    while True:
        page = _ask(connection, assignment_id, after_seq, kinds, hold_s=0.0)
        yield page
        if page.ended or page.next_seq == after_seq:
            return
        after_seq = page.next_seq


def follow(
    connection: Connection,
    assignment_id: str,
    kinds: tuple[Kind, ...] = ALL_KINDS,
    *,
    after_seq: int = 0,
    clock: Clock | None = None,
) -> Iterator[Events]:
    """Yield pages of events as they come, the last one with ``ended``; a page may be empty.

    An empty page comes every few seconds without news, so that the caller can look up.

    Raises: LinkError, when the cloud is not there at the start or stays away for `PATIENCE_S`.
    """
    clock = clock or SystemClock()
    heard_ns: int | None = None
    with connection.sibling() as line:
        while True:
            try:
                page = _ask(line, assignment_id, after_seq, kinds, hold_s=HOLD_S)
            except LinkError as error:
                if heard_ns is None or clock.monotonic_ns() - heard_ns > PATIENCE_S * SECOND:
                    raise
                _log.warning("%s; still trying", error)
                continue
            heard_ns = clock.monotonic_ns()
            after_seq = page.next_seq
            yield page
            if page.ended:
                return


def _ask(
    line: Connection, assignment_id: str, after_seq: int, kinds: tuple[Kind, ...], *, hold_s: float
) -> Events:
    ask = ReadEvents(assignment_id=assignment_id, after_seq=after_seq, wait_s=hold_s, kinds=kinds)
    return line.ask(ask, Events, wait_s=hold_s)
