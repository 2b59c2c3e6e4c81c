"""Namespaces: a file system of its own for the zygote, and one of everything for each worker.

The zygote enters a user namespace, builds a root that holds the interpreter read-only and nothing
else, moves into it, and from then on makes each worker the first process of a process namespace,
with mounts, IPC, host name, network and cgroup view of its own. Whoever ends the first process ends
all of it.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress

from agent.sandbox import linux

__all__ = [
    "DEVICES",
    "SYSTEM",
    "become_nobody",
    "enter",
    "isolate_worker",
    "next_child_is_first",
    "try_user_namespace",
    "undo_next",
]

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
AT_FDCWD = -100
AT_RECURSIVE = 0x8000

NOBODY = 65534
STAGE = "/tmp"  # noqa: S108 - any directory will do: the new root is put together on top of it
OLD = "/.old"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
SCRATCH_INODES = 1024
HOST_NAME = b"sandbox"


def enter(readable: Iterable[str], scratch: str, *, sees_cgroups: bool = False) -> None:
    """Move this process, which has one thread, into a root of its own; then into a user namespace.

    ``readable`` are the files and directories that exist in the new root, read-only; ``scratch`` is
    a place in it for each worker to mount its own. Ends with this process in namespaces of which it
    has every capability, over nothing that matters outside.
    Raises: OSError, at the first step that the machine does not allow; the process is unfit then.
    """
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    root = os.geteuid() == 0
    if root:
        _unshare(NEWNS)
    else:
        _enter_user_namespace(proc, NEWNS)
    _move_into_new_root(sorted({*SYSTEM, *readable}), scratch)
    if root:
        become_nobody()
        _enter_user_namespace(proc, NEWNS)
    os.close(proc)
    _unshare(NEWPID | NEWNET | NEWIPC | NEWUTS | (0 if sees_cgroups else NEWCGROUP))


def try_user_namespace() -> None:
    """Enter a user and a process namespace, only to see whether this machine lets this user.

    Raises: OSError.
    """
    _unshare(NEWUSER | NEWPID)


def become_nobody() -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def next_child_is_first() -> None:
    """Let the next fork be the first process of a new process namespace."""
    _unshare(NEWPID)


def undo_next(own_pidfd: int) -> None:
    """Let later forks stay here again; a process may only unshare from its own namespace."""
    linux.checked(linux.libc.setns(own_pidfd, NEWPID), "setns")


def isolate_worker(scratch: str, scratch_mb: int) -> None:
    """Give this worker mounts, IPC, host name, network and cgroup view of its own, and a scratch.

    Then a user namespace in which no user is known: nothing can be gained there, and the kernel
    counts this worker's threads apart from those of all others.
    Raises: OSError.
    """
    _unshare(NEWNS | NEWIPC | NEWUTS | NEWNET | NEWCGROUP)
    options = f"size={max(1, scratch_mb)}m,nr_inodes={SCRATCH_INODES},mode=0700"
    _mount("scratch", scratch, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    linux.checked(linux.libc.sethostname(HOST_NAME, len(HOST_NAME)), "sethostname")
    _unshare(NEWUSER)


class _NewRoom:
    """The new root while it is put together on STAGE."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._sources = [
            (path, os.open(path, os.O_PATH | os.O_CLOEXEC))
            for path in paths
            if os.path.exists(path)
        ]
        _mount("root", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=4096,mode=0755")

    def furnish(self) -> None:
        """Bind every path to its place, read-only."""
        bound: list[str] = []
        for path, fd in self._sources:
            if not any(path == b or path.startswith(f"{b}/") for b in bound):
                _bind(fd, STAGE + path, os.path.isdir(f"/proc/self/fd/{fd}"))
                bound.append(path)
            os.close(fd)


def _move_into_new_root(paths: list[str], scratch: str) -> None:
    linux.checked(linux.libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount private")
    room = _NewRoom([*DEVICES, *paths])
    room.furnish()
    for directory in (OLD, scratch):
        os.makedirs(STAGE + directory, exist_ok=True)
    linux.syscall("pivot_root", STAGE.encode(), (STAGE + OLD).encode())
    os.chdir("/")
    linux.checked(linux.libc.umount2(OLD.encode(), MNT_DETACH), "umount old root")
    os.rmdir(OLD)
    _set_attributes("/", ATTR_RDONLY, recursive=False)


def _bind(fd: int, target: str, directory: bool) -> None:
    if directory:
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    _mount(f"/proc/self/fd/{fd}", target, None, MS_BIND | MS_REC, None)
    device = target.startswith(f"{STAGE}/dev/")
    with suppress(FileNotFoundError):
        attributes = ATTR_NOSUID if device else ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
        _set_attributes(target, attributes, recursive=True)


def _enter_user_namespace(proc: int, more: int) -> None:
    """Enter a user namespace in which this user is itself, and nobody else exists."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(NEWUSER | more)
    for name, text in (
        ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"),
    ):  # fmt: skip
        fd = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _unshare(flags: int) -> None:
    linux.checked(linux.libc.unshare(flags), f"unshare({flags:#x})")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    data = options.encode() if options is not None else None
    result = linux.libc.mount(*arguments, ctypes.c_ulong(flags), data)
    linux.checked(result, f"mount {source} on {target}")


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    held = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    linux.syscall(
        "mount_setattr",
        AT_FDCWD,
        path.encode(),
        AT_RECURSIVE if recursive else 0,
        ctypes.addressof(held),
        32,
    )
