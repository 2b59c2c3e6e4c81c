"""Threads of another process, by name, and one of them held as if it hung."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["frozen", "frozen_asleep", "thread_named"]

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
ANY_THREAD = 0x40000000
"""__WALL of waitpid(2)."""


def thread_named(pid: int, name: str) -> int | None:
    """Return the thread of a process that goes by this name; None while there is none."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it ended meanwhile
            if (task / "comm").read_text().strip() == name:
                return int(task.name)
    return None


@contextmanager
def frozen(thread: int) -> Iterator[Callable[[], None]]:
    """Hold one thread as if it hung, by ptrace(2); the others go on.

    What it yields is to be called now and then: a process under ptrace ends for its parent only
    when we have seen its end.
    """
    _hold(thread)

    def reap() -> None:
        with suppress(ChildProcessError):
            os.waitpid(thread, ANY_THREAD | os.WNOHANG)

    try:
        yield reap
    finally:
        _let_go(thread)  # fails if the thread is gone, which is the aim here


@contextmanager
def frozen_asleep(thread: int) -> Iterator[Callable[[], None]]:
    """Hold a thread where it waits, so that it holds no lock that the others need.

    Raises: PermissionError, where threads of others may not be held.
    """
    while True:
        with frozen(thread) as reap:
            if _is_asleep(thread):
                yield reap
                return


def _is_asleep(thread: int) -> bool:
    """Whether a thread that is held waits in the kernel: -1 stands for code of its own."""
    return not Path(f"/proc/{thread}/syscall").read_text().startswith("-1")


def _hold(thread: int) -> None:
    for request in (_SEIZE, _INTERRUPT):
        if _ptrace(request, thread):
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace: {os.strerror(number)}")
    os.waitpid(thread, ANY_THREAD)


def _let_go(thread: int) -> None:
    _ptrace(_DETACH, thread)


def _ptrace(request: int, thread: int) -> int:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes, call.restype = [ctypes.c_long] * 4, ctypes.c_long
    return int(call(request, thread, 0, 0))
