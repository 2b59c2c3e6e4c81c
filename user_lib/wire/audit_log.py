"""An append-only audit log: JSON lines in files that are rotated, never changed.

What `AuditLog.append` returned from is on disk. The log is bounded: when it is full its oldest file
is removed, and a line says which entries went with it. The newest file is ``audit.jsonl``, older
ones are named by their first entry.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from user_lib.contract.clock import Clock
from user_lib.contract.errors import ConfigError
from user_lib.wire.audit_entry import GENESIS, Entry, Line, Mark, line_of, parse_line, stamp
from user_lib.wire.durable import sync_directory

__all__ = ["CURRENT", "TAIL_MISSING", "AuditLog", "files_of"]

log = logging.getLogger(__name__)

CURRENT = "audit.jsonl"
FILES = 8
"""How many files a full log has; the limit is shared by them."""
ROTATED = "rotated"
TAIL_MISSING = "tail_missing"


def files_of(directory: Path) -> list[Path]:
    """Return a log's files, the oldest first."""
    older = sorted(directory.glob("audit-*.jsonl"))
    current = directory / CURRENT
    return [*older, current] if current.exists() else older


class AuditLog:
    """The one writer of a log; owned by one thread.

    ``known`` is the `mark` that the log's owner kept when the log was written last: what is missing
    up to it, an entry tells.
    Raises: ConfigError at opening, OSError from `append`, which then has written nothing.
    """

    def __init__(
        self, directory: Path, clock: Clock, *, limit_mb: float, known: Mark | None = None
    ) -> None:
        self.directory, self._clock = directory, clock
        self._file_bytes = max(int(limit_mb * 1e6 / FILES), 1024)
        self.number, self.chain = 0, GENESIS
        """Of the newest entry."""
        self._fd = -1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            cut_off = self._open()
            sync_directory(directory)  # a mark may not outlive the file that it is of
            missing = self._missing(known or Mark())
        except OSError as error:
            raise ConfigError(f"{directory}: the audit log cannot be used: {error}") from None
        if cut_off:
            words = f"{cut_off} bytes of a line that was not written to its end were removed"
            self.append([Entry(at=self.now(), event="cut_off", detail=words)])
        if missing:
            log.error("%s: %s", directory, missing)
            self.append([Entry(at=self.now(), event=TAIL_MISSING, detail=missing)])

    @property
    def mark(self) -> Mark:
        """The newest entry, to be kept where the log's owner keeps what must last."""
        return Mark(self.number, self.chain)

    def now(self) -> str:
        """Return the present time as entries have it."""
        return stamp(self._clock.unix_ns())

    def append(self, entries: Iterable[Entry]) -> None:
        """Put entries at the end, numbered and chained; they are on disk when this returns.

        Raises: OSError; then none of them is in the log.
        """
        number, chain = self.number, self.chain
        data = b""
        for entry in entries:
            number += 1
            line, chain = line_of(replace(entry, number=number), chain)
            data += line
        if not data:
            return
        if self._fd < 0:
            self._open()
        self._write(data)
        self.number, self.chain = number, chain
        if self._size >= self._file_bytes:
            try:
                self._rotate()
            except OSError:
                log.exception("%s: cannot be rotated; that is tried again", self.directory)

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        """Open the newest file and find its last line; return what a power cut left behind it."""
        path = self.directory / CURRENT
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        last, size, cut_off = _tail(path)
        if cut_off:
            log.warning("%s: %d bytes of an unfinished line are removed", path, cut_off)
            os.ftruncate(fd, size)
        if last is None:
            older = files_of(self.directory)[:-1]
            last = _tail(older[-1])[0] if older else None
        if last is not None:
            self.number, self.chain = last.entry.number, last.chain
        self._fd, self._size = fd, size
        return cut_off

    def _missing(self, known: Mark) -> str:
        """Return in words what was removed or changed at the end while nobody wrote; else ''."""
        if self.number < known.number:
            gone = f"entries {self.number + 1} to {known.number} were removed"
        elif self._chain_of(known.number) in (None, known.chain):
            return ""
        else:
            gone = f"entry {known.number} is not the one that was written"
        return f"{gone} while nothing wrote to the log; that one's hash was {known.chain}"

    def _chain_of(self, number: int) -> str | None:
        """Return an entry's hash; None when it was rotated away long ago, or never was."""
        if number == self.number:
            return self.chain
        for path in reversed(files_of(self.directory)):
            first = _first(path)
            if first is None or first.entry.number > number:
                continue
            with path.open("rb") as file:
                for line in map(parse_line, file):
                    if line is not None and line.entry.number == number:
                        return line.chain
            break
        return None

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        """Begin a new file; a full log lets its oldest one go, and says what was in it."""
        path = self.directory / CURRENT
        first = _first(path)
        number = first.entry.number if first is not None else self.number
        self.close()
        path.rename(self.directory / f"audit-{number:012d}.jsonl")
        self._open()
        older = files_of(self.directory)[:-1]
        for old in older[: max(len(older) - FILES + 1, 0)]:
            begin, end = _first(old), _tail(old)[0]
            if begin is None or end is None:
                continue
            words = (
                f"entries {begin.entry.number} to {end.entry.number} ({begin.entry.at} to "
                f"{end.entry.at}) were removed; the last one's hash is {end.chain}"
            )
            self.append([Entry(at=self.now(), event=ROTATED, detail=words)])
            old.unlink()
        sync_directory(self.directory)


def _first(path: Path) -> Line | None:
    with path.open("rb") as file:
        return parse_line(file.readline())


def _tail(path: Path) -> tuple[Line | None, int, int]:
    """Return the last line of a file, the bytes up to its end, and how many are behind it."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    begin = data.rfind(b"\n", 0, max(whole - 1, 0)) + 1
    return parse_line(data[begin:whole]), whole, len(data) - whole
