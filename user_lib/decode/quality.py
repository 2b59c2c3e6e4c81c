"""What a log shows of the messages as such: the longest gap, wrong counters and checksums.

The same as a vehicle's ``@message`` signals, added up: a frame follows the one before it of its
series. Payloads that came in several frames are not verified, only timed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbc import Decoded, Decoder
from dbc.guards import checksum_columns, counter_columns, is_miscounted, is_wrong_checksum
from user_lib.contract.frames import FrameBatch

__all__ = ["QualityCount", "add_frames"]


@dataclass(slots=True)
class QualityCount:
    """What was found so far in one series. None: there is nothing to verify it by."""

    longest_gap_ns: int = 0
    counter_errors: int | None = None
    checksum_errors: int | None = None
    _latest_ns: int | None = None
    _counters: dict[int, NDArray[Any]] = field(default_factory=dict)
    """The latest raw value of each counter, by its column; (1,)."""

    def add_times(self, time_ns: NDArray[np.int64]) -> None:
        """Take the times of further frames."""
        before_ns = int(time_ns[0]) if self._latest_ns is None else self._latest_ns
        gaps = np.diff(time_ns, prepend=before_ns)
        self.longest_gap_ns = max(self.longest_gap_ns, int(gaps.max()))
        self._latest_ns = int(time_ns[-1])

    def add_counts(self, column: int, raw: NDArray[Any], decoder: Decoder, message: int) -> None:
        """Take the raw values of a counter in further frames."""
        chain = np.concatenate([self._counters.get(column, raw[:0]), raw])
        wrong = is_miscounted(decoder.messages[message], column, chain[:-1], chain[1:])
        self.counter_errors = (self.counter_errors or 0) + int(np.count_nonzero(wrong))
        self._counters[column] = chain[-1:]

    def add_checksum_errors(self, wrong: int) -> None:
        """Take how many further checksums were wrong."""
        self.checksum_errors = (self.checksum_errors or 0) + wrong


def add_frames(
    quality: QualityCount, decoder: Decoder, decoded: Decoded, batch: FrameBatch
) -> None:
    """Verify the counters and checksums of a message's frames in a batch."""
    definition = decoder.messages[decoded.message]
    counters, checksums = counter_columns(definition), checksum_columns(definition)
    if not (counters or checksums):
        return
    data, length = batch.data[decoded.rows], batch.length[decoded.rows]
    for column in counters:
        raw, present = decoder.decode_raw(decoded.message, column, data, length)
        quality.add_counts(column, raw[present], decoder, decoded.message)
    for column in checksums:
        _, present = decoder.decode_raw(decoded.message, column, data, length)
        wrong = is_wrong_checksum(definition, column, data, length) & present
        quality.add_checksum_errors(int(np.count_nonzero(wrong)))
