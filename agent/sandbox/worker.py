"""A worker: one process, one job, no return. It is forked by the zygote and never serves twice.

While idle it makes itself ready; then it takes one job, limits itself, runs it, writes one answer
and ends. How it ended is never taken from its own word: the zygote, its parent, reports that.
"""

import os
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from agent.sandbox import answer, control, custom, envelope, execution, external, linux, rlimits
from agent.sandbox.answer import Answer
from agent.sandbox.envelope import Header
from agent.sandbox.lockdown.confinement import Confinement, Unconfined, lock
from agent.sandbox.lockdown.policy import Profile
from user_lib.contract.window import Window

__all__ = [
    "EXIT_BROKEN",
    "EXIT_NO_ANSWER",
    "EXIT_REFUSED",
    "Ground",
    "main",
    "rehearse",
]

EXIT_REFUSED = 118
"""An external worker was not started; why is among the prints."""
EXIT_BROKEN = 119
"""The worker itself failed, before or beside the code that it ran."""
EXIT_NO_ANSWER = 120
"""The answer could not be written: the code closed the worker's descriptors."""
CHANNEL, REHEARSAL = 3, 4
NICE = 10
DETAIL_CHARS = answer.DETAIL_CHARS


@dataclass(frozen=True, slots=True)
class Ground:
    """What every worker of a zygote starts from."""

    confinement: Confinement
    rehearsal_fd: int
    baseline_bytes: int
    """Address space that the zygote itself takes, which no job pays for."""
    scratch_mb: int


def main(channel_fd: int, profile: Profile, ground: Ground) -> NoReturn:
    """Live a worker's whole life; the process ends here, whatever happens."""
    status = EXIT_BROKEN
    try:
        channel = _settle(channel_fd, ground.rehearsal_fd)
        live = _live if profile == "python" else _live_external
        status = live(channel, ground)
    except BaseException:  # noqa: BLE001 - the last words of a process, whatever ended it
        traceback.print_exc()
    finally:
        os._exit(status)


def _live(channel: socket.socket, ground: Ground) -> int:
    """Lock down, wait for a job, run it in Python, answer."""
    problem = _lock("python", ground)
    rehearse(REHEARSAL)
    os.close(REHEARSAL)
    execution.fresh_randomness()
    room = rlimits.Room()
    taken = _take_job(channel)
    if taken is None:
        return 0
    header, window, size, answer_fd = taken
    rlimits.apply(
        header.limits,
        in_use_bytes=ground.baseline_bytes + size + room.size,
        external=False,
        scratch_mb=ground.scratch_mb if ground.confinement.scratch else 0,
    )
    if problem and header.method == "custom":
        said = Answer(status="refused", reason="sandbox", detail=problem)
    else:
        said = execution.answered(header, window, room)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    try:
        answer.write_all(answer_fd, execution.encoded(said, header, room))
    except OSError:
        return EXIT_NO_ANSWER
    return 0


def _live_external(channel: socket.socket, ground: Ground) -> int:
    """Take a job, put its request in place, lock down, become the external worker."""
    taken = _take_job(channel)
    if taken is None:
        return 0
    header, window, _, answer_fd = taken
    external.place(external.request_line(header, window), answer_fd)
    problem = _lock("external", ground)
    if problem:
        sys.stderr.write(problem)
        return EXIT_REFUSED
    scratch_mb = ground.scratch_mb if ground.confinement.scratch else 0
    rlimits.apply(header.limits, in_use_bytes=0, external=True, scratch_mb=scratch_mb)
    try:
        external.execute(header.argv, ground.confinement.scratch)
    except OSError as error:
        sys.stderr.write(f"cannot execute {header.argv[0]}: {error.strerror}\n")
        return EXIT_BROKEN


def _lock(profile: Profile, ground: Ground) -> str:
    """Lock this process down; return why foreign code must not run in it, empty when it may."""
    try:
        lock(ground.confinement, profile, ground.scratch_mb)
    except Unconfined as error:
        return str(error)
    scratch = ground.confinement.scratch
    if scratch:
        os.chdir(scratch)
        os.environ.update(HOME=scratch, TMPDIR=scratch)
    return ""


def rehearse(job_fd: int) -> None:
    """Go a job's way once, so that its pages are this process's own when the real one comes.

    Raises: RuntimeError, when even this does not work here.
    """
    header, window, _ = envelope.read(job_fd)
    room = rlimits.Room()
    said = execution.answered(header, window, room)
    room.release()
    if answer.parse(execution.encoded(said, header, room)).status != "ok":
        raise RuntimeError(f"the sandbox's rehearsal failed: {said.detail}")
    sys.modules.pop(custom.MODULE)


def _take_job(channel: socket.socket) -> tuple[Header, Window | None, int, int] | None:
    """Wait for the job; return it, its size in bytes and where its answer goes."""
    word, fds = control.receive(channel, control.JOB_DESCRIPTORS - 1)
    channel.close()
    if not word:
        return None
    job_fd, answer_fd, prints_fd = fds
    os.dup2(prints_fd, 1)
    os.dup2(prints_fd, 2)
    os.close(prints_fd)
    header, window, size = envelope.read(job_fd)
    os.close(job_fd)
    return header, window, size, answer_fd


def _settle(channel_fd: int, rehearsal_fd: int) -> socket.socket:
    """Keep the channel and nothing else of the zygote's."""
    os.setsid()
    os.nice(NICE)
    linux.die_with_parent()
    for high, low in zip(
        (os.dup(channel_fd), os.dup(rehearsal_fd)), (CHANNEL, REHEARSAL), strict=True
    ):
        os.dup2(high, low, inheritable=False)
    linux.close_from(REHEARSAL + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    _open_streams()
    os.chdir("/")
    return socket.socket(fileno=CHANNEL)


def _open_streams() -> None:
    """Make stdout and stderr write line by line; where they lead is decided with the job."""
    for name, target in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115 - lives as long as the process
            target, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
