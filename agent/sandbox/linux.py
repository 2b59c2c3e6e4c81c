"""The system calls that Python does not offer, by ctypes. Each raises OSError when it fails."""

import ctypes
import os

__all__ = ["close_from", "die_with_parent", "libc", "prctl", "reap_orphans"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGKILL = 9

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """Return the result of a C call, or raise what errno says about it."""
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")
    return result


def prctl(option: int, *arguments: int) -> int:
    """Set an attribute of this process."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(libc.prctl(option, *padded), f"prctl({option})")


def die_with_parent() -> None:
    """Be killed when the parent thread ends; set again after every change of credentials."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)


def reap_orphans() -> None:
    """Become the parent of descendants that lost theirs, so that none escapes the reaper."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def close_from(lowest: int) -> None:
    """Close every descriptor from ``lowest`` on."""
    os.closerange(lowest, 1 << 20)
