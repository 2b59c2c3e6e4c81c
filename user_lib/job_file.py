"""A job's events as lines of JSON: ``{"seq": 3, "type": "round", …}``, one event a line.

A value that no method returns and a hostile vehicle may sign, such as one that is nested a thousand
times, is left out of its line; ``unwritten`` says why.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from user_lib.contract.messages import Event, JobChanged, Result, RoundClosed
from user_lib.plain import plain

__all__ = ["event_line", "write_events"]


def event_line(event: Event) -> str:
    """Return an event as one line of JSON, without its line end."""
    try:
        return _line(event)
    except (RecursionError, TypeError, ValueError, OverflowError) as error:
        return _line(replace(event, item=_without_values(event.item)), unwritten=str(error))


def _line(event: Event, **more: str) -> str:
    return msgspec.json.encode({"seq": event.seq, **plain(event.item), **more}).decode()


def _without_values(item: Result | RoundClosed | JobChanged) -> Result | RoundClosed | JobChanged:
    if isinstance(item, Result):
        return replace(item, value=None, partial=None)
    if isinstance(item, RoundClosed):
        return replace(item, groups=tuple(replace(group, value=None) for group in item.groups))
    return item


def write_events(path: Path, events: Iterable[Event]) -> int:
    """Write a file of events; it appears whole or not at all. Returns how many there are."""
    count = 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for event in events:
                file.write(event_line(event) + "\n")
                count += 1
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return count
