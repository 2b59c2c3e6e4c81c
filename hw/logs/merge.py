"""Several streams of frames, each in time order, as one."""

from collections.abc import Iterator, Sequence

import numpy as np

from user_lib.contract.frames import FrameBatch

__all__ = ["merge_by_time"]


def merge_by_time(
    streams: Sequence[Iterator[FrameBatch]], batch_frames: int
) -> Iterator[FrameBatch]:
    """Merge streams by time into batches of at most ``batch_frames``; equal times keep the order.

    A single stream passes as it is. Of several, a frame waits until no stream can hold an
    earlier one; a stream whose own times go back is merged as if each were the latest so far.
    """
    if len(streams) == 1:
        for batch in streams[0]:
            yield from _pieces(batch, batch_frames)
        return
    waiting = [_Waiting(stream) for stream in streams]
    waiting = [each for each in waiting if each.fill()]
    while waiting:
        horizon_ns = min(each.latest_ns for each in waiting)
        ready = FrameBatch.concatenate([each.take_until(horizon_ns) for each in waiting])
        yield from _pieces(ready.take(np.argsort(ready.time_ns, kind="stable")), batch_frames)
        waiting = [each for each in waiting if each.fill()]


class _Waiting:
    """The part of one stream that has been read and not yet given away."""

    def __init__(self, stream: Iterator[FrameBatch]) -> None:
        self._stream = stream
        self._batch = FrameBatch.empty()
        self.latest_ns = 0

    def fill(self) -> bool:
        """Hold at least one frame; False when the stream has no more."""
        while not len(self._batch):
            batch = next(self._stream, None)
            if batch is None:
                return False
            self._batch = batch
            self.latest_ns = int(batch.time_ns.max()) if len(batch) else self.latest_ns
        return True

    def take_until(self, horizon_ns: int) -> FrameBatch:
        """Give away the frames up to and including a time."""
        reached = np.maximum.accumulate(self._batch.time_ns)
        count = int(np.searchsorted(reached, horizon_ns, side="right"))
        taken = self._batch.take(slice(0, count))
        self._batch = self._batch.take(slice(count, None))
        return taken


def _pieces(batch: FrameBatch, most: int) -> Iterator[FrameBatch]:
    for start in range(0, len(batch), most):
        yield batch.take(slice(start, start + most))
