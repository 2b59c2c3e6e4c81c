"""Put the layers of a level on a process, in their order, failing closed at the first that fails.

full            own namespaces and file system, Landlock, no capabilities, system call filter
no-namespaces   Landlock, no capabilities, system call filter; no scratch, the host's name is seen
limits          resource limits only: built-in methods, or code that the owner trusts
"""

import errno
import functools
import mmap
import os
import site
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from agent.sandbox import linux
from agent.sandbox.lockdown import landlock, namespaces, seccomp, syscalls
from agent.sandbox.lockdown.policy import PROFILES, Profile, policy

__all__ = ["LEVELS", "Confinement", "Level", "Unconfined", "enter", "interpreter_paths", "lock"]

Level: TypeAlias = Literal["full", "no-namespaces", "limits"]
LEVELS: tuple[Level, ...] = ("full", "no-namespaces", "limits")

LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
)
SCRATCHES = ("/tmp", "/scratch")  # noqa: S108 - inside the sandbox's own root
WRITABLE_DEVICES = ("/dev/null", "/dev/zero")
UNIX_STREAM = (1, 1, 0)
PROT_WRITE_EXECUTE = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC


class Unconfined(Exception):
    """A layer did not hold; foreign code must not run in this process."""


class Confinement(msgspec.Struct, frozen=True):
    """What the workers of one zygote are locked down with."""

    level: Level
    filters: dict[Profile, bytes]
    external_readable: tuple[str, ...]
    """What external workers execute and read besides."""
    scratch: str = ""
    """Where a worker may write; empty where it has no place of its own."""

    @classmethod
    def at(cls, level: Level, external_readable: Iterable[str] = ()) -> "Confinement":
        """Prepare a level: compile the filters, find a place for scratch.

        Raises: Unconfined, when there is no filter for this machine's architecture.
        """
        machine = linux.machine()
        filters: dict[Profile, bytes] = {}
        if level != "limits":
            if machine not in syscalls.ARCHITECTURES:
                raise Unconfined(f"there is no system call filter for {machine}")
            filters = {
                profile: seccomp.compile_filter(policy(profile, alone=level == "full"), machine)
                for profile in PROFILES
            }
        besides = tuple(external_readable)
        scratch = _scratch_beside((*interpreter_paths(), *besides)) if level == "full" else ""
        return cls(level, filters, besides, scratch)


@functools.cache
def interpreter_paths() -> tuple[str, ...]:
    """Return where this interpreter and its libraries lie; asked first while all files are seen."""
    library = os.path.dirname(os.__file__)  # `sysconfig` would load 2,000 settings to say the same
    paths = {sys.prefix, sys.base_prefix, sys.base_exec_prefix, library, *site.getsitepackages()}
    return tuple(sorted(os.path.realpath(p) for p in paths) + sorted(paths))


def _scratch_beside(paths: Iterable[str]) -> str:
    """Return a place for scratch that hides none of the paths."""
    taken = any(path.startswith(f"{SCRATCHES[0]}/") for path in paths)
    return SCRATCHES[1] if taken else SCRATCHES[0]


def enter(confinement: Confinement, *, sees_cgroups: bool) -> None:
    """Take the zygote where its workers live; at level full it then has to fork once.

    ``sees_cgroups``: it has workers to put into cgroups, and keeps the view for that.

    Raises: OSError, at the first step that the machine refuses; the process is unfit then.
    """
    shown = (*interpreter_paths(), *confinement.external_readable)
    if confinement.level != "limits" and landlock.abi() < landlock.MIN_ABI:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock (Linux 5.13, lsm=landlock)")
    if confinement.level == "full":
        namespaces.enter(shown, confinement.scratch, sees_cgroups=sees_cgroups)


def lock(confinement: Confinement, profile: Profile, scratch_mb: int) -> None:
    """Lock this process down for good.

    Raises: Unconfined, naming the layer that failed or does not hold.
    """
    try:
        if confinement.level == "full":
            namespaces.isolate_worker(confinement.scratch, scratch_mb)
        linux.forbid_new_privileges()
        if confinement.level == "limits":
            return
        landlock.restrict(_rules(confinement, profile), landlock.abi())
        linux.drop_all_capabilities()
        linux.die_with_parent()
        seccomp.load(confinement.filters[profile])
    except (OSError, KeyError) as error:
        raise Unconfined(f"the sandbox's lock-down failed: {error}") from None
    _verify(profile)


def _rules(confinement: Confinement, profile: Profile) -> Mapping[str, int]:
    rules = dict.fromkeys((*LIBRARIES, *interpreter_paths()), landlock.READ)
    if profile == "external":
        shown = (*namespaces.SYSTEM, *interpreter_paths(), *confinement.external_readable)
        rules |= dict.fromkeys(shown, landlock.EXECUTE_READ)
    rules |= dict.fromkeys(namespaces.DEVICES, landlock.READ)
    rules |= dict.fromkeys(WRITABLE_DEVICES, landlock.READ_WRITE)
    if confinement.scratch:
        rules[confinement.scratch] = landlock.SCRATCH
    return rules


def _verify(profile: Profile) -> None:
    """Try what must be denied; a layer that does not bite is a layer that is not there."""
    if _allowed(lambda: os.listdir("/")):
        raise Unconfined("Landlock was loaded but does not hold")
    if _allowed(lambda: linux.syscall("socket", *UNIX_STREAM)) or _allowed(
        lambda: linux.syscall("unshare", 0)
    ):
        raise Unconfined("the system call filter was loaded but does not hold")
    if profile == "python" and _allowed(_map_writable_code):
        raise Unconfined("the system call filter lets code be written and executed")


def _map_writable_code() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=PROT_WRITE_EXECUTE).close()


def _allowed(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return False
    return True
