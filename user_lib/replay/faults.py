"""Faults on demand, as changes to a stream of frames: silence, repeated counters, a busy bus.

Each fault takes batches in the order of time and gives batches in the order of time; for a seed it
does the same each time.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from agent.signals.quality.frame_time import Bitrate, FrameTimes
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.frames import EXTENDED, FrameBatch

__all__ = ["FILLER_ID", "Fault", "busy", "gaps", "stale_counters", "with_faults"]

Fault = Callable[[FrameBatch], FrameBatch]

FILLER_ID = 0x7FF
"""Of the frames that fill a bus: of the lowest priority that there is."""
_INTERVAL_NS = 100 * MS
_FILLER_BYTES = 8


def with_faults(batches: Iterable[FrameBatch], faults: Iterable[Fault]) -> Iterator[FrameBatch]:
    """Let every batch pass all faults, one after the other."""
    chain = tuple(faults)
    for batch in batches:
        for fault in chain:
            if len(batch):
                batch = fault(batch)
        if len(batch):
            yield batch


def gaps(every_s: float, length_s: float) -> Fault:
    """Return a fault that leaves out every frame of the last ``length_s`` of each ``every_s``."""
    every_ns, length_ns = round(every_s * SECOND), round(length_s * SECOND)
    first_ns: int | None = None

    def apply(batch: FrameBatch) -> FrameBatch:
        nonlocal first_ns
        if first_ns is None:
            first_ns = int(batch.time_ns[0])
        return batch.take((batch.time_ns - first_ns) % every_ns < every_ns - length_ns)

    return apply


def stale_counters(share: float, seed: int) -> Fault:
    """Return a fault that lets a share of the frames repeat the payload before.

    A repeated payload brings its counter again, with a checksum that is right: what a control unit
    sends that hangs.
    """
    random = np.random.default_rng(seed)
    latest: dict[tuple[int, int], bytes] = {}

    def apply(batch: FrameBatch) -> FrameBatch:
        chosen = random.random(len(batch)) < share
        data = batch.data.copy()
        for i in range(len(batch)):
            key = (int(batch.bus[i]), int(batch.can_id[i]) << 1 | int(batch.flags[i]) & EXTENDED)
            before = latest.get(key)
            length = int(batch.length[i])
            if chosen[i] and before is not None and len(before) == length:
                data[i, :length] = np.frombuffer(before, np.uint8)
            else:
                latest[key] = data[i, :length].tobytes()
        return FrameBatch(batch.time_ns, batch.bus, batch.can_id, batch.flags, batch.length, data)

    return apply


def busy(percent: float, bitrate: int, buses: int) -> Fault:
    """Return a fault that adds frames of the lowest priority until each bus is so busy.

    Units: ``percent`` of the bus's time, at ``bitrate`` bit/s.
    """
    times = FrameTimes(Bitrate(bitrate=bitrate))
    filler_ns = float(times.expected_ns[_FILLER_BYTES])
    target_ns = _INTERVAL_NS * percent / 100
    next_ns: int | None = None
    used_ns = np.zeros(buses)
    waiting = FrameBatch.empty()

    def filler(start_ns: int) -> FrameBatch:
        """Fill the interval that begins, by what was sent in the one before."""
        parts = []
        for bus in range(buses):
            count = max(0, round((target_ns - used_ns[bus]) / filler_ns))
            part = FrameBatch.zeros(count)
            part.time_ns[:] = start_ns + np.arange(count) * _INTERVAL_NS // max(count, 1)
            part.bus[:] = bus
            part.can_id[:] = FILLER_ID
            part.length[:] = _FILLER_BYTES
            parts.append(part)
        used_ns[:] = 0
        return FrameBatch.concatenate(parts)

    def apply(batch: FrameBatch) -> FrameBatch:
        nonlocal next_ns, waiting
        if next_ns is None:
            next_ns = int(batch.time_ns[0]) + _INTERVAL_NS
        parts = []
        done = 0
        passed_ns = np.maximum.accumulate(batch.time_ns)  # two buses' stamps may be out of order
        while int(passed_ns[-1]) >= next_ns:
            stop = int(np.searchsorted(passed_ns, next_ns))
            part = batch.take(slice(done, stop))
            np.add.at(used_ns, part.bus, times.expected_ns[times.cells(part.flags, part.length)])
            parts += [part, filler(next_ns)]
            done, next_ns = stop, next_ns + _INTERVAL_NS
        rest = batch.take(slice(done, None))
        np.add.at(used_ns, rest.bus, times.expected_ns[times.cells(rest.flags, rest.length)])
        joined = FrameBatch.concatenate([waiting, *parts, rest])
        joined = joined.take(np.argsort(joined.time_ns, kind="stable"))
        due = joined.time_ns <= passed_ns[-1]
        waiting = joined.take(~due)
        return joined.take(due)

    return apply
