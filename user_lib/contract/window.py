"""The samples of one iteration, as every method sees them: ``data["Vehicle.Speed"]``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window"]


@dataclass(frozen=True, eq=False)
class Window(Mapping[str, NDArray[np.float64]]):
    """A read-only window: for each signal its values and, beside them, their times.

    Shapes: ``self[name]`` (n,) float64 and ``times[name]`` (n,) int64 of equal length, oldest
            first; n differs from signal to signal unless the assignment gave ``rate_hz``.
    Units:  values, each signal's unit in ``units``; times, ns of source time.
    Gaps:   a signal absent from a frame has no sample there; with ``rate_hz``, NaN where there was
            no value yet. ``lost_frames`` counts what was overwritten or dropped inside the window,
            ``away_ms`` how long a CAN interface that its signals come by was away inside it.
    """

    values_by_signal: Mapping[str, NDArray[np.float64]]
    times: Mapping[str, NDArray[np.int64]]
    start_ns: int
    stop_ns: int
    units: Mapping[str, str] = field(default_factory=dict)
    lost_frames: int = 0
    trigger_ns: int | None = None
    """When the ``when`` expression became true; None for an assignment without a trigger."""
    behind: Mapping[str, int] = field(default_factory=dict)
    """For what is held on a grid or computed of several messages: how many frames are behind it."""
    away_ms: int = 0

    def __getitem__(self, signal: str) -> NDArray[np.float64]:
        try:
            return self.values_by_signal[signal]
        except KeyError:
            known = ", ".join(self.values_by_signal)
            raise KeyError(f"no signal {signal!r} in this window; it holds {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_signal)

    def __len__(self) -> int:
        return len(self.values_by_signal)

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals in the order in which the assignment names them."""
        return tuple(self.values_by_signal)

    @property
    def samples(self) -> dict[str, int]:
        """How many samples each signal has."""
        return {name: len(values) for name, values in self.values_by_signal.items()}

    def measured(self, signal: str) -> int:
        """Return how many samples of a signal came over the bus: gaps and repeats are none."""
        known = int(np.count_nonzero(np.isfinite(self[signal])))
        return min(known, self.behind.get(signal, known))

    def seconds(self, signal: str) -> NDArray[np.float64]:
        """Return the signal's times in seconds since the window's start."""
        return (self.times[signal] - self.start_ns) / 1e9
