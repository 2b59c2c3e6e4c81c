"""A cgroup (v2) of its own for each worker, where the service manager delegates one to the zygote.

It bounds what resource limits do not see: all processes of a worker together, their scratch, the
kernel's memory on their behalf. Only a zygote that is alone in its cgroup takes it in charge: a
service's, where nobody else is concerned. Leaves are kept and used again.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Delegated", "Leaf"]

ROOT = Path("/sys/fs/cgroup")
NEEDED = frozenset({"memory", "pids"})
WANTED = ("memory", "pids", "cpu")
OWN = "zygote"
ONE_CORE = "100000 100000"
UNLIMITED = "max"


class Leaf:
    """The cgroup of one worker at a time."""

    def __init__(self, parent_fd: int, name: str, tasks: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent_fd)
        self._fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
        _write(self._fd, "pids.max", str(tasks))
        _write(self._fd, "memory.oom.group", "1")
        with suppress(OSError):  # no swap, or no processor controller: there is nothing to bound
            _write(self._fd, "memory.swap.max", "0")
        with suppress(OSError):
            _write(self._fd, "cpu.max", ONE_CORE)
        self._kills = self._counted_kills()

    def prepare(self) -> tuple[int, int]:
        """Return descriptors for the next worker: where it joins, and where it sets its memory."""
        _write(self._fd, "memory.max", UNLIMITED)
        join = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._fd)
        return join, os.open("memory.max", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._fd)

    def clear(self) -> bool:
        """Kill what is left in it; return whether the kernel killed for memory since the last."""
        with suppress(FileNotFoundError):  # before Linux 5.14; its process namespace is gone anyway
            _write(self._fd, "cgroup.kill", "1")
        before, self._kills = self._kills, self._counted_kills()
        return self._kills > before

    def _counted_kills(self) -> int:
        lines = _read(self._fd, "memory.events").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


class Delegated:
    """The zygote's own cgroup, with a leaf for each worker."""

    def __init__(self, fd: int, controllers: tuple[str, ...], tasks: int) -> None:
        self._fd, self.controllers, self._tasks = fd, controllers, tasks
        self._free: list[Leaf] = []
        self._made = 0

    @classmethod
    def claim(cls, tasks: int) -> "Delegated | str":
        """Take this process's cgroup in charge, with at most ``tasks`` a worker; or say why not.

        Call it before this process loses sight of /proc and /sys.
        """
        try:
            folder = _own_folder()
            procs = (folder / "cgroup.procs").read_text().split()
            if procs != [str(os.getpid())]:
                return "the sandbox shares its cgroup with others"
            offered = (folder / "cgroup.controllers").read_text().split()
            if NEEDED - set(offered):
                return f"controllers {', '.join(sorted(NEEDED - set(offered)))} are not delegated"
            controllers = tuple(c for c in WANTED if c in offered)
            (folder / OWN).mkdir(exist_ok=True)
            (folder / OWN / "cgroup.procs").write_text("0")
            wanted = " ".join(f"+{c}" for c in controllers)
            (folder / "cgroup.subtree_control").write_text(wanted)
            return cls(
                os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), controllers, tasks
            )
        except OSError as error:
            return f"no cgroup is delegated to the sandbox: {error}"

    def take(self) -> Leaf:
        """Return a leaf that no worker has. Raises: OSError."""
        if self._free:
            return self._free.pop()
        self._made += 1
        return Leaf(self._fd, f"worker-{self._made}", self._tasks)

    def give_back(self, leaf: Leaf) -> None:
        """Keep a leaf for the next worker."""
        self._free.append(leaf)


def _own_folder() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return ROOT / line[3:].lstrip("/")
    raise OSError(errno.ENOENT, "there is no cgroup v2")


def _write(folder_fd: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder_fd)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(folder_fd: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder_fd)
    try:
        return os.read(fd, 4096).decode()
    finally:
        os.close(fd)
