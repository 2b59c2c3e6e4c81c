"""The client's end of the link: a DEALER socket that reconnects by itself and never blocks.

The router's end is the cloud's own. Options here are the ones whose defaults lose messages or hang.
"""

import contextlib
import random
from collections.abc import Sequence

import zmq

from user_lib.contract.errors import ConfigError
from user_lib.wire.keys import LinkKeys
from user_lib.wire.monitor import LinkEvent

__all__ = [
    "HANDSHAKE_EVENTS",
    "HEARTBEAT_MS",
    "check_endpoint",
    "check_trust",
    "connect_again",
    "dealer",
    "is_loopback",
    "receive_frames",
    "refusal",
    "send_frames",
]

SEND_HIGH_WATER = 1000
RECEIVE_HIGH_WATER = 10_000
RECONNECT_MS = 100
RECONNECT_SPREAD_MS = 400
RECONNECT_MAX_MS = 3_000
RECONNECT_MAX_SPREAD_MS = 3_000
"""A fleet that loses its cloud comes back over some seconds, each by steps of its own: all at once
would be more than a system's queue of new connections holds."""
HANDSHAKE_MS = 10_000
"""A cloud whose queue ran over does not know of a connection that this end takes for open."""
HEARTBEAT_MS = 5_000
MAX_FRAME_BYTES = 16 * 1024 * 1024
HANDSHAKE_EVENTS = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""After the last two ZeroMQ gives up: `connect_again` has to be called."""
_NOWAIT = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_MECHANISM_MISMATCH = 0x11000002


def dealer(
    context: "zmq.Context[zmq.Socket[bytes]]",
    endpoint: str,
    keys: LinkKeys | None,
    *,
    watch: int = 0,
    heartbeat_ms: int = HEARTBEAT_MS,
) -> "zmq.Socket[bytes]":
    """Return a DEALER that connects to ``endpoint`` and keeps trying.

    A connection that is silent for three times ``heartbeat_ms`` is given up.

    Its monitor (``get_monitor_socket``), if there are events to ``watch``, misses none of them.

    With ``keys`` it talks to nobody but the owner of the cloud's key, encrypted; None is for
    `check_trust` to have allowed.

    Sending never blocks (use ``zmq.NOBLOCK``); closing never waits for unsent messages: what must
    not be lost is repeated by the session above until it is acknowledged.

    Raises: ConfigError, if ``endpoint`` is not an address.
    """
    check_endpoint(endpoint)
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_HIGH_WATER)
    spread_ms = random.randrange(RECONNECT_SPREAD_MS)  # noqa: S311 - no secret
    most_spread_ms = random.randrange(RECONNECT_MAX_SPREAD_MS)  # noqa: S311 - no secret
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS + spread_ms)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS + most_spread_ms)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * heartbeat_ms)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    # Without a connection, send fails at once instead of queueing what may be stale when it leaves.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.curve_secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(keys.own.card.curve))
        socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(keys.cloud.curve))
    if watch:
        socket.get_monitor_socket(watch)
    socket.connect(endpoint)
    return socket


def send_frames(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> None:
    """Send a message without waiting: pyzmq's own ``send_multipart`` takes twice the time.

    Raises: zmq.Again, when there is no connection or no room; then nothing of it was sent.
    """
    *first, last = frames
    for frame in first:
        socket.send(frame, _MORE)
    socket.send(last, _NOWAIT)


def receive_frames(socket: "zmq.Socket[bytes]") -> list[bytes] | None:
    """Return the next message without waiting, None when there is none; as `send_frames`, fast."""
    try:
        frame = socket.recv(_NOWAIT, copy=False)
    except zmq.Again:
        return None
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(_NOWAIT, copy=False)
        frames.append(frame.bytes)
    return frames


def connect_again(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Try anew after a handshake that failed for good; the owner waits between two such."""
    with contextlib.suppress(zmq.ZMQError):  # it may be gone from the socket's list already
        socket.disconnect(endpoint)
    socket.connect(endpoint)


def refusal(event: LinkEvent, keys: LinkKeys | None) -> str:
    """Say what a monitor's `HANDSHAKE_EVENTS` means and who must act.

    A handshake without detail may also be a cloud that ended amid it: ZeroMQ tries on.
    """
    if event.kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        who = "this peer" if keys is None else f"the key of {keys.own.card.name}"
        card = "NAME.pub" if keys is None else f"{keys.own.card.name}.pub"
        mark = "" if keys is None else f" ({keys.own.card.fingerprint})"
        return (
            f"the cloud does not know {who}{mark}; its operator enrols it with "
            f"`oodida keys enrol {card} --into DIRECTORY`, unless it was revoked, which is for "
            "good: then `oodida keys create` makes new ones to enrol"
        )
    if event.kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and event.value == _MECHANISM_MISMATCH:
        if keys is None:
            return "the cloud requires keys: give `keys:` (see `oodida keys --help`)"
        return "the cloud runs without keys (insecure), and this end has keys"
    if keys is None:
        return "the cloud broke off the handshake: it requires keys, or it just ended"
    return (
        "the cloud broke off the handshake: it has another key than the card given as its own, "
        "or it runs without keys, or it just ended"
    )


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


def check_trust(endpoint: str, *, keyed: bool, insecure: bool, what: str) -> None:
    """Refuse a link that nothing protects: keys, or ``insecure`` and never leaving this machine.

    ``what`` is the setting that holds the endpoint, for the message.

    Raises: ConfigError, with the way out.
    """
    if keyed and insecure:
        raise ConfigError("keys and insecure exclude each other: leave one of them out")
    if insecure and not is_loopback(endpoint):
        raise ConfigError(
            f"{what}: {endpoint} can be reached from other machines, and insecure is for "
            "127.0.0.1 and ipc:// only; create keys with `oodida keys create` and give `keys:`"
        )
    if not keyed and not insecure:
        raise ConfigError(
            "keys: none are given, so nobody would know who is at the other end; create them with "
            "`oodida keys create`, or say insecure (--insecure) to do without on this machine"
        )


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach ``endpoint``."""
    kind, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0].strip("[]")
    return kind in ("ipc", "inproc") or host in ("localhost", "::1") or host.startswith("127.")
