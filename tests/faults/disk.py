"""A small disk of its own for a process: it fills up, and turns read-only while files are open.

It is a file with ext4 on a loop device, mounted where only this process and its children see it:
whoever else makes a mount name space of its own would hold it there. An ext4 that meets an error
turns read-only at once, with all that is open on it, as the flash of an on-board unit does: that is
what `fail` makes of it.
"""

import ctypes
import errno
import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["Disk", "cannot_mount"]

MOUNT_S = 10.0
CLONE_NEWNS = 0x00020000
FILLER = "filler"
"""What takes the room; no process knows it."""
BLOCK = 4096


def cannot_mount() -> str:
    """Say why disks cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "needs root, to mount small disks"
    for tool in ("mkfs.ext4", "e2fsck", "mount", "umount"):
        if shutil.which(tool) is None:
            return f"needs {tool}, to mount small disks"
    with tempfile.TemporaryDirectory(prefix="oodida-disk-") as folder:
        try:
            disk = Disk(Path(folder) / "probe", mb=8)
        except OSError as error:
            return f"cannot mount small disks here: {error}"
        except subprocess.CalledProcessError as error:
            return f"cannot mount small disks here: {error.stderr.strip()}"
        try:
            disk.fail()
        except OSError as error:
            return f"cannot make a disk turn read-only here: {error}"
        finally:
            disk.close()
    return ""


class Disk:
    """A disk, mounted at ``path`` until `close`."""

    def __init__(self, path: Path, *, mb: int) -> None:
        """Raises: OSError; CalledProcessError, where mounting is not allowed."""
        _see_own_mounts()
        self.path, self._image = path, path.with_name(f"{path.name}.ext4")
        path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(mb * 1_000_000)
        # SQLite's shared memory is not safe on a full disk with blocks smaller than a page.
        options = ["-q", "-F", "-b", str(BLOCK), "-m", "0", "-E", "lazy_itable_init=1"]
        _run("mkfs.ext4", *options, str(self._image))
        self._mount()

    def fill(self, leave_bytes: int) -> None:
        """Take all room but so many bytes."""
        with (self.path / FILLER).open("wb") as file:
            size, most = 0, self.free_bytes - leave_bytes
            while most >= BLOCK:
                try:
                    os.posix_fallocate(file.fileno(), size, most)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                size = file.seek(0, os.SEEK_END)
                most = min(most // 2, self.free_bytes - leave_bytes)

    def empty(self) -> None:
        """Give the room back, for good: an unlink that is not on disk yet, `fail` would undo."""
        (self.path / FILLER).unlink(missing_ok=True)
        os.sync()

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path).free

    def fail(self) -> None:
        """Turn read-only, whatever is open. Raises: OSError, where that cannot be had."""
        device = os.stat(self.path).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        name = Path(f"/sys/dev/block/{number}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")
        try:
            (self.path / "probe").touch()
        except OSError as error:
            if error.errno == errno.EROFS:
                return
            raise
        raise OSError(f"{name} met an error and can still be written")

    def repair(self) -> None:
        """Check and mount it anew; nobody may have it open."""
        self._unmount()
        checked = subprocess.run(
            ["e2fsck", "-fy", str(self._image)], capture_output=True, text=True, check=False
        )
        if checked.returncode > 1:
            raise AssertionError(f"e2fsck gave up: {checked.stdout}{checked.stderr}")
        self._mount()

    def close(self) -> None:
        if self.path.is_mount():
            self._unmount()
        self._image.unlink()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))
        self._device = os.stat(self.path).st_dev

    def _unmount(self) -> None:
        """Unmount it, and wait until no other name space has it either."""
        until = time.monotonic() + MOUNT_S
        device = f"{os.major(self._device)}:{os.minor(self._device)}"
        loop = Path(f"/sys/dev/block/{device}").resolve()
        while True:
            if self.path.is_mount():
                done = subprocess.run(
                    ["umount", str(self.path)], capture_output=True, text=True, check=False
                )
                problem = done.stderr.strip()
            elif Path(f"/sys/fs/ext4/{loop.name}").exists():
                problem = f"{loop.name} is still in use"
            else:
                return
            if time.monotonic() > until:
                raise AssertionError(f"{self.path} cannot be unmounted: {problem}")
            time.sleep(0.05)


@functools.cache
def _see_own_mounts() -> None:
    """Let this process and its children have mounts of their own. Raises: OSError."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _run("mount", "--make-rprivate", "/")


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
