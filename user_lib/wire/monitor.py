"""What ZeroMQ tells of a connection: the events of a socket's monitor, one after the other.

pyzmq's own reader (`zmq.utils.monitor`) brings in asyncio and ssl: 5 MB and 60 ms that a vehicle
has no other use for. The layout is that of zmq_socket_monitor(3).
"""

import struct
from collections.abc import Iterator

import msgspec
import zmq

__all__ = ["LinkEvent", "events"]

_LAYOUT = struct.Struct("=HI")


class LinkEvent(msgspec.Struct, frozen=True):
    """One event: a ``zmq.EVENT_*`` and what comes with it, such as an error or a status code."""

    kind: int
    value: int


def events(monitor: "zmq.Socket[bytes]") -> Iterator[LinkEvent]:
    """Yield the events that have come, without waiting."""
    while True:
        try:
            told = monitor.recv(zmq.NOBLOCK)
        except zmq.Again:
            return
        monitor.recv(zmq.NOBLOCK)  # the address of this end
        yield LinkEvent(*_LAYOUT.unpack(told))
