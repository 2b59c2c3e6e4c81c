"""The demo as a whole: a folder, a fleet, the story, the summary, and nothing left behind."""

import contextlib
import shlex
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from user_lib.contract.clock import Clock, SystemClock
from user_lib.contract.escaping import LINES, escaped
from user_lib.demo.local_fleet import ANY_PORT, LocalFleet, simulated
from user_lib.demo.story import Outcome, Story
from user_lib.demo.view import choose_view
from user_lib.results import SHORT_VERSION
from user_lib.settings import DEFAULT_CLOUD

__all__ = ["USER", "run_demo", "summary"]

USER = "demo"
SPEED = 8.0
"""The cars drive faster than the clock, so that a minute shows something."""
VEHICLES = (
    simulated("compact-1", "compact", seed=1, speed=SPEED),
    simulated("compact-2", "compact", seed=2, speed=SPEED),
    simulated("wagon-1", "wagon", seed=3, speed=SPEED),
    simulated("wagon-2", "wagon", seed=4, speed=SPEED),
)


def run_demo(out: TextIO, *, keep: bool = False, clock: Clock | None = None) -> Outcome:
    """Start the fleet, play the story on ``out``, and end every process again.

    With ``keep`` the fleet stays until Ctrl-C; how to connect is written before the story begins.

    Raises: LinkError, with the log's end, when a process does not come up.
    """
    bind = _free_default() if keep else ANY_PORT
    with (
        _terminated_as_interrupted(),
        tempfile.TemporaryDirectory(prefix="oodida-demo-") as folder,
        LocalFleet(Path(folder), VEHICLES, bind=bind) as local,
    ):
        out.write(
            f"starting a cloud and {len(VEHICLES)} vehicles in {folder}\n"
            f"they drive at {SPEED:g} times real speed: their time stamps run ahead of the clock\n"
        )
        out.flush()
        local.start()
        if keep:
            out.write(_how_to_connect(local))
        with local.connect(USER) as fleet:
            local.wait_online(fleet)
            with choose_view(out) as view:
                outcome = Story(fleet, view, clock or SystemClock()).play()
        out.write(escaped(summary(outcome), keep=LINES) + "\n")
        if keep:
            out.write(f"{_how_to_connect(local)}the fleet runs until Ctrl-C\n")
            out.flush()
            _wait_for_interrupt()
    return outcome


def summary(outcome: Outcome) -> str:
    """Return what the demo showed, for a person."""
    lines = ["", "What came back"]
    for job in outcome.jobs:
        lines.append(f"  {job.label:<8} {job.results} results, {job.rounds} rounds; {job.last}")
    lines += ["", "The swap of the custom code, while everything ran"]
    custom = outcome.jobs[-1] if outcome.jobs else None
    for name, version in (("before", outcome.first_version), ("after", outcome.second_version)):
        count = custom.by_version.get(version, 0) if custom else 0
        lines.append(f"  {name:<8} version {version[:SHORT_VERSION]}: {count} results")
    lines.append(f"  latency  {outcome.swap}")
    lines += [f"not seen in time: {what}" for what in outcome.unseen]
    lines.append(f"\n{outcome.seconds:.0f} s; every process of the demo was on this machine")
    return "\n".join(lines)


def _how_to_connect(local: LocalFleet) -> str:
    variables = " ".join(f"{k}={shlex.quote(v)}" for k, v in local.environ(USER).items())
    return f"\nin another terminal:\n  export {variables}\n  oodida vehicles\n\n"


def _free_default() -> str:
    """Return the address that analysts look at by default, if nobody else has it."""
    host, _, port = DEFAULT_CLOUD.removeprefix("tcp://").partition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return ANY_PORT
    return DEFAULT_CLOUD


def _wait_for_interrupt() -> None:
    """Wait until Ctrl-C (or a request to end), which is how a kept fleet is meant to end."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Turn a request to end (SIGTERM, a closed terminal) into what Ctrl-C does: clean up and go."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
