"""Words to the service manager: ready, alive, reloading, stopping; the protocol of sd_notify(3).

A datagram of ``KEY=value`` lines goes to the socket that ``NOTIFY_SOCKET`` names. Where there is no
service manager nothing is sent, and nothing here ever waits or fails: who serves does not stop
because nobody listens.
"""

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]

log = logging.getLogger(__name__)

_FEEDS_PER_LIMIT = 4
"""How often the watchdog is fed within its limit, so that one late turn is no death."""


class Notifier:
    """One process's line to its service manager. Owned by one thread, but for `stopping`."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: by default the process's own.

        A watchdog that is meant for another process (``WATCHDOG_PID``) is none.
        """
        given = os.environ if environment is None else environment
        self._address = _address(given.get("NOTIFY_SOCKET", ""))
        self.unsent = 0
        limit_ns = int(given.get("WATCHDOG_USEC", "0") or 0) * 1_000
        if given.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            limit_ns = 0
        self._every_ns = limit_ns // _FEEDS_PER_LIMIT if self._address else 0
        self._fed_ns: int | None = None

    @property
    def watched(self) -> bool:
        """Whether a watchdog restarts this process when it is not fed."""
        return self._every_ns > 0

    @property
    def limit_ns(self) -> int:
        """How long the watchdog waits for food; 0 without one."""
        return self._every_ns * _FEEDS_PER_LIMIT

    def ready(self, status: str = "") -> None:
        """Say that start-up, or a reload, is done."""
        self._send("READY=1", status)

    def reloading(self, now_ns: int) -> None:
        """Say that the configuration is read again; `ready` says when that is done.

        Units: ``now_ns``, ns of the monotonic clock.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_ns // 1_000}")

    def stopping(self) -> None:
        """Say that the process is about to end."""
        self._send("STOPPING=1")

    def status(self, words: str) -> None:
        """Say in one line how things are; ``systemctl status`` shows it."""
        self._send("", words)

    def alive(self, now_ns: int) -> None:
        """Feed the watchdog when it is time; cheap enough for every turn of a loop.

        Units: ``now_ns``, ns of the monotonic clock.
        """
        if not self._every_ns:
            return
        if self._fed_ns is None or now_ns - self._fed_ns >= self._every_ns:
            self._fed_ns = now_ns
            self._send("WATCHDOG=1")

    def _send(self, words: str, status: str = "") -> None:
        if not self._address:
            return
        line = f"STATUS={' '.join(status.split())}" if status else ""
        message = "\n".join(part for part in (words, line) if part)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            self.unsent += 1
            if self.unsent == 1:
                log.warning("the service manager cannot be told %s: %s", words or status, error)


def _address(named: str) -> str:
    """Return the socket's address; a name that begins with ``@`` is abstract."""
    return f"\0{named[1:]}" if named.startswith("@") else named
