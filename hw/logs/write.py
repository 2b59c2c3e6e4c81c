"""Logs written, so that a simulated drive can be kept and given to any CAN tool."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch

__all__ = ["write_candump"]

_ERROR_BIT = 0x2000_0000


def write_candump(path: Path, batches: Iterable[FrameBatch], channels: Sequence[str]) -> int:
    """Write frames as ``candump -L`` does and return how many; ``.gz`` compresses.

    Times have six decimals, nine where a microsecond does not hold them. What this machine sent is
    marked ``T``. Raises: SourceError, when the file cannot be written or a channel has no name
    that a candump line can hold.
    """
    for channel in channels:
        if not channel or " " in channel or "#" in channel:
            raise SourceError(f"a candump log cannot name the channel {channel!r}; rename it")
    opener = gzip.open if path.suffix == ".gz" else open
    frames = 0
    try:
        with opener(path, "wt", encoding="ascii") as out:
            for batch in batches:
                out.write("".join(_lines(batch, channels)))
                frames += len(batch)
    except OSError as error:
        raise SourceError(f"cannot write log {path}: {error.strerror or error}") from error
    return frames


def _lines(batch: FrameBatch, channels: Sequence[str]) -> Iterable[str]:
    payloads = batch.data.tobytes().hex().upper()
    width = 2 * batch.data.shape[1]
    columns = (batch.time_ns, batch.bus, batch.can_id, batch.flags, batch.length)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for i, (time_ns, bus, can_id, flags, length) in enumerate(rows):
        payload = payloads[i * width : i * width + 2 * length]
        frame = _frame(can_id, flags, length, payload)
        yield f"({_seconds(time_ns)}) {channels[bus]} {frame}{' T' if flags & TX else ''}\n"


def _seconds(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{seconds:010d}.{rest:09d}" if rest % 1000 else f"{seconds:010d}.{rest // 1000:06d}"


def _frame(can_id: int, flags: int, length: int, payload: str) -> str:
    if flags & ERROR:
        return f"{can_id | _ERROR_BIT:08X}#{payload}"
    name = f"{can_id:08X}" if flags & EXTENDED else f"{can_id:03X}"
    if flags & REMOTE:
        return f"{name}#R{length or ''}"
    if flags & FD:
        bits = (1 if flags & BRS else 0) | (2 if flags & ESI else 0)
        return f"{name}##{bits}{payload}"
    return f"{name}#{payload}"
