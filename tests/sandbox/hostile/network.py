"""The network: no socket of any family, to anywhere, by any way."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

FAMILIES = {
    "unix": 1, "inet": 2, "ax25": 3, "inet6": 10, "netlink": 16, "packet": 17, "can": 29,
    "bluetooth": 31, "alg": 38, "vsock": 40, "xdp": 44,
}

CASES = (
    *(
        Case(f"socket_{name}_{kind}", f"return call('socket', {family}, {number}, 0)")
        for name, family in FAMILIES.items()
        for kind, number in (("stream", 1), ("dgram", 2), ("raw", 3))
    ),
    Case("connect_agent", "return denied(socket.create_connection, ('127.0.0.1', params.port), 2)"),
    Case(
        "connect_unix",
        "s = socket.socket(socket.AF_UNIX)\n    return denied(s.connect, params.unix)",
    ),
    Case("connect_abstract", "return denied(socket.socket(socket.AF_UNIX).connect, '\\0oodida')"),
    Case("socketpair", "return denied(socket.socketpair)"),
    Case("listen", "return denied(socket.create_server, ('127.0.0.1', 0))"),
    Case("resolve", "return denied(socket.getaddrinfo, 'example.org', 80)"),
    Case("io_uring", "return call('io_uring_setup', 8, b'\\0' * 120)"),
    Case("sendmsg", "return call('sendmsg', 1, b'\\0' * 56, 0)"),
    Case("sendto_every_descriptor", "return all(call('sendto', fd, b'x', 1, 0, None, 0) == 'denied' for fd in range(9))", "value:True"),
    Case("urllib", "import urllib.request; return denied(urllib.request.urlopen, f'http://127.0.0.1:{params.port}')"),
    Case("interfaces", "return denied(socket.if_nameindex)"),
)
