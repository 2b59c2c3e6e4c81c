"""One pass over one log: its bytes, the channels it names, and the damage found on the way."""

import codecs
import gzip
import io
import itertools
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hw.records import FrameRecords
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import FrameBatch

__all__ = ["BATCH_FRAMES", "MAX_CHANNELS", "MAX_TIME_NS", "Damage", "LogReader", "Reading"]

log = logging.getLogger("hw.logs")

BATCH_FRAMES = 8192
"""Most frames of one batch of a log."""

MAX_TIME_NS = (1 << 63) - 1
"""Times are int64."""

MAX_CHANNELS = 255
"""Bus indices are one byte; a log that names more is damaged."""

_BLOCK_BYTES = 1 << 19
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_LINE_BYTES = 1 << 16
_SHOWN_CHARACTERS = 80


@dataclass
class Damage:
    """What of a log could not be read; the first piece is named in a warning, all are counted."""

    path: Path
    expected: str
    malformed: int = 0
    first: str = ""
    told: bool = False
    """Whether an earlier pass over the log has warned already."""

    def report(self, where: str, found: str | bytes, *, count: int = 1) -> None:
        """Count ``count`` damaged pieces, the first of them at ``where``."""
        self.malformed += count
        if self.first:
            return
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
        self.first = f"{where}: {text[:_SHOWN_CHARACTERS]!r}"
        if self.told:
            return
        log.warning(
            "%s, %s: expected %s, found %r; skipped, and so is further damage, which is counted",
            self.path,
            where,
            self.expected,
            text[:_SHOWN_CHARACTERS],
        )

    def refuse(self) -> SourceError:
        """Return the error for a file in which nothing at all could be read."""
        found = f"found {self.first}" if self.first else "the file has none"
        return SourceError(f"cannot read {self.path}: expected {self.expected}, {found}")


@dataclass
class Reading:
    """State of one pass. A format's reader takes it and yields batches.

    Channels are numbered in the order in which the log names them; the tuple grows while reading.
    """

    path: Path
    damage: Damage
    channels: list[str] = field(default_factory=list)
    batch_frames: int = BATCH_FRAMES
    fraction_read: float = 0.0
    """How much of the file this pass has read, 0 to 1."""

    def bus(self, channel: str) -> int:
        """Return the index of a channel; a new name gets the next one.

        Raises: ValueError, when the log names more channels than a bus index can tell apart.
        """
        try:
            return self.channels.index(channel)
        except ValueError:
            if len(self.channels) >= MAX_CHANNELS:
                raise ValueError(f"more than {MAX_CHANNELS} channels") from None
            self.channels.append(channel)
            return len(self.channels) - 1

    def open(self) -> io.BufferedReader:
        """Open the file for its bytes as they are on disk. Raises: SourceError."""
        try:
            return self.path.open("rb")
        except OSError as error:
            raise SourceError(f"cannot open log {self.path}: {error.strerror or error}") from error

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes in pieces, unpacked where its name ends in ``.gz``.

        A compressed file that breaks off is damage; what comes before is yielded.

        Raises: SourceError, when it cannot be read or is empty.
        """
        with self.open() as stored:
            size, any_bytes = os.fstat(stored.fileno()).st_size, False
            packed = self.path.suffix.lower() == ".gz"
            stream = gzip.GzipFile(fileobj=stored) if packed else stored
            while True:
                try:
                    # not read: that would lose what it has unpacked when the rest breaks off
                    block = stream.read1(_BLOCK_BYTES)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    self.damage.report("compressed data", f"{type(error).__name__}: {error}")
                    return
                except OSError as error:
                    raise SourceError(f"cannot read log {self.path}: {error}") from error
                self.fraction_read = min(stored.tell() / max(size, 1), 1.0)
                if not block:
                    break
                any_bytes = True
                yield block
            if not any_bytes:
                raise SourceError(f"cannot read log {self.path}: the file is empty")

    def text_chunks(self) -> Iterator[bytes]:
        """Yield the bytes of a text log as UTF-8, whatever byte-order mark it begins with."""
        chunks = self.chunks()
        head = next(chunks, b"")
        utf16 = head[:2] in _UTF16
        reader = codecs.getincrementaldecoder("utf-16")("replace")
        for chunk in itertools.chain([head.removeprefix(codecs.BOM_UTF8)], chunks):
            yield reader.decode(chunk).encode() if utf16 else chunk

    def blocks(self) -> Iterator[bytes]:
        r"""Yield the file's bytes in pieces of whole lines; every piece ends with ``\n``.

        A line longer than 64 KiB is no line of any log: it is cut, and its parts count as damage.
        """
        rest = b""
        for chunk in self.text_chunks():
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest = chunk[cut:]
            else:
                rest += chunk
            if len(rest) > _LONGEST_LINE_BYTES:
                yield rest + b"\n"
                rest = b""
        if rest:
            yield rest + b"\n"

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines of a text log, numbered from 1, without their ends."""
        number = 0
        for block in self.blocks():
            for line in io.StringIO(block.decode("utf-8", "replace"), newline=None):
                number += 1
                yield number, line.rstrip("\r\n")

    def batches(self, fill: Callable[[FrameRecords], Iterator[None]]) -> Iterator[FrameBatch]:
        """Drive a frame-by-frame reader: ``fill`` appends records and yields after each."""
        records = FrameRecords(self.batch_frames)
        for _ in fill(records):
            if records.full:
                yield records.take()
        if len(records):
            yield records.take()


LogReader = Callable[[Reading], Iterator[FrameBatch]]
"""Reads one format: yields batches of at most ``reading.batch_frames`` frames, in file order."""
