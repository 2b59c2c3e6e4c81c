"""The kernel's own limits on a worker: hard, set by the worker on itself before foreign code runs.

The address space is limited for Python; an external worker's runtime may reserve far more address
space than it uses, so there the kernel counts writable private memory instead (RLIMIT_DATA).
"""

import math
import mmap
import resource

from user_lib.contract.assignment import Limits

__all__ = ["MB", "Room", "address_space_bytes", "apply", "settle"]

MB = 1 << 20
OPEN_FILES = 64
TASKS = 4096
"""Where the kernel counts all processes of the user, whatever they are."""
TASKS_APART = 128
"""Where it counts this worker's alone."""
CPU_BEYOND_S = 1
"""The agent looks at the processor time itself and says so; the kernel's limit comes after it."""
THREAD_STACK_BYTES = 2 * MB
"""Of a thread that code starts: it counts against the memory limit, and 8 MB each leave few."""
RUNTIME_MB = 64
"""What an external worker's runtime itself may need beyond the assignment's memory."""


def cgroup_bytes(limits: Limits, scratch_mb: int) -> int:
    """Return what a worker's cgroup may hold: its memory, its scratch, what it was made with."""
    return (limits.memory_mb + scratch_mb + RUNTIME_MB) * MB


class Room:
    """Address space that can be given back, so that running out of memory can still be told."""

    def __init__(self, size: int = 8 * MB) -> None:
        self.size = size
        self._reserve = mmap.mmap(-1, size)

    def release(self) -> None:
        """Give the reserve back; harmless when repeated."""
        self._reserve.close()


def address_space_bytes() -> int:
    """Return this process's address space now; 0 where /proc is hidden."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def settle(scratch_mb: int, *, apart: bool) -> None:
    """Limit what is the same for every job: files, descriptors, processes, no core dumps.

    ``apart`` says that this worker has a user namespace of its own.
    """
    _hard(resource.RLIMIT_FSIZE, scratch_mb * MB)
    _hard(resource.RLIMIT_NOFILE, OPEN_FILES)
    _hard(resource.RLIMIT_NPROC, TASKS_APART if apart else TASKS)
    _hard(resource.RLIMIT_CORE, 0)


def apply(limits: Limits, *, in_use_bytes: int, external: bool) -> None:
    """Limit this process's memory and processor time for good.

    Units:  ``in_use_bytes`` is address space that is in use already and stays free of charge;
            processor time counts in whole seconds here, and ends a worker whose agent does not.
    """
    memory = limits.memory_mb * MB
    if external:
        _hard(resource.RLIMIT_DATA, memory + RUNTIME_MB * MB)
    else:
        _hard(resource.RLIMIT_AS, in_use_bytes + memory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = used.ru_utime + used.ru_stime
    _hard(resource.RLIMIT_CPU, math.ceil(limits.cpu_s + spent_s) + CPU_BEYOND_S)


def _hard(which: int, value: int) -> None:
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        value = min(value, ceiling)
    resource.setrlimit(which, (value, value))
