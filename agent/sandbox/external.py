"""External workers: any executable that the vehicle's engineer installed, one line in, one out.

EXTERNAL_WORKERS.md is the protocol's page for those who write one.
"""

import os
import signal
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from agent.sandbox.envelope import Header
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["PREFIX", "PROTOCOL", "execute", "name_of", "place", "request_line"]

PREFIX = "external:"
PROTOCOL = 1

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def name_of(method: str) -> str | None:
    """Return NAME of ``external:NAME``, None for any other method."""
    return method.removeprefix(PREFIX) if method.startswith(PREFIX) else None


def request_line(header: Header, window: Window | None) -> bytes:
    """Return the request: one line of JSON; a value that is not a number is null in it."""
    request: dict[str, Json] = {
        "protocol": PROTOCOL,
        "half": header.half,
        "iteration": header.iteration,
        "vehicle": header.vehicle,
        "params": header.params,
        "state": header.state,
        "feedback": header.feedback,
        "inputs": header.inputs,
    }
    if window is not None:
        request |= {
            "signals": {name: _signal(window, name) for name in window.signals},
            "start_ns": window.start_ns,
            "stop_ns": window.stop_ns,
            "lost_frames": window.lost_frames,
            "away_ms": window.away_ms,
            "trigger_ns": window.trigger_ns,
        }
    return msgspec.json.encode(request) + b"\n"


def _signal(window: Window, name: str) -> dict[str, Json]:
    return {
        "unit": window.units.get(name, ""),
        "times_ns": window.times[name].tolist(),
        "values": window[name].tolist(),
    }


def place(request: bytes, answer_fd: int) -> None:
    """Put the request on stdin and the answer's pipe on stdout."""
    stdin = os.memfd_create("request", 0)
    with open(stdin, "wb", closefd=False) as file:
        file.write(request)
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    os.dup2(answer_fd, 1)
    os.close(stdin)
    os.close(answer_fd)


def execute(argv: Sequence[str], scratch: str) -> NoReturn:
    """Become the external worker, at home in its scratch if there is one.

    Raises: OSError, when the command cannot be executed.
    """
    home = {"HOME": scratch, "TMPDIR": scratch} if scratch else {}
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(argv[0], list(argv), ENVIRONMENT | home)  # noqa: S606 - no shell is wanted
