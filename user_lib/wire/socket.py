"""The client's end of the link: a DEALER socket that reconnects by itself and never blocks.

The router's end is the cloud's own. Options here are the ones whose defaults lose messages or hang.
"""

import zmq

from user_lib.contract.errors import ConfigError

__all__ = ["check_endpoint", "dealer", "is_loopback"]

SEND_HIGH_WATER = 1000
RECEIVE_HIGH_WATER = 10_000
RECONNECT_MS = 100
RECONNECT_MAX_MS = 5_000
HEARTBEAT_MS = 5_000
MAX_FRAME_BYTES = 16 * 1024 * 1024


def dealer(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    """Return a DEALER that connects to ``endpoint`` and keeps trying.

    Sending never blocks (use ``zmq.NOBLOCK``); closing never waits for unsent messages: what must
    not be lost is repeated by the session above until it is acknowledged.

    Raises: ConfigError, if ``endpoint`` is not an address.
    """
    check_endpoint(endpoint)
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_HIGH_WATER)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    # Without a connection, send fails at once instead of queueing what may be stale when it leaves.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.connect(endpoint)
    return socket


def check_endpoint(endpoint: str) -> None:
    """Refuse what ZeroMQ would refuse later with less help.

    Raises: ConfigError, naming the expected form.
    """
    kind, found, address = endpoint.partition("://")
    if found and kind == "ipc" and address:
        return
    host, colon, port = address.rpartition(":")
    if kind == "tcp" and colon and host and (port.isdigit() or port == "*"):
        return
    raise ConfigError(
        f"{endpoint!r} is not an address; write tcp://HOST:PORT (such as tcp://127.0.0.1:5570) "
        "or ipc://PATH"
    )


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach ``endpoint``."""
    kind, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0].strip("[]")
    return kind in ("ipc", "inproc") or host in ("localhost", "::1") or host.startswith("127.")
