"""A worker: one process, one job, no return. It is forked by the zygote and never serves twice.

While idle it makes itself ready; then it takes one job, limits itself, runs it, writes one answer
and ends. How it ended is never taken from its own word: the zygote, its parent, reports that.
"""

import errno
import fcntl
import os
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
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
CHANNEL, ANSWER, PRINTS, REHEARSAL, MEMORY = 3, 4, 5, 6, 7
LAST = MEMORY
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


def main(
    descriptors: Sequence[int],
    profile: Profile,
    ground: Ground,
    cgroup: tuple[int, int] | None = None,
) -> NoReturn:
    """Live a worker's whole life; the process ends here, whatever happens.

    ``descriptors`` are its channel and the pipes of its answer and its prints; ``cgroup``, where it
    joins its own and where it sets the memory of that.
    """
    status = EXIT_BROKEN
    try:
        if cgroup is not None:
            os.write(cgroup[0], b"0")
        bound = () if cgroup is None else cgroup[1:]
        channel = _settle((*descriptors, ground.rehearsal_fd, *bound))
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
    header, window, size = taken
    _bound_memory(header, ground)
    rlimits.apply(
        header.limits,
        in_use_bytes=ground.baseline_bytes + size + room.size,
        external=False,
    )
    if problem and header.method == "custom":
        said = Answer(status="refused", reason="sandbox", detail=problem)
    else:
        said = execution.answered(header, window, room)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    try:
        answer.write_all(ANSWER, execution.encoded(said, header, room))
    except OSError:
        return EXIT_NO_ANSWER
    return 0


def _live_external(channel: socket.socket, ground: Ground) -> int:
    """Take a job, put its request in place, lock down, become the external worker."""
    taken = _take_job(channel)
    if taken is None:
        return 0
    header, window, _ = taken
    _bound_memory(header, ground)
    external.place(external.request_line(header, window), ANSWER)
    problem = _lock("external", ground)
    if problem:
        sys.stderr.write(problem)
        return EXIT_REFUSED
    rlimits.apply(header.limits, in_use_bytes=0, external=True)
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
    rlimits.settle(ground.scratch_mb if scratch else 0, apart=bool(scratch))
    if scratch:
        os.chdir(scratch)
        os.environ.update(HOME=scratch, TMPDIR=scratch)
    return ""


def _bound_memory(header: Header, ground: Ground) -> None:
    """Tell this worker's cgroup, if it has one, what the job may use; then close the way there."""
    try:
        os.write(MEMORY, str(rlimits.cgroup_bytes(header.limits, ground.scratch_mb)).encode())
        os.close(MEMORY)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


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


def _take_job(channel: socket.socket) -> tuple[Header, Window | None, int] | None:
    """Wait for the job; return it and its size in bytes, None when there will be none."""
    word, fds = control.receive(channel, 1)
    channel.close()
    if not word:
        return None
    (job_fd,) = fds
    job = envelope.read(job_fd)
    os.close(job_fd)
    return job


def _settle(descriptors: Sequence[int]) -> socket.socket:
    """Keep what is this worker's and nothing else of the zygote's."""
    os.setsid()
    os.nice(NICE)
    linux.die_with_parent()
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LAST + 1) for fd in descriptors]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    places = (CHANNEL, ANSWER, PRINTS, REHEARSAL, MEMORY)[: len(above)]
    for fd, place in zip(above, places, strict=True):
        os.dup2(fd, place, inheritable=False)
    os.dup2(null, 0)
    for place in (1, 2):
        os.dup2(PRINTS, place)
    os.close(PRINTS)
    linux.close_from(places[-1] + 1)
    _open_streams()
    threading.stack_size(rlimits.THREAD_STACK_BYTES)
    os.chdir("/")
    return socket.socket(fileno=CHANNEL)


def _open_streams() -> None:
    """Make stdout and stderr write line by line, each to where the agent reads it."""
    for name, target in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115 - lives as long as the process
            target, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
