"""What the kernel knows of the connections that ZeroMQ holds: it shows only their descriptors.

A descriptor may be another connection's, or another file's, by the time that it is looked at:
whatever it is then, nothing here raises, and nothing but a connection is ended.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["LOCAL", "hang_up", "peer_address", "received_bytes"]

LOCAL = "this machine"
"""The address of who comes by a unix socket."""
_RECEIVED_AT = 128
"""Where `tcp_info` of Linux has the bytes received, 64 bit."""
_IPV6_NETWORK_BITS = 64
"""Who has one address of IPv6 has all of these."""


def received_bytes(fd: int) -> int | None:
    """Return how many bytes came by a TCP connection; None when it is none."""
    with suppress(OSError), _lent(fd) as connection:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) >= _RECEIVED_AT + 8:
            (received,) = struct.unpack_from("=Q", info, _RECEIVED_AT)
            return int(received)
    return None


def peer_address(fd: int) -> str | None:
    """Return where a connection comes from, without the port; None when it is gone already.

    Of IPv6 it is the network: to count single addresses would bound nobody.
    """
    with suppress(OSError), _lent(fd) as connection:
        address = connection.getpeername()
        if not isinstance(address, tuple):
            return LOCAL
        host = str(address[0])
        return _network_of(host) if ":" in host else host
    return None


def hang_up(fd: int) -> bool:
    """End a connection; False when it is gone already. ZeroMQ notices as if the peer had.

    Should its descriptor just have become another peer's, that one connects again.
    """
    with suppress(OSError), _lent(fd) as connection:
        connection.shutdown(socket.SHUT_RDWR)
        return True
    return False


def _network_of(host: str) -> str:
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_NETWORK_BITS), strict=False))


@contextmanager
def _lent(fd: int) -> Iterator[socket.socket]:
    """Lend the connection of a descriptor, which stays open. Raises: OSError.

    No descriptor is taken for it: there may be none left, and that be the reason to look. The
    family is not asked for, which would take three more calls of the kernel; it makes no difference
    to what is done here.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        yield connection
    finally:
        connection.detach()
