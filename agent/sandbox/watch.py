"""One worker from the agent's side: the job it is given, its answer, its prints, its time, its end.

Each worker is followed on the thread that gave it its job, over descriptors that no other shares.
"""

import math
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from agent.sandbox import answer, control
from agent.sandbox.control import Exited, NotMade, Started
from agent.sandbox.usage import Meter, Usage
from user_lib.contract.assignment import Limits
from user_lib.contract.errors import ProtocolError

__all__ = ["Observed", "Terms", "Watch"]

READ_BYTES = 1 << 18
PRINTS_KEPT_BYTES = 64 * 1024
PRINTS_MOST_BYTES = 16 << 20
EXIT_GRACE_S = 1.0
"""How long a worker may take to end after its answer."""
KILL_GRACE_S = 5.0
"""How long the kernel and the zygote may take to report a killed worker."""
LONGEST_WAIT_S = 3600.0
"""What one wait takes at most; the kernel has a limit, and nothing else ends a longer one."""
CPU_GRAIN_S = 0.02
CORES = os.cpu_count() or 1

Stop: TypeAlias = Literal["", "wall", "cpu", "output", "done"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is the same for every job of a kind."""

    start_timeout_s: float
    output_bytes: int
    external: bool


@dataclass(slots=True)
class Observed:
    """What was seen of a job, for `agent.sandbox.verdict` to judge.

    ``stopped`` says why the agent killed it: its time or its processor time was up, it wrote too
    much, or it had answered but did not end.
    """

    answer: bytearray = field(default_factory=bytearray)
    prints: bytearray = field(default_factory=bytearray)
    prints_cut_bytes: int = 0
    stopped: Stop = ""
    malformed: str = ""
    not_made: str = ""
    started: bool = False
    exited: Exited | None = None
    used: Usage | None = None
    wall_s: float = 0.0


class Watch:
    """The agent's ends of one worker's descriptors. Owns and closes them."""

    def __init__(self, terms: Terms, status: socket.socket, answer_fd: int, prints_fd: int) -> None:
        self._terms = terms
        self._status = status
        self._answer_fd, self._prints_fd = answer_fd, prints_fd
        self._pidfd = self._channel_fd = -1
        self._open = {answer_fd, prints_fd}
        self._poll = select.poll()
        self._poll.register(status, select.POLLIN)
        os.set_blocking(answer_fd, False)
        os.set_blocking(prints_fd, False)
        self._seen = Observed()
        self._complete = False
        self._lost = False

    @property
    def started(self) -> bool:
        """Whether a worker has the job."""
        return self._seen.started

    @property
    def is_over(self) -> bool:
        """Whether the worker or its zygote ended already; looks without waiting."""
        if self._poll.poll(0):
            self._read_status()
        return self._lost or self._seen.exited is not None

    def hand_over(self, job_fd: int) -> None:
        """Give the worker its job, waiting for the worker to exist."""
        deadline = time.monotonic() + self._terms.start_timeout_s
        if self._channel_fd < 0:
            with suppress(OSError):  # the wait below sees that the zygote is gone
                self._status.send(control.NOW)
        while self._channel_fd < 0 and not self._lost:
            if self._poll.poll(_until_ms(deadline)):
                self._read_status()
            else:
                self._lost = True
        if self._lost:
            return
        with socket.socket(fileno=self._channel_fd) as channel:
            self._channel_fd = -1
            try:
                socket.send_fds(channel, [control.JOB], [job_fd])
            except OSError:
                self._meter = Meter(self._pidfd)
                return  # the worker ended while idle; its status says so
        self._meter = Meter(self._pidfd)  # while the worker begins
        self._seen.started = True

    def follow(self, limits: Limits) -> Observed:
        """Return when the worker has ended, or when its zygote is gone; never later than the limit.

        Wall time runs from now on, by the monotonic clock. Processor time is looked at when it can
        have been used up: the kernel's own limit counts whole seconds, and takes longer.
        """
        seen = self._seen
        began = time.monotonic()
        deadline = began + limits.wall_s
        look_at = began + max(CPU_GRAIN_S, limits.cpu_s / CORES)
        for fd in self._open:
            self._poll.register(fd, select.POLLIN)
        while seen.used is None and not self._lost:
            ready = self._poll.poll(_until_ms(min(deadline, look_at)))
            complete = self._complete
            for fd, _ in ready:
                self._read(fd)
            if seen.exited is not None:
                cpu_s = self._meter.since(seen.exited.cpu_s)
                seen.used = Usage(cpu_s, seen.exited.max_rss_mb)
            else:
                deadline = self._decide(deadline, has_answered=self._complete and not complete)
                look_at, deadline = self._look(look_at, deadline, limits.cpu_s)
        self._drain()
        seen.wall_s = time.monotonic() - began
        return seen

    def _decide(self, deadline: float, *, has_answered: bool) -> float:
        """Do what the time and what was read ask for; return the deadline from now on."""
        now = time.monotonic()
        if has_answered:
            deadline = min(deadline, self._answered(now))
        if self._seen.stopped == "" and (self._seen.malformed or self._flooded()):
            return self._stop("done" if self._seen.malformed else "output")
        return self._overdue() if now >= deadline else deadline

    def _look(self, look_at: float, deadline: float, cpu_s: float) -> tuple[float, float]:
        """Stop a worker that has used its processor time; return when to look next, and deadline.

        Threads may run on every core, so the rest is divided by them.
        """
        now = time.monotonic()
        if self._seen.stopped or self._complete:
            return math.inf, deadline
        if now < look_at:
            return look_at, deadline
        left_s = cpu_s - self._meter.spent_s()
        if left_s <= 0:
            return math.inf, self._stop("cpu")
        return now + max(CPU_GRAIN_S, left_s / CORES), deadline

    def _answered(self, now: float) -> float:
        """End a worker that has answered; return the deadline for those that end by themselves.

        The exit code of an external worker counts, so that one gets a moment to exit.
        """
        if not self._terms.external:
            self._seen.used = self._meter.read()
            if self._seen.used is not None:
                self._stop("done")
        return now + EXIT_GRACE_S

    def _drain(self) -> None:
        """Read what is in the pipes by now; a pipe holds less than one read."""
        for fd in tuple(self._open):
            self._read(fd)

    def close(self) -> None:
        """Close every descriptor."""
        os.close(self._answer_fd)
        os.close(self._prints_fd)
        self._status.close()
        control.close_all([fd for fd in (self._pidfd, self._channel_fd) if fd >= 0])

    def _overdue(self) -> float:
        """Decide what an expired deadline means; return the next one."""
        if self._seen.stopped:
            self._lost = True
            return 0.0
        return self._stop("done" if self._complete else "wall")

    def _stop(self, why: Stop) -> float:
        self._seen.stopped = why
        if self._pidfd >= 0:
            self._kill()
        return time.monotonic() + KILL_GRACE_S

    def _kill(self) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has just ended by itself
        except PermissionError:
            with suppress(OSError):  # a zygote that is gone has taken its workers along
                self._status.send(control.KILL)

    def _read(self, fd: int) -> None:
        if fd == self._status.fileno():
            self._read_status()
            return
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._poll.unregister(fd)
            self._open.discard(fd)
        elif fd == self._prints_fd:
            self._keep_prints(data)
        elif not self._complete:
            self._keep_answer(data)

    def _read_status(self) -> None:
        datagram, fds = self._receive()
        if not datagram:
            self._lost = True
            return
        try:
            message = control.decode(datagram)
        except msgspec.DecodeError:
            self._lost = True
            control.close_all(fds)
            return
        if isinstance(message, Started) and len(fds) == control.STARTED_DESCRIPTORS:
            self._pidfd, self._channel_fd = fds
            fds = []
        elif isinstance(message, Exited):
            self._seen.exited = message
        elif isinstance(message, NotMade):
            self._seen.not_made = message.problem
            self._lost = True
        control.close_all(fds)

    def _receive(self) -> tuple[bytes, list[int]]:
        """Return the zygote's next word, empty when there will be none."""
        with suppress(OSError):
            try:
                return control.receive(self._status, control.STARTED_DESCRIPTORS)
            except ConnectionResetError:  # it left with a word of ours unread; its last ones follow
                return control.receive(self._status, control.STARTED_DESCRIPTORS)
        return b"", []

    def _keep_prints(self, data: bytes) -> None:
        room = PRINTS_KEPT_BYTES - len(self._seen.prints)
        self._seen.prints += data[:room]
        self._seen.prints_cut_bytes += max(0, len(data) - room)

    def _keep_answer(self, data: bytes) -> None:
        """Collect until the first frame or line is complete; what follows it is ignored."""
        kept = self._seen.answer
        kept += data
        if self._terms.external:
            end = kept.find(b"\n") + 1
        else:
            try:
                length = answer.frame_length(kept, self._terms.output_bytes)
            except ProtocolError as error:
                self._seen.malformed = str(error)
                return
            end = length if length is not None and len(kept) >= length else 0
        if end:
            del kept[end:]
            self._complete = True

    def _flooded(self) -> bool:
        if self._seen.prints_cut_bytes > PRINTS_MOST_BYTES:
            return True
        most = self._terms.output_bytes + answer.OVERHEAD_BYTES
        return self._terms.external and len(self._seen.answer) > most


def _until_ms(deadline: float) -> float:
    """Return how long to wait for a time of the monotonic clock."""
    return min(LONGEST_WAIT_S, max(0.0, deadline - time.monotonic())) * 1000
