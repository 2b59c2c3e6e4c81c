"""A job on its way into a worker: one sealed, anonymous file that holds everything it needs.

Layout: 8 bytes, length of the header; the header, JSON; then the arrays of the window, raw, each at
a multiple of 64 bytes. The worker maps it read-only: a million samples cost no copy on its side.
"""

import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import Half, Job, RoundInput
from user_lib.contract.assignment import Json, Limits
from user_lib.contract.window import Window

__all__ = ["Column", "Header", "read", "seal"]

ALIGN = 64
STDIN = 0
"""A worker has the null device there."""
BUFFERS = 1024
"""What the kernel takes at once."""
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Column(msgspec.Struct, frozen=True):
    """Where one signal's arrays lie: ``n`` int64 times, then ``n`` float64 values."""

    signal: str
    unit: str
    n: int
    times_at: int
    values_at: int


class Frame(msgspec.Struct, frozen=True):
    """The window's own fields, beside its arrays."""

    columns: tuple[Column, ...]
    start_ns: int
    stop_ns: int
    lost_frames: int
    trigger_ns: int | None
    away_ms: int = 0


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A job without its arrays."""

    half: Half
    method: str
    source: str | None
    argv: tuple[str, ...]
    """The command of an external worker; empty for everything that runs in Python."""
    inputs: tuple[RoundInput, ...]
    onboard_method: str
    params: dict[str, Json]
    state: Json
    feedback: Json
    iteration: int
    vehicle: str
    limits: Limits
    output_bytes: int
    frame: Frame | None


def seal(job: Job, argv: Sequence[str] = (), *, output_bytes: int) -> int:
    """Write a job to a sealed memfd and return a read-only descriptor of it; the caller closes it.

    Raises: OSError, when the machine has no memory or descriptors left; TypeError or ValueError,
            when params, state or feedback are not JSON.
    """
    arrays, frame = _frame(job.window)
    header = Header(
        half=job.half, method=job.method, source=job.source, argv=tuple(argv), inputs=job.inputs,
        onboard_method=job.onboard_method, params=dict(job.params), state=job.state,
        feedback=job.feedback, iteration=job.iteration, vehicle=job.vehicle, limits=job.limits,
        output_bytes=output_bytes, frame=frame,
    )  # fmt: skip
    head = msgspec.json.encode(header)
    fd = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _write_all(fd, _pieces(head, arrays))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def read(fd: int) -> tuple[Header, Window | None, int]:
    """Map a sealed job; return its header, its window of read-only arrays and its size in bytes."""
    size = os.fstat(fd).st_size
    mapped = _mapped(fd, size)
    length = int.from_bytes(mapped[:8], "little")
    header = msgspec.json.decode(memoryview(mapped)[8 : 8 + length], type=Header)
    if header.frame is None:
        return header, None, size
    base = _aligned(8 + length)
    frame = header.frame
    return header, _window(mapped, base, frame), size


def _mapped(fd: int, size: int) -> mmap.mmap:
    """Map a file privately and keep no descriptor of it.

    Python's mmap keeps one of its own, with which code could map its own job as machine code; that
    one is made to lead nowhere.
    Raises: OSError, when it is not where it has to be.
    """
    place = os.dup(fd)
    os.close(place)  # the lowest that is free: the one that mmap takes next
    mapped = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    if not os.path.sameopenfile(fd, place):
        raise OSError(errno.EBADF, "the job's descriptor is not where it was expected")
    os.dup2(STDIN, place, inheritable=False)
    return mapped


def _window(mapped: mmap.mmap, base: int, frame: Frame) -> Window:
    columns = frame.columns
    return Window(
        values_by_signal={
            c.signal: np.frombuffer(mapped, np.float64, c.n, base + c.values_at) for c in columns
        },
        times={c.signal: np.frombuffer(mapped, np.int64, c.n, base + c.times_at) for c in columns},
        start_ns=frame.start_ns,
        stop_ns=frame.stop_ns,
        units={c.signal: c.unit for c in columns},
        lost_frames=frame.lost_frames,
        trigger_ns=frame.trigger_ns,
        away_ms=frame.away_ms,
    )


def _frame(window: Window | None) -> tuple[list[tuple[int, NDArray[Any]]], Frame | None]:
    """Lay the arrays out, from 0."""
    if window is None:
        return [], None
    arrays: list[tuple[int, NDArray[Any]]] = []
    columns: list[Column] = []
    at = 0
    for signal, values in window.items():
        n = len(values)
        times_at, values_at = at, _aligned(at + 8 * n)
        at = _aligned(values_at + 8 * n)
        if n:
            arrays.append((times_at, np.ascontiguousarray(window.times[signal], np.int64)))
            arrays.append((values_at, np.ascontiguousarray(values, np.float64)))
        columns.append(Column(signal, window.units.get(signal, ""), n, times_at, values_at))
    frame = Frame(
        tuple(columns), window.start_ns, window.stop_ns, window.lost_frames, window.trigger_ns,
        window.away_ms,
    )  # fmt: skip
    return arrays, frame


def _aligned(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN


def _pieces(head: bytes, arrays: Sequence[tuple[int, NDArray[Any]]]) -> Iterator[memoryview]:
    """Yield the whole file, in order, with what fills it up between."""
    yield memoryview(len(head).to_bytes(8, "little") + head)
    at = 8 + len(head)
    base = _aligned(at)
    for offset, array in arrays:
        yield memoryview(bytes(base + offset - at))
        yield array.data.cast("B")
        at = base + offset + array.nbytes
    yield memoryview(bytes(base + _aligned(max(0, at - base)) - at))  # columns without samples


def _write_all(fd: int, pieces: Iterable[memoryview]) -> None:
    """Write with as few system calls as the kernel lets us."""
    left = deque(piece for piece in pieces if piece)
    while left:
        written = os.writev(fd, list(islice(left, BUFFERS)))
        while left and written >= len(left[0]):
            written -= len(left.popleft())
        if written:
            left[0] = left[0][written:]
