"""Speed tables: times and speeds to drive after, from CSV files such as published drive cycles.

::

    cycSecs,cycMps,cycGrade,cycRoadType            seconds, metres per second
    timestamp,cycle_sec,timestep,speed_mph,...     seconds, miles per hour; gaps between trips
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from user_lib.contract.errors import SourceError

__all__ = ["SpeedTable", "read_speed_table"]

_TIME_NAMES = ("cycsecs", "cyclesec", "timesec", "times", "seconds", "secs", "sec", "time", "t")
_UNITS_M_S = {
    "kmh": 1 / 3.6,
    "kph": 1 / 3.6,
    "kmph": 1 / 3.6,
    "mph": 0.44704,
    "mps": 1.0,
    "ms": 1.0,
    "msec": 1.0,
}
_LONGEST_GAP_S = 60.0
"""A longer gap between rows is a time without a trip: the car stands for this long instead."""


@dataclass(frozen=True, eq=False)
class SpeedTable:
    """Speeds over time, straight lines between the rows.

    Shapes: both (n,), n >= 2. Units: s from the first row on, strictly rising; m/s, never below 0.
    """

    time_s: NDArray[np.float64]
    speed_m_s: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """From the first row to the last."""
        return float(self.time_s[-1])

    def speeds(self, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the speeds in m/s at these times; after the last row the car stands."""
        return np.interp(at_s, self.time_s, self.speed_m_s, right=0.0)


def read_speed_table(path: Path) -> SpeedTable:
    """Read a CSV with a header that names a column of seconds and one of speeds.

    The speed's unit follows from its name: m/s, mph or km/h. Between two trips (a gap longer than a
    minute, or a counter of seconds that begins anew) the car stands for a minute.

    Raises: SourceError, naming file and line, when a column is missing or a row is no number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read speed table {path}: {error}") from error
    rows = csv.reader(text.splitlines())
    header = [_plain(cell) for cell in next(rows, [])]
    time_at, speed_at, unit_m_s = _columns(header, path)
    times: list[float] = []
    speeds: list[float] = []
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            times.append(float(row[time_at]))
            speeds.append(float(row[speed_at]) * unit_m_s)
        except (ValueError, IndexError):
            raise SourceError(
                f"speed table {path}, line {number}: expected numbers in columns "
                f"{time_at + 1} and {speed_at + 1}, found {','.join(row)[:60]!r}"
            ) from None
    return _table(np.array(times), np.array(speeds), path)


def _plain(cell: str) -> str:
    return re.sub(r"[^a-z]", "", cell.lower())


def _columns(header: list[str], path: Path) -> tuple[int, int, float]:
    """Return where times and speeds stand, and the speed's unit in m/s. Raises: SourceError."""
    times = [header.index(name) for name in _TIME_NAMES if name in header]
    speeds = [
        (i, unit)
        for i, name in enumerate(header)
        for ending, unit in _UNITS_M_S.items()
        if name.endswith(ending) and i not in times and not name.startswith("accel")
    ]
    if not times or not speeds:
        raise SourceError(
            f"speed table {path}: expected a header with a column of seconds (such as 'cycSecs', "
            f"'time_s') and one of speeds in m/s, mph or km/h (such as 'cycMps', 'speed_mph', "
            f"'speed_kmh'), found {', '.join(header)[:80]!r}"
        )
    return times[0], speeds[0][0], speeds[0][1]


def _table(times: NDArray[np.float64], speeds: NDArray[np.float64], path: Path) -> SpeedTable:
    if len(times) < 2:
        raise SourceError(f"speed table {path}: expected at least two rows, found {len(times)}")
    if not (np.isfinite(times).all() and np.isfinite(speeds).all()):
        raise SourceError(f"speed table {path}: a time or speed is not finite")
    steps = np.diff(times)
    if (steps == 0).any():
        again = times[1:][steps == 0][0]
        raise SourceError(f"speed table {path}: two rows are of the same time, {again:g} s")
    long = (steps > _LONGEST_GAP_S) | (steps < 0)
    time_s = np.concatenate([[0.0], np.cumsum(np.where(long, _LONGEST_GAP_S, steps))])
    # Standing in a gap: a second after its start and before its end the speed is 0.
    starts = np.flatnonzero(long)
    extra_s = np.concatenate([time_s[starts] + 1, time_s[starts + 1] - 1])
    at = np.concatenate([time_s, extra_s])
    values = np.concatenate([np.maximum(speeds, 0.0), np.zeros(len(extra_s))])
    order = np.argsort(at, kind="stable")
    return SpeedTable(at[order], values[order])
