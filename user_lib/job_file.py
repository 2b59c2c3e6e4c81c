"""A job's events as lines of JSON: ``{"seq": 3, "type": "round", …}``, one event a line."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from user_lib.contract.messages import Event
from user_lib.plain import plain

__all__ = ["event_line", "write_events"]


def event_line(event: Event) -> str:
    """Return an event as one line of JSON, without its line end."""
    return msgspec.json.encode({"seq": event.seq, **plain(event.item)}).decode()


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
