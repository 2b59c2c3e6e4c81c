"""Where a seeded drive goes and how its driver drives: speeds on a grid of tenths of a second.

A drive begins at the kerb, goes through town with its stops, into the country, along a motorway and
back, again and again, each time a little different. The driver accelerates and brakes within the
limits of comfort, and never holds a speed exactly.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.simulated.speed_table import SpeedTable

__all__ = ["STEP_S", "Itinerary", "SpeedProfile", "TableProfile"]

STEP_S = 0.1
"""The grid on which a drive is computed."""

_KMH = 1 / 3.6
_KERB_S = 6.0
_REACTION_S = 1.6
"""How fast a driver closes the gap to the speed wanted."""
_HARDEST_BRAKING = 3.2
_JERK_M_S3 = 2.5
_HARSH_SHARE = 0.12
"""Share of stops for which the driver brakes late, at up to `_HARSH_BRAKING`."""
_HARSH_BRAKING = 6.5


class SpeedProfile(Protocol):
    """Gives the speeds of a drive, chunk after chunk."""

    def take(self, steps: int) -> NDArray[np.float64]:
        """Return the speeds in m/s of the next steps of `STEP_S`."""
        ...


class TableProfile:
    """Drives exactly after a table."""

    def __init__(self, table: SpeedTable) -> None:
        self._table = table
        self._step = 0

    def take(self, steps: int) -> NDArray[np.float64]:
        """Return the speeds in m/s of the next steps; past the table's end the car stands."""
        at_s = STEP_S * np.arange(self._step, self._step + steps, dtype=np.float64)
        self._step += steps
        return self._table.speeds(at_s)


class Itinerary:
    """A seeded drive: roads and stops, and a driver who follows their limits."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, 1])
        self._legs = self._roads()
        self._mood = self._random.uniform(0, 2 * np.pi, 3)
        self._left_s = 0.0
        self._wanted_m_s = 0.0
        self._braking = _HARDEST_BRAKING
        self._speed = 0.0
        self._acceleration = 0.0
        self._time_s = 0.0

    def take(self, steps: int) -> NDArray[np.float64]:
        """Return the speeds in m/s of the next steps, the first at the drive's present."""
        speeds = np.empty(steps)
        for i in range(steps):
            speeds[i] = self._speed
            self._advance()
        return speeds

    def _advance(self) -> None:
        """Drive one step towards the speed wanted, within the limits of car and driver."""
        if self._left_s <= 0:
            self._left_s, self._wanted_m_s, self._braking = next(self._legs)
        self._left_s -= STEP_S
        self._time_s += STEP_S
        wanted = self._wanted_m_s * self._unsteadiness()
        asked = (wanted - self._speed) / _REACTION_S
        strongest = 2.2 / (1 + self._speed / 18)
        asked = min(max(asked, -self._braking), strongest)
        change = _JERK_M_S3 * STEP_S * (4 if self._braking > _HARDEST_BRAKING else 1)
        self._acceleration += min(max(asked - self._acceleration, -change), change)
        self._speed += self._acceleration * STEP_S
        if self._speed < 0.05 and wanted == 0:
            self._speed = self._acceleration = 0.0
        self._speed = max(self._speed, 0.0)

    def _unsteadiness(self) -> float:
        """Return a factor near 1 that wanders slowly, as a driver's foot does."""
        waves = np.sin(self._time_s * np.array([0.21, 0.083, 0.037]) + self._mood)
        return 1 + float(waves @ np.array([0.012, 0.018, 0.02]))

    def _roads(self) -> Iterator[tuple[float, float, float]]:
        """Yield legs for ever: seconds, the speed wanted in m/s, the hardest braking allowed."""
        yield _KERB_S, 0.0, _HARDEST_BRAKING
        while True:
            yield from self._town(int(self._random.integers(3, 7)))
            yield from self._open_road(70, 95, legs=int(self._random.integers(2, 5)))
            yield from self._open_road(110, 130, legs=int(self._random.integers(2, 6)))
            yield from self._open_road(70, 90, legs=int(self._random.integers(1, 4)))

    def _town(self, blocks: int) -> Iterator[tuple[float, float, float]]:
        for _ in range(blocks):
            limit = float(self._random.choice([30, 40, 50, 50])) * _KMH
            yield self._random.uniform(10, 40), limit, _HARDEST_BRAKING
            if self._random.random() < 0.6:
                harsh = self._random.random() < _HARSH_SHARE
                braking = _HARSH_BRAKING if harsh else self._random.uniform(1.2, 2.6)
                yield self._random.uniform(12, 45), 0.0, braking

    def _open_road(
        self, slowest_kmh: float, fastest_kmh: float, *, legs: int
    ) -> Iterator[tuple[float, float, float]]:
        for _ in range(legs):
            limit = self._random.uniform(slowest_kmh, fastest_kmh) * _KMH
            yield self._random.uniform(25, 120), limit, _HARDEST_BRAKING
            if self._random.random() < _HARSH_SHARE:
                yield 4.0, 0.6 * limit, _HARSH_BRAKING
