"""A quantile sketch that merges: DDSketch (Masson, Rim, Lee; VLDB 2019), with logarithmic buckets.

With gamma = (1 + a) / (1 - a), a value x > 0 lies in the bucket ceil(log_gamma(x)), whose middle is
within a relative error of a. Negative values have buckets of their own, zero a counter. Adding two
sketches adds their buckets, so a merged quantile is as good as if one machine had seen all samples:

    |estimate - x| <= a * |x|, where x is the sample of rank floor(q * (n - 1)), counted from 0.

Values below 1e-12 in magnitude count as zero. No bucket is ever collapsed: there are at most as
many as samples, and few for any physical quantity (a = 0.01 needs 115 a decade).
"""

import math
import sys
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Sketch", "merged", "of", "quantile"]

TINY = 1e-12
LARGEST_EXPONENT = math.log(sys.float_info.max)


class Sketch(msgspec.Struct, frozen=True):
    """Counts of buckets, keyed by their index; ``accuracy`` is the bound a."""

    accuracy: float
    zeros: int = 0
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}

    @property
    def n(self) -> int:
        """How many samples it has seen."""
        return self.zeros + sum(self.positive.values()) + sum(self.negative.values())


def of(values: NDArray[np.float64], accuracy: float) -> Sketch:
    """Sketch finite values. Shapes: values (n,)."""
    magnitude = np.abs(values)
    tiny = magnitude < TINY
    return Sketch(
        accuracy=accuracy,
        zeros=int(np.count_nonzero(tiny)),
        positive=_buckets(values[(values > 0) & ~tiny], accuracy),
        negative=_buckets(-values[(values < 0) & ~tiny], accuracy),
    )


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """Return the sketch of all samples together.

    Raises: ValueError, if the sketches differ in accuracy or there are none.
    """
    parts = list(sketches)
    accuracies = {s.accuracy for s in parts}
    if len(accuracies) != 1:
        raise ValueError(f"sketches of different accuracies do not merge: {sorted(accuracies)}")
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}
    for part in parts:
        for total, buckets in ((positive, part.positive), (negative, part.negative)):
            for index, count in buckets.items():
                total[index] = total.get(index, 0) + count
    return Sketch(accuracies.pop(), sum(s.zeros for s in parts), positive, negative)


def quantile(sketch: Sketch, q: float) -> float | None:
    """Return the estimate of the sample of rank floor(q * (n - 1)); None for an empty sketch."""
    if not sketch.n:
        return None
    rank = math.floor(q * (sketch.n - 1))
    for index in sorted(sketch.negative, reverse=True):
        rank -= sketch.negative[index]
        if rank < 0:
            return -_middle(index, sketch.accuracy)
    rank -= sketch.zeros
    if rank < 0:
        return 0.0
    for index in sorted(sketch.positive):
        rank -= sketch.positive[index]
        if rank < 0:
            return _middle(index, sketch.accuracy)
    raise AssertionError("the rank of a quantile lies within the sketch")


def _log_gamma(accuracy: float) -> float:
    return math.log1p(accuracy) - math.log1p(-accuracy)


def _buckets(magnitudes: NDArray[np.float64], accuracy: float) -> dict[int, int]:
    indices = np.ceil(np.log(magnitudes) / _log_gamma(accuracy)).astype(np.int64)
    found, counts = np.unique(indices, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _middle(index: int, accuracy: float) -> float:
    """Return the value that is within ``accuracy`` of everything in the bucket."""
    exponent = index * _log_gamma(accuracy) + math.log1p(-accuracy)
    return math.exp(min(exponent, LARGEST_EXPONENT))
