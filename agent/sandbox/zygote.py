"""The zygote: one bare interpreter with numpy loaded that forks a single-use worker per job.

It is executed fresh, never forked from the agent, with an empty environment and one thread. It
holds no job: descriptors pass through, the bytes behind them do not. When the agent's end of the
control socket closes, for whatever reason, it ends, and its workers with it.
"""

import gc
import os
import resource
import select
import signal
import socket
import sys
from collections import deque
from dataclasses import dataclass

from agent.sandbox import control, envelope, execution, linux, rlimits, worker
from agent.sandbox.control import Exited, Hello, Setup, Started
from agent.sandbox.lockdown import namespaces
from agent.sandbox.lockdown.confinement import Confinement, enter
from agent.sandbox.lockdown.policy import Profile
from agent.sandbox.worker import Ground

__all__ = ["main"]

REFILL_AFTER_MS = 3
"""A spare is made when nothing came for so long: the job just begun needs the processor."""
REHEARSAL_BYTES = 1024
PROFILES: dict[bytes, Profile] = {control.JOB: "python", control.EXTERNAL_JOB: "external"}


@dataclass(frozen=True, eq=False)
class _Worker:
    pid: int
    pidfd: int
    channel: socket.socket


class _Zygote:
    """Owns the workers: which stand ready, which run and who is told of their end."""

    def __init__(self, agent: socket.socket, ground: Ground, spares: int) -> None:
        self._agent = agent
        self._ground = ground
        self._spares = spares
        self._own_pidfd = os.pidfd_open(os.getpid())
        self._workers: dict[int, _Worker] = {}
        self._ready: deque[_Worker] = deque()
        self._told: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._poll.register(agent, select.POLLIN)

    def serve(self) -> None:
        """Serve until the agent is gone; spares are made when nothing else waits."""
        while True:
            refill = len(self._ready) < self._spares
            events = self._poll.poll(REFILL_AFTER_MS if refill else None)
            if not events:
                self._ready.append(self._fork("python"))
            for fd, _ in events:
                if fd == self._agent.fileno():
                    if not self._take_job():
                        return
                else:
                    self._bury(fd)

    def _take_job(self) -> bool:
        word, fds = control.receive(self._agent, control.JOB_DESCRIPTORS)
        if not word:
            return False
        if word in PROFILES and len(fds) == control.JOB_DESCRIPTORS:
            *given, status = fds
            self._start(PROFILES[word], given, socket.socket(fileno=status))
            fds = given
        control.close_all(fds)
        return True

    def _start(self, profile: Profile, given: list[int], told: socket.socket) -> None:
        """Hand a job to a worker and tell the agent; without a Started the agent sees the end."""
        handed = None
        while handed is None:
            spare = profile == "python" and bool(self._ready)
            candidate = self._ready.popleft() if spare else self._fork(profile)
            try:
                socket.send_fds(candidate.channel, [control.JOB], given)
                handed = candidate
            except OSError:
                continue
        handed.channel.close()
        self._told[handed.pidfd] = told
        try:
            socket.send_fds(told, [control.encode(Started(handed.pid))], [handed.pidfd])
        except OSError:
            signal.pidfd_send_signal(handed.pidfd, signal.SIGKILL)

    def _fork(self, profile: Profile) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        apart = self._ground.confinement.level == "full"
        if apart:
            namespaces.next_child_is_first()
        pid = os.fork()
        if pid == 0:
            worker.main(theirs.fileno(), profile, self._ground)
        if apart:
            namespaces.undo_next(self._own_pidfd)
        theirs.close()
        made = _Worker(pid, os.pidfd_open(pid), ours)
        self._workers[made.pidfd] = made
        self._poll.register(made.pidfd, select.POLLIN)
        return made

    def _bury(self, pidfd: int) -> None:
        """Kill what a dead worker left behind, reap it, and tell its end to who waits for it."""
        dead = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        _kill_group(dead.pid)
        _, status, used = os.wait4(dead.pid, 0)
        os.close(pidfd)
        dead.channel.close()
        if dead in self._ready:
            self._ready.remove(dead)
        self._kill_strays()
        told = self._told.pop(pidfd, None)
        if told is not None:
            self._tell_end(told, status, used)

    def _tell_end(self, told: socket.socket, status: int, used: resource.struct_rusage) -> None:
        ended = Exited(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        with told:
            try:
                told.send(control.encode(ended))
            except OSError:
                return  # the agent gave this job up; there is nobody to tell

    def _kill_strays(self) -> None:
        """Kill and reap processes that fled a worker's session and were handed to us as orphans."""
        ours = {w.pid for w in self._workers.values()}
        for pid in _children():
            if pid not in ours:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it never became a group, or only its own zombie is left in it


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
            return [int(pid) for pid in children.read().split()]
    except OSError:
        return []  # inside a process namespace, whose first process takes its strays with it


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def main(control_fd: int) -> None:
    """Load, freeze, greet, serve. Runs in a process that the agent executed for this alone."""
    agent = socket.socket(fileno=control_fd)
    datagram, _ = control.receive(agent)
    if not datagram:
        return
    setup = control.decode(datagram)
    if not isinstance(setup, Setup):
        sys.exit(f"expected Setup, got {type(setup).__name__}")
    execution.warm_up()
    rehearsal_fd = envelope.seal(execution.rehearsal(), output_bytes=REHEARSAL_BYTES)
    worker.rehearse(rehearsal_fd)
    ground = Ground(
        setup.confinement, rehearsal_fd, rlimits.address_space_bytes(), setup.scratch_mb
    )
    threads = _threads()
    gc.collect()
    gc.freeze()
    try:
        _move(setup.confinement, agent)
    except OSError as error:
        agent.send(control.encode(Hello(threads, f"this machine refuses a layer: {error}")))
        return
    linux.reap_orphans()
    agent.send(control.encode(Hello(threads)))
    _Zygote(agent, ground, setup.spares).serve()


def _move(confinement: Confinement, agent: socket.socket) -> None:
    """Go where the workers live. At level full, this process stays outside, waiting.

    Whoever returns is the zygote; there it is the first process of its own process namespace, so
    that its end, however it comes, is the end of everything in it.
    """
    enter(confinement)
    if confinement.level != "full":
        linux.forbid_new_privileges()
        return
    pid = os.fork()
    if pid:
        agent.close()
        os.waitpid(pid, 0)
        os._exit(0)
    linux.die_with_parent()
    linux.forbid_new_privileges()
