"""MDF 4 logs read by a process of their own.

asammdf parses blocks in C and trusts what a file says about itself: a damaged one may crash it, or
send it round in circles. That then costs the process that reads, not the one that asks; what had
been read before is kept, and the rest is damage.
"""

import importlib.util
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import msgspec
import numpy as np

from hw.logs.reading import Damage, Reading
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import FrameBatch

__all__ = ["main", "read_mdf"]

STALL_S = 120.0
"""A reader that has brought nothing for so long is ended."""
_LENGTH_BYTES = 4
_ROOT = Path(__file__).resolve().parents[2]

_Damaged: TypeAlias = tuple[str, str, int]
"""Where, what was found there, how many pieces; see `Damage.report`."""


class _Job(msgspec.Struct, frozen=True):
    path: str
    expected: str
    channels: list[str]
    batch_frames: int


class _Frames(msgspec.Struct, frozen=True, tag="frames"):
    columns: list[bytes]
    """In the order of `FrameBatch`."""
    channels: list[str]
    damage: list[_Damaged]
    fraction_read: float


class _Failed(msgspec.Struct, frozen=True, tag="failed"):
    message: str


class _Done(msgspec.Struct, frozen=True, tag="done"):
    damage: list[_Damaged]


_Said: TypeAlias = _Frames | _Failed | _Done
_DECODER = msgspec.msgpack.Decoder(_Said)
_DTYPES = (np.int64, np.uint8, np.uint32, np.uint8, np.uint8, np.uint8)


def read_mdf(reading: Reading) -> Iterator[FrameBatch]:
    """Read an MDF 4 bus log. Resolution: 1 ns for logs of up to 50 days.

    Raises: SourceError, when asammdf is missing, the file is no MDF 4, or it holds no CAN frames.
    """
    if importlib.util.find_spec("asammdf") is None:
        raise SourceError(
            "reading .mf4 needs asammdf, which is not installed; run: pip install asammdf (or, in "
            "the sources of oodida, pip install '.[mdf]')"
        )
    reading.open().close()
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-c", "from hw.logs.mdf_apart import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:
        try:
            yield from _frames_of(child, reading)
        finally:
            child.kill()


def _frames_of(child: "subprocess.Popen[bytes]", reading: Reading) -> Iterator[FrameBatch]:
    """Yield what the reading process brings, and take over the damage that it finds."""
    job = _Job(
        str(reading.path), reading.damage.expected, list(reading.channels), reading.batch_frames
    )
    asked, said = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
    asked.write(msgspec.msgpack.encode(job))
    asked.close()
    for message in _messages(said.fileno()):
        match message:
            case _Failed(text):
                raise SourceError(text)
            case _Frames(columns, channels, damage, fraction_read):
                reading.channels[:] = channels
                reading.fraction_read = fraction_read
                _report(reading.damage, damage)
                yield _batch(columns)
            case _Done(damage):
                _report(reading.damage, damage)
                return
    reading.damage.report("the rest of the file", f"asammdf {_how_it_ended(child)}")


def _messages(fd: int) -> Iterator[_Said]:
    """Yield messages until the pipe ends, or nothing has come for `STALL_S`."""
    held = bytearray()
    while True:
        while len(held) >= _LENGTH_BYTES:
            stop = _LENGTH_BYTES + int.from_bytes(held[:_LENGTH_BYTES], "little")
            if len(held) < stop:
                break
            yield _DECODER.decode(held[_LENGTH_BYTES:stop])
            del held[:stop]
        if not select.select([fd], [], [], STALL_S)[0]:
            return
        piece = os.read(fd, 1 << 20)
        if not piece:
            return
        held += piece


def _how_it_ended(child: "subprocess.Popen[bytes]") -> str:
    try:
        code = child.wait(1.0)
    except subprocess.TimeoutExpired:
        return f"brought nothing for {STALL_S:.0f} s"
    return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"


def _report(damage: Damage, found: list[_Damaged]) -> None:
    for where, what, count in found:
        damage.report(where, what, count=count)


def _batch(columns: list[bytes]) -> FrameBatch:
    time_ns, bus, can_id, flags, length, data = (
        np.frombuffer(bytearray(column), dtype)
        for column, dtype in zip(columns, _DTYPES, strict=True)
    )
    stride = len(data) // max(len(time_ns), 1)
    return FrameBatch(time_ns, bus, can_id, flags, length, data.reshape(len(time_ns), stride))


# --- in the process that reads ------------------------------------------------------------------


class _Noted(Damage):
    """Keeps what was found, for the process that asked."""

    def __init__(self, path: Path, expected: str) -> None:
        super().__init__(path, expected, told=True)
        self.noted: list[_Damaged] = []

    def report(self, where: str, found: str | bytes, *, count: int = 1) -> None:
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
        self.noted.append((where, text, count))

    def take(self) -> list[_Damaged]:
        taken, self.noted = self.noted, []
        return taken


def main() -> None:
    """Read the log that standard input names, onto standard output."""
    from hw.logs import mdf

    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Job)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever asammdf prints goes elsewhere
    damage = _Noted(Path(job.path), job.expected)
    reading = Reading(Path(job.path), damage, list(job.channels), job.batch_frames)
    try:
        for batch in mdf.read_mdf(reading):
            columns = (batch.time_ns, batch.bus, batch.can_id, batch.flags, batch.length)
            octets = [column.tobytes() for column in (*columns, batch.data)]
            _say(out, _Frames(octets, reading.channels, damage.take(), reading.fraction_read))
    except SourceError as error:
        _say(out, _Failed(str(error)))
    else:
        _say(out, _Done(damage.take()))
    out.close()


def _say(out: BinaryIO, message: _Said) -> None:
    body = msgspec.msgpack.encode(message)
    out.write(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
