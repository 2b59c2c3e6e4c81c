"""The physics of a simulated drive: from a profile of speeds to all that a car would measure.

Computed chunk by chunk on the grid of the itinerary, with the state carried from one to the next;
then read off at any time. The quantities are those of one car with one seed, whichever model's
messages carry them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.simulated.itinerary import STEP_S, SpeedProfile

__all__ = ["CHUNK_S", "CHUNK_STEPS", "STEPPED", "Drive", "Quantities"]

Array = NDArray[np.float64]

CHUNK_STEPS = 100
CHUNK_S = CHUNK_STEPS * STEP_S

STEPPED = frozenset({"gear", "running", "headlights", "brake_light", "abs_active", "door_open"})
"""Quantities that jump from value to value; the others go in straight lines between steps."""

_MASS_KG = 1450.0
_WHEEL_M = 0.31
_DRAG = 0.5 * 1.2 * 0.66
_ROLLING = 0.011
_GRAVITY = 9.81
_WHEELBASE_M = 2.68
_TRACK_M = 1.54
_STEERING_RATIO = 15.2
_GEARS = np.array([3.6, 2.1, 1.4, 1.05, 0.85, 0.7]) * 4.1
_SHIFT_UP_M_S = np.array([4.5, 9.0, 14.0, 19.5, 25.5])
_HYSTERESIS_M_S = 1.2
_IDLE_RPM = 820.0
_TORQUE_MOST_NM = 260.0
_OVERRUN_NM = -38.0
_WARM_C = 90.0
_M_PER_DEGREE = 111_320.0
_ENGINE_STARTS_S = 2.0


@dataclass
class _State:
    """What one chunk leaves to the next."""

    step: int = 0
    gear: int = 1
    odometer_m: float = 0.0
    distance_m: float = 0.0
    heading_rad: float = 0.0
    latitude_deg: float = 57.7072
    longitude_deg: float = 11.9668
    coolant_c: float = 0.0
    oil_c: float = 0.0
    cabin_c: float = 0.0
    fuel_l: float = 0.0
    steering_before_deg: float | None = None
    """Where the wheel stood one step before the chunk; None at the drive's start."""


@dataclass(frozen=True, eq=False)
class Quantities:
    """Everything measured in one chunk, on its grid (which includes the first step of the next).

    Shapes: ``time_s`` (n,) from the drive's start; each of ``on_grid`` (n,).
    """

    time_s: Array
    on_grid: Mapping[str, Array]

    def at(self, name: str, time_s: Array) -> Array:
        """Return a quantity at times within the chunk."""
        values = self.on_grid[name]
        if name in STEPPED:
            index = np.searchsorted(self.time_s, time_s + 1e-9, side="right") - 1
            return values[np.clip(index, 0, len(values) - 1)]
        return np.interp(time_s, self.time_s, values)


class Drive:
    """A car on its way. `chunk` computes the next `CHUNK_S` seconds."""

    def __init__(self, profile: SpeedProfile, seed: int) -> None:
        self._profile = profile
        random = np.random.default_rng([seed, 2])
        self._hills = random.uniform(0, 2 * np.pi, 4)
        self._bends = random.uniform(0, 2 * np.pi, 4)
        self._ambient_c = float(random.uniform(4, 24))
        self._speeds = profile.take(2)
        self._state = _State(
            odometer_m=float(random.uniform(5e6, 9e7)),
            heading_rad=float(random.uniform(0, 2 * np.pi)),
            coolant_c=self._ambient_c,
            oil_c=self._ambient_c,
            cabin_c=self._ambient_c,
            fuel_l=float(random.uniform(18, 48)),
        )

    def chunk(self) -> Quantities:
        """Drive on for `CHUNK_S` and return what was measured."""
        state = self._state
        # One step more than the chunk to end on the next one's first, one more for its slope.
        speed = np.concatenate([self._speeds, self._profile.take(CHUNK_STEPS)])
        self._speeds = speed[-2:]
        acceleration = np.diff(speed) / STEP_S
        speed = speed[:-1]
        time_s: Array = STEP_S * (state.step + np.arange(CHUNK_STEPS + 1, dtype=np.float64))
        measured = {"speed_m_s": speed, "acceleration_m_s2": acceleration, "time_s": time_s}
        self._go(measured)
        self._turn(measured)
        self._work(measured)
        self._warm(measured)
        self._live_in(measured)
        state.step += CHUNK_STEPS
        return Quantities(time_s, measured)

    def _go(self, m: dict[str, Array]) -> None:
        """Distance, hills and gear."""
        state = self._state
        travelled = _summed(m["speed_m_s"] * STEP_S)
        distance = state.distance_m + travelled
        waves = np.array([9_700.0, 3_100.0, 1_270.0, 610.0])
        heights = np.array([22.0, 11.0, 5.0, 1.5])
        phase = distance[:, None] * (2 * np.pi / waves) + self._hills
        m["altitude_m"] = 48.0 + np.sin(phase) @ heights
        m["grade"] = np.cos(phase) @ (heights * 2 * np.pi / waves)
        m["odometer_km"] = (state.odometer_m + travelled) / 1000
        m["gear"] = self._gears(m["speed_m_s"])
        state.distance_m, state.odometer_m = distance[-1], state.odometer_m + travelled[-1]

    def _gears(self, speed: Array) -> Array:
        """Return the gear engaged: 0 while standing, else 1 to 6, not to and fro at a limit."""
        gears = np.empty(len(speed))
        gear = self._state.gear
        for i, value in enumerate(speed.tolist()):
            up = 1 + int(np.searchsorted(_SHIFT_UP_M_S, value))
            down = 1 + int(np.searchsorted(_SHIFT_UP_M_S - _HYSTERESIS_M_S, value))
            gear = up if up > gear else min(gear, down)
            gears[i] = gear if value > 0.3 else 0
            if i == len(speed) - 2:
                self._state.gear = gear
        return gears

    def _turn(self, m: dict[str, Array]) -> None:
        """Bends, steering, heading and position."""
        state, speed = self._state, m["speed_m_s"]
        distance = state.distance_m - (m["odometer_km"][-1] - m["odometer_km"]) * 1000
        waves = np.array([2_300.0, 840.0, 310.0, 95.0])
        phase = distance[:, None] * (2 * np.pi / waves) + self._bends
        sharpest = np.minimum(0.03, 2.4 / np.maximum(speed, 3.0) ** 2)
        curvature = sharpest * (np.sin(phase) @ np.array([0.3, 0.3, 0.25, 0.15]))
        m["yaw_rate_rad_s"] = speed * curvature
        m["steering_deg"] = np.degrees(np.arctan(curvature * _WHEELBASE_M)) * _STEERING_RATIO
        before = state.steering_before_deg
        first = m["steering_deg"][0] if before is None else before
        m["steering_rate_deg_s"] = np.diff(m["steering_deg"], prepend=first) / STEP_S
        state.steering_before_deg = float(m["steering_deg"][-2])
        m["lateral_m_s2"] = speed * m["yaw_rate_rad_s"]
        heading = state.heading_rad + _summed(m["yaw_rate_rad_s"] * STEP_S)
        north_m = _summed(speed * np.cos(heading) * STEP_S)
        m["latitude_deg"] = state.latitude_deg + north_m / _M_PER_DEGREE
        metres = _M_PER_DEGREE * np.cos(np.radians(m["latitude_deg"]))
        east_deg = _summed(speed * np.sin(heading) * STEP_S / metres)
        m["longitude_deg"] = state.longitude_deg + east_deg
        m["heading_deg"] = np.degrees(heading)
        state.heading_rad = heading[-1]
        state.latitude_deg, state.longitude_deg = m["latitude_deg"][-1], m["longitude_deg"][-1]

    def _work(self, m: dict[str, Array]) -> None:
        """Engine, pedals and brakes: what force the motion takes, and who gives it."""
        speed, gear = m["speed_m_s"], m["gear"]
        force = _MASS_KG * (m["acceleration_m_s2"] + _GRAVITY * m["grade"])
        force += (_DRAG * speed**2 + _ROLLING * _MASS_KG * _GRAVITY) * (speed > 0.01)
        ratio = np.where(gear > 0, _GEARS[np.maximum(gear.astype(int), 1) - 1], 0.0)
        running = (m["time_s"] >= _ENGINE_STARTS_S) | (speed > 0)
        geared_rpm = speed / _WHEEL_M * ratio * 60 / (2 * np.pi)
        m["running"] = running.astype(float)
        m["engine_rpm"] = np.where(running, np.maximum(geared_rpm, _IDLE_RPM), 0.0)
        asked = force * _WHEEL_M / np.where(ratio > 0, ratio * 0.92, np.inf)
        m["torque_nm"] = np.clip(asked, _OVERRUN_NM, _TORQUE_MOST_NM) * running
        m["pedal_percent"] = np.clip(100 * m["torque_nm"] / _TORQUE_MOST_NM, 0, 100)
        m["slip_rpm"] = m["engine_rpm"] - geared_rpm
        engine_braking = _OVERRUN_NM * ratio / _WHEEL_M
        braking_n = np.clip(engine_braking - force, 0, None) * (speed > 0.01)
        standing = (speed <= 0.01) & running
        m["brake_bar"] = np.where(standing, 12.0, braking_n / _MASS_KG * 10)
        m["brake_percent"] = np.clip(m["brake_bar"] * 1.25, 0, 100)
        m["brake_light"] = (m["brake_bar"] > 0.5).astype(float)
        m["abs_active"] = (m["acceleration_m_s2"] < -6.0).astype(float)
        power_kw = np.maximum(m["torque_nm"], 0) * m["engine_rpm"] * 2 * np.pi / 60 / 1000
        m["power_kw"] = power_kw
        m["fuel_l_h"] = running * (0.75 + 0.27 * power_kw)

    def _warm(self, m: dict[str, Array]) -> None:
        """Temperatures that follow the work done, and the fuel it took."""
        state = self._state
        heat = m["running"] * (0.25 + m["power_kw"] / 25) * (_WARM_C - self._ambient_c) / 300
        coolant, oil, cabin = (np.empty(len(heat)) for _ in range(3))
        for i, rate in enumerate(heat.tolist()):
            coolant[i], oil[i], cabin[i] = state.coolant_c, state.oil_c, state.cabin_c
            if i == len(heat) - 1:
                break
            cooling = (
                max(state.coolant_c - _WARM_C, 0) / 8 + (state.coolant_c - self._ambient_c) / 2500
            )
            state.coolant_c += (rate - cooling) * STEP_S
            state.oil_c += (state.coolant_c + 6 - state.oil_c) / 180 * STEP_S
            warmer = min((state.coolant_c - 20) / 60, 1) * (21 - state.cabin_c)
            state.cabin_c += max(warmer, 0) / 200 * STEP_S
        used_l = _summed(m["fuel_l_h"] / 3600 * STEP_S)
        m["coolant_c"], m["oil_c"], m["cabin_c"] = coolant, oil, cabin
        m["fuel_percent"] = 100 * np.maximum(state.fuel_l - used_l, 2) / 52
        m["ambient_c"] = self._ambient_c - 0.0065 * (m["altitude_m"] - 48)
        state.fuel_l -= used_l[-1]

    def _live_in(self, m: dict[str, Array]) -> None:
        """What the people inside do, and what the electrics make of it."""
        time_s = m["time_s"]
        m["door_open"] = (time_s < 1.5).astype(float)
        m["headlights"] = np.where(m["running"] > 0, 2.0, 1.0)
        ripple = 0.04 * np.sin(time_s * 0.9) + 0.03 * np.sin(time_s * 0.23)
        m["battery_v"] = np.where(m["running"] > 0, 14.15, 12.45) + ripple - 0.1 * m["brake_light"]
        m["battery_a"] = np.where(m["running"] > 0, 4.0, -18.0) + 20 * ripple
        for name, left, front in _WHEELS:
            track = 0.5 * _TRACK_M * (1 if left else -1)
            turning = m["yaw_rate_rad_s"] * (track + (0.02 if front else 0.0))
            m[name] = np.maximum(m["speed_m_s"] + turning, 0) / _WHEEL_M


_WHEELS = (
    ("wheel_fl_rad_s", True, True),
    ("wheel_fr_rad_s", False, True),
    ("wheel_rl_rad_s", True, False),
    ("wheel_rr_rad_s", False, False),
)


def _summed(steps: Array) -> Array:
    """Return running sums that begin with 0: the last step belongs to the next chunk."""
    return np.concatenate([[0.0], np.cumsum(steps[:-1])])
