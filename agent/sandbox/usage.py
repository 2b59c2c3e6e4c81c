"""What a worker has used, as the kernel tells the agent about another process.

A worker that has answered is ended at once; what it used is read just before, without waiting for
its memory to be torn down. A worker that ends by itself is measured by its waiting parent.
"""

import os
import time
from dataclasses import dataclass

__all__ = ["Meter", "Usage"]

PROCESS_CLOCK = 2
"""Of the kernel's numbers for processor clocks: the whole process, scheduler's precision."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time and peak memory."""

    cpu_s: float
    max_rss_mb: float


class Meter:
    """Reads a live process's usage; from its making on, so that a job pays for itself alone."""

    def __init__(self, pidfd: int) -> None:
        self._pid = _pid_of(pidfd)
        self._before_s = self._cpu_s() if self._pid else 0.0

    def since(self, total_cpu_s: float) -> float:
        """Return the part of a process's whole processor time that came after this meter's making.

        Units: seconds.
        """
        return max(0.0, total_cpu_s - self._before_s)

    def spent_s(self) -> float:
        """Return the processor time so far; 0 when the process cannot be seen."""
        return self.since(self._cpu_s()) if self._pid else 0.0

    def read(self) -> Usage | None:
        """Return the usage so far; None when the process cannot be seen (any more)."""
        if not self._pid:
            return None
        try:
            peak_mb = self._peak_mb()
            return Usage(self.since(self._cpu_s()), peak_mb) if peak_mb else None
        except OSError:
            return None

    def _cpu_s(self) -> float:
        """Return the larger of two views, each of which can lag.

        The process clock counts all threads but, once a limit is set, moves in ticks only; the
        scheduler's own count is exact but of the first thread.
        """
        try:
            clock_s = time.clock_gettime((~self._pid << 3) | PROCESS_CLOCK)
            exact_ns = int(_read(f"/proc/{self._pid}/schedstat").split()[0])
        except (OSError, IndexError):
            return 0.0
        return max(clock_s, exact_ns / 1e9)

    def _peak_mb(self) -> float:
        for line in _read(f"/proc/{self._pid}/status").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


def _pid_of(pidfd: int) -> int:
    """Return a pidfd's process id in our own namespace; 0 when there is none to see."""
    try:
        for line in _read(f"/proc/self/fdinfo/{pidfd}").splitlines():
            if line.startswith("Pid:"):
                return max(0, int(line.split()[1]))
    except OSError:
        return 0
    return 0


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 8192).decode()
    finally:
        os.close(fd)
