"""The system calls that Python does not offer, by ctypes. Each raises OSError when it fails."""

import ctypes
import os

from agent.sandbox.lockdown import syscalls

__all__ = [
    "PR_SET_DUMPABLE",
    "checked",
    "close_from",
    "die_with_parent",
    "drop_all_capabilities",
    "forbid_new_privileges",
    "libc",
    "machine",
    "prctl",
    "reap_orphans",
    "syscall",
]

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
SECURE_NO_ROOT_LOCKED = 0x2F
"""Being root by number gives nothing, for good: noroot, no setuid fixup, no ambient, all locked."""
SIGKILL = 9

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """Return the result of a C call, or raise what errno says about it."""
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")
    return result


def machine() -> str:
    """Return the architecture, as ``platform.machine()`` does, but caching no host name."""
    return os.uname().machine


def syscall(name: str, *arguments: int | bytes) -> int:
    """Make a system call by name.

    Raises: KeyError, on an architecture whose numbers we do not have; OSError.
    """
    number = syscalls.number(name, machine())
    given = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *given), name)


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


def forbid_new_privileges() -> None:
    """Make set-user-id files and file capabilities powerless for this process, for good."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_all_capabilities() -> None:
    """Give up every capability, and every way to get one back."""
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break  # beyond the last that this kernel knows, or none may be dropped
    libc.prctl(PR_SET_SECUREBITS, ctypes.c_ulong(SECURE_NO_ROOT_LOCKED), 0, 0, 0)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked(libc.capset(header, nothing), "capset")


def close_from(lowest: int) -> None:
    """Close every descriptor from ``lowest`` on."""
    os.closerange(lowest, 1 << 20)
