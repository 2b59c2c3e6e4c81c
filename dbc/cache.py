"""Databases as they were read before, by their content: a large one is there at once next time.

An entry is named by the hash of the file's content and name and of the code that read it, so it
never has to be made invalid. One that cannot be read or written costs only the time.
"""

import contextlib
import logging
import os
from functools import cache
from pathlib import Path

import msgspec

from dbc.model import MessageDef, Repair
from user_lib.contract.digest import sha256_of

__all__ = ["DatabaseCache", "ParsedDatabase"]

_log = logging.getLogger(__name__)
_SUFFIX = ".msgpack"
_KEPT = 64
"""Entries; the ones that were written first make way."""


class ParsedDatabase(msgspec.Struct, frozen=True):
    """What a database file says, whatever the channel on which it is spoken."""

    messages: tuple[MessageDef, ...]
    repairs: tuple[Repair, ...]


class DatabaseCache:
    """A folder of parsed databases, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, content: bytes, name: str) -> ParsedDatabase | None:
        """Return what the file of this content and name says, if it was put here."""
        path = self._path(content, name)
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=ParsedDatabase)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s is of no use, %s is read anew: %s", path, name, error)
            return None

    def put(self, content: bytes, name: str, parsed: ParsedDatabase) -> None:
        """Keep what a file says."""
        path = self._path(content, name)
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            entry = msgspec.msgpack.encode(parsed)
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(entry)
            partial.replace(path)
            self._make_room()
        except (OSError, OverflowError) as error:  # a number beyond 64 bits has no msgpack
            _log.warning("%s cannot be kept in %s: %s", name, self._folder, error)
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _path(self, content: bytes, name: str) -> Path:
        digest = sha256_of((_reader_hash(), name.encode(), b"\0", content))
        return self._folder / f"{digest.hex()}{_SUFFIX}"

    def _make_room(self) -> None:
        entries = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda p: p.stat().st_mtime_ns)
        for path in entries[:-_KEPT]:
            path.unlink(missing_ok=True)


@cache
def _reader_hash() -> bytes:
    """Return the hash of this package's code, which decides what a file is read as."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return sha256_of(path.read_bytes() for path in sources)
