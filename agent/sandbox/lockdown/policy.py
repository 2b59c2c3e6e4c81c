"""Which system calls sandboxed code may make: two allow-lists; everything else answers EPERM.

``python`` is for the analyst's code and built-in methods: it computes, starts threads, and keeps
files in its scratch. ``external`` is for engineer-installed workers: it may also execute, fork and
translate code at run time. Neither opens a socket that leads anywhere, nor reaches another process.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["PROFILES", "Any", "Masked", "Policy", "Profile", "Rule", "policy"]

Profile: TypeAlias = Literal["python", "external"]
PROFILES: tuple[Profile, ...] = ("python", "external")


@dataclass(frozen=True, slots=True)
class Masked:
    """Allow when ``argument & mask`` is (or, without ``equal``, is not) ``value``."""

    argument: int
    mask: int
    value: int
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Any:
    """Allow when an argument is one of ``values``."""

    argument: int
    values: tuple[int, ...]


Rule: TypeAlias = Masked | Any


@dataclass(frozen=True, slots=True)
class Policy:
    """``allowed`` outright, ``checked`` by an argument, ``missing`` (answers ENOSYS)."""

    allowed: frozenset[str]
    checked: tuple[tuple[str, Rule], ...]
    missing: tuple[str, ...] = ("clone3",)
    """Its flags are behind a pointer that no filter can follow; libc then falls back to clone."""


_COMPUTE = """
read write readv writev pread64 pwrite64 preadv pwritev lseek close close_range fstat newfstatat
stat lstat statx access faccessat faccessat2 open openat readlink readlinkat getdents64 getcwd
chdir fchdir mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 ftruncate truncate
fallocate fsync fdatasync fadvise64 dup dup2 dup3 pipe pipe2 poll ppoll select pselect6
epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 munmap mremap brk msync
futex set_robust_list rseq set_tid_address gettid getpid getppid getuid geteuid
getgid getegid getgroups getpgrp getpgid getsid getresuid getresgid getrusage times clock_gettime
clock_getres clock_nanosleep nanosleep gettimeofday time sched_yield sched_getaffinity
sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
exit exit_group getrandom uname sysinfo arch_prctl setitimer getitimer alarm pause umask getrlimit
restart_syscall recvmsg
"""
_EXECUTE = """
execve execveat fork vfork wait4 waitid tkill setpgid setsid getpriority setpriority memfd_create
sched_setaffinity sched_setscheduler sched_setparam sched_getattr sched_rr_get_interval
timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create
timerfd_settime timerfd_gettime signalfd4 inotify_init1 inotify_add_watch inotify_rm_watch chmod
fchmod fchmodat utimensat symlink symlinkat link linkat statfs fstatfs getxattr lgetxattr
fgetxattr listxattr get_mempolicy mbind set_mempolicy capget mlock munlock mlock2 rt_sigqueueinfo
rt_tgsigqueueinfo shutdown sendto recvfrom getsockname getpeername getsockopt setsockopt
epoll_create epoll_pwait2 eventfd signalfd preadv2 pwritev2 copy_file_range sendfile splice tee
sync_file_range pidfd_open pidfd_send_signal futex_waitv get_thread_area set_thread_area
sched_setattr readahead getdents creat mknod mknodat utime utimes futimesat sendmsg mprotect mmap
tgkill kill madvise membarrier flock
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHANGES_FILES = """
truncate ftruncate fallocate mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 chmod
fchmod fchmodat utimensat utime utimes futimesat symlink symlinkat link linkat creat mknod mknodat
open openat
"""
_REACHES_PROCESSES = """
kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal setpriority
sched_setaffinity sched_setscheduler sched_setparam sched_setattr
"""
"""What Landlock leaves open, altogether or before its later ABIs; namespaces make it harmless."""

_WRITE_EXECUTE = 2 | 4
_EXECUTE_ONLY = 4
_NEW_NAMESPACES = 0x7E020000
_THREAD = 0x00010000 | 0x00000800 | 0x00000100
_UNIX = 1
_OWN_PROCESS_NAMESPACE = 1

_DESCRIPTORS = (0, 1, 2, 3, 4, 1030, 1032, 1034)
_LOCKS = (5, 6, 7)
_FCNTL = Any(1, _DESCRIPTORS)
"""Duplicate, flags, pipe size and seals; no locks, which others see on a file that all share, no
owners, signals, leases or notifications."""
_MADVISE = Any(2, (0, 1, 2, 3, 4, 8, 14, 15, 16, 17))
"""What allocators and numpy ask for; nothing that merges pages with those of others."""
_IOCTL = Any(1, (0x5401, 0x5413, 0x541B, 0x5450, 0x5451))
"""Is it a terminal, its size, bytes ready, close-on-exec."""
_PRCTL = Any(0, (15, 16, 0x53564D41))
"""Names of threads and mappings."""
_SELF_ONLY = Masked(0, 0xFFFFFFFF, 0)

_TRUNCATE = 0o1000

_PYTHON = Policy(
    allowed=_names(_COMPUTE),
    checked=(
        ("mmap", Masked(2, _WRITE_EXECUTE, _WRITE_EXECUTE, equal=False)),
        ("mprotect", Masked(2, _EXECUTE_ONLY, 0)),
        ("fcntl", _FCNTL),
        ("madvise", _MADVISE),
        ("ioctl", _IOCTL),
        ("clone", Masked(0, _THREAD | _NEW_NAMESPACES, _THREAD)),
        ("prlimit64", _SELF_ONLY),
        ("prctl", _PRCTL),
        ("tgkill", Masked(0, 0xFFFFFFFF, _OWN_PROCESS_NAMESPACE)),
    ),
)
_EXTERNAL = Policy(
    allowed=_names(_COMPUTE + _EXECUTE),
    checked=(
        ("fcntl", Any(1, _DESCRIPTORS + _LOCKS)),
        ("ioctl", _IOCTL),
        ("clone", Masked(0, _NEW_NAMESPACES, 0)),
        ("prlimit64", _SELF_ONLY),
        ("prctl", Any(0, (1, 2, 3, 4, 15, 16, 38, 39, 0x53564D41))),
        ("socketpair", Any(0, (_UNIX,))),
    ),
)


def policy(profile: Profile, *, alone: bool) -> Policy:
    """Return what a profile may call.

    ``alone`` says that it lives in namespaces of its own. Without, it has no scratch, sees the
    machine's files and processes, and loses the calls on them that Landlock does not cover.
    """
    full = _PYTHON if profile == "python" else _EXTERNAL
    if alone:
        return full
    lost = _names(_CHANGES_FILES + _REACHES_PROCESSES)
    return Policy(
        allowed=full.allowed - lost,
        checked=(
            *((name, rule) for name, rule in full.checked if name not in lost),
            ("open", Masked(1, _TRUNCATE, 0)),
            ("openat", Masked(2, _TRUNCATE, 0)),
        ),
    )
