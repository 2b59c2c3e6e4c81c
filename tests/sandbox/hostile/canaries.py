"""What hostile code would love to touch, and whether it did."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Canaries", "planted"]

SECRET = b"hunter2-secret"


@dataclass
class Canaries:
    """What hostile code would love to touch, and whether it did."""

    folder: Path
    tcp: socket.socket
    unix: socket.socket

    @property
    def params(self) -> dict[str, Any]:
        return {
            "secret": str(self.folder / "secret"),
            "unix": str(self.folder / "socket"),
            "port": self.tcp.getsockname()[1],
            "agent_pid": os.getpid(),
        }

    def untouched(self) -> bool:
        for server in (self.tcp, self.unix):
            try:
                connection, _ = server.accept()
            except BlockingIOError:
                continue
            connection.close()
            return False
        names = sorted(p.name for p in self.folder.iterdir())
        return (self.folder / "secret").read_bytes() == SECRET and names == ["secret", "socket"]


@contextmanager
def planted(folder: Path) -> Iterator[Canaries]:
    """Plant a secret, a listening TCP socket and a listening unix socket."""
    (folder / "secret").write_bytes(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket"))
        unix.listen()
        tcp.setblocking(False)
        unix.setblocking(False)
        yield Canaries(folder, tcp, unix)
