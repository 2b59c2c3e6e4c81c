"""The zygote: one bare interpreter with numpy loaded that forks a single-use worker per job.

It is executed fresh, never forked from the agent, with an empty environment and one thread. It
holds no job: descriptors pass through, the bytes behind them do not. When the agent's end of the
control socket closes, for whatever reason, it ends, and its workers with it.
"""

import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from agent.sandbox import control, envelope, execution, linux, rlimits, worker
from agent.sandbox.control import Exited, Hello, NotMade, Setup, Started
from agent.sandbox.lockdown import namespaces
from agent.sandbox.lockdown.cgroups import Delegated, Leaf
from agent.sandbox.lockdown.confinement import Confinement, enter
from agent.sandbox.lockdown.policy import Profile
from agent.sandbox.worker import Ground

__all__ = ["main"]

REHEARSAL_BYTES = 1024
PROFILES: dict[bytes, Profile] = {
    control.PYTHON_WORKER: "python",
    control.SPARE_WORKER: "python",
    control.EXTERNAL_WORKER: "external",
}
END_GRACE_MS = 1000
SPARE_AFTER_MS = 3
"""A spare is made when nothing came for so long: the job just begun needs the processor."""


@dataclass(frozen=True, eq=False)
class _Order:
    profile: Profile
    given: list[int]
    told: socket.socket

    def close(self) -> None:
        control.close_all(self.given)
        self.told.close()


@dataclass(frozen=True, eq=False)
class _Worker:
    pid: int
    told: socket.socket
    """Where the agent listens for this worker's end."""
    leaf: Leaf | None
    """Its cgroup, where there is one."""


class _Zygote:
    """Forks workers, reaps them, and tells the agent of each one's start and end."""

    def __init__(self, agent: socket.socket, ground: Ground, delegated: Delegated | None) -> None:
        self._agent = agent
        self._ground = ground
        self._delegated = delegated
        self._own_pidfd = os.pidfd_open(os.getpid())
        self._workers: dict[int, _Worker] = {}
        self._watched: dict[int, int] = {}
        """By the descriptor on which the agent watches a worker, the worker's pidfd."""
        self._later: dict[int, _Order] = {}
        """Orders of spares, by the same descriptor, oldest first."""
        self._poll = select.poll()
        self._poll.register(agent, select.POLLIN)

    def serve(self) -> None:
        """Serve until the agent is gone."""
        while True:
            events = self._poll.poll(SPARE_AFTER_MS if self._later else None)
            if not events:
                self._hire(self._later.pop(next(iter(self._later))))
            for fd, _ in events:
                if fd == self._agent.fileno():
                    if not self._take_order():
                        return
                else:
                    self._tend(fd)

    def _tend(self, fd: int) -> None:
        """See to a worker that ended, or to what the agent says of one."""
        if fd in self._workers:
            self._bury(fd)
        elif fd in self._later:
            order = self._later.pop(fd)
            if _word(order.told) == control.NOW:
                self._hire(order)
            else:
                self._poll.unregister(fd)
                order.close()
        elif fd in self._watched:
            self._heed(fd)

    def _take_order(self) -> bool:
        word, fds = control.receive(self._agent, control.ORDER_DESCRIPTORS)
        if not word:
            return False
        if word in PROFILES and len(fds) == control.ORDER_DESCRIPTORS:
            *given, status = fds
            order = _Order(PROFILES[word], given, socket.socket(fileno=status))
            self._poll.register(order.told, select.POLLIN)
            if word == control.SPARE_WORKER:
                self._later[status] = order
            else:
                self._hire(order)
        else:
            control.close_all(fds)
        return True

    def _hire(self, order: _Order) -> None:
        """Make a worker and hand its agent's ends over; or say that the machine refuses one."""
        try:
            self._make(order)
        except OSError as error:
            self._poll.unregister(order.told)
            with suppress(OSError):  # the agent gave this one up
                order.told.send(control.encode(NotMade(str(error))))
            order.told.close()
        finally:
            control.close_all(order.given)

    def _make(self, order: _Order) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told = order.told
        leaf = self._delegated.take() if self._delegated else None
        with ours, theirs:
            try:
                pid = self._fork(order.profile, (theirs.fileno(), *order.given), leaf)
            except OSError:
                if leaf is not None and self._delegated is not None:
                    self._delegated.give_back(leaf)
                raise
            pidfd = os.pidfd_open(pid)
            self._workers[pidfd] = _Worker(pid, told, leaf)
            self._poll.register(pidfd, select.POLLIN)
            self._watched[told.fileno()] = pidfd
            try:
                message = control.encode(Started(pid))
                socket.send_fds(told, [message], [pidfd, ours.fileno()])
            except OSError:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # the agent gave this one up

    def _fork(self, profile: Profile, descriptors: tuple[int, ...], leaf: Leaf | None) -> int:
        cgroup = leaf.prepare() if leaf else None
        apart = self._ground.confinement.level == "full"
        if apart:
            namespaces.next_child_is_first()
        try:
            pid = os.fork()
            if pid == 0:
                worker.main(descriptors, profile, self._ground, cgroup)
        finally:
            control.close_all(list(cgroup or ()))
            if apart:
                namespaces.undo_next(self._own_pidfd)
        return pid

    def _heed(self, told: int) -> None:
        """Kill a worker if the agent says so, or has closed its end."""
        pidfd = self._watched[told]
        if _word(self._workers[pidfd].told) == control.NOW:
            return
        self._unwatch(told)
        with suppress(ProcessLookupError):  # it has just ended by itself
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _unwatch(self, told: int) -> None:
        if self._watched.pop(told, None) is not None:
            self._poll.unregister(told)

    def _bury(self, pidfd: int) -> None:
        """Kill what a dead worker left behind, reap it, and tell its end to who waits for it."""
        dead = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        self._unwatch(dead.told.fileno())
        _kill_group(dead.pid)
        _, status, used = os.wait4(dead.pid, 0)
        os.close(pidfd)
        self._kill_strays()
        full = False
        if dead.leaf is not None and self._delegated is not None:
            full = dead.leaf.clear()
            self._delegated.give_back(dead.leaf)
        ended = Exited(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, full)
        with dead.told:
            try:
                dead.told.send(control.encode(ended))
            except OSError:
                return  # the agent gave this job up; there is nobody to tell

    def _kill_strays(self) -> None:
        """Kill and reap processes that fled a worker's session and were handed to us as orphans."""
        ours = {w.pid for w in self._workers.values()}
        for pid in _children():
            if pid not in ours:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _word(told: socket.socket) -> bytes:
    try:
        return told.recv(1)
    except OSError:
        return b""  # closed by the agent with something of ours unread


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
    linux.die_with_parent()  # a parent that is gone already has closed its end of the socket
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
    delegated = Delegated.claim(rlimits.TASKS_APART)
    claimed, why_not = (delegated, "") if isinstance(delegated, Delegated) else (None, delegated)
    try:
        _move(setup.confinement, agent, sees_cgroups=claimed is not None)
    except OSError as error:
        agent.send(control.encode(Hello(threads, f"this machine refuses a layer: {error}")))
        return
    linux.reap_orphans()
    bounded = claimed.controllers if claimed else ()
    agent.send(control.encode(Hello(threads, bounded=bounded, unbounded=why_not)))
    _Zygote(agent, ground, claimed).serve()


def _move(confinement: Confinement, agent: socket.socket, *, sees_cgroups: bool) -> None:
    """Go where the workers live, in a child; this process stays behind as its keeper.

    Whoever returns is the zygote. At level full it is the first process of its own process
    namespace, so that its end, however it comes, is the end of everything in it.
    """
    enter(confinement, sees_cgroups=sees_cgroups)
    linux.die_with_parent()
    pid = os.fork()
    if pid:
        _keep(pid, agent)
    linux.die_with_parent()
    linux.forbid_new_privileges()


def _keep(zygote: int, agent: socket.socket) -> NoReturn:
    """Wait until the zygote ends; kill it when the agent is gone and it does not end.

    So a zygote that is stopped or hangs does not stay. Only the agent's hang-up is looked for: its
    words are the zygote's.
    """
    pidfd = os.pidfd_open(zygote)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(agent, 0)
    if all(fd != pidfd for fd, _ in poll.poll()):
        poll.unregister(agent)
        if not poll.poll(END_GRACE_MS):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(zygote, 0)
    os._exit(0)
