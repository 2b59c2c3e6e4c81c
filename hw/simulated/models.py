"""The two demo cars: which quantity of a drive each signal of their databases carries.

Both tell of the same drive, in other messages, units and codes. Counters and checksums are not
listed: the databases mark them, and `hw.simulated.car` fills them in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.simulated.drive import Quantities

__all__ = ["MODELS", "CarModel", "Formula", "Sampled"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sampled:
    """The drive at the moments when one message is sent.

    Shapes: ``time_s`` and ``index`` (n,); ``index`` numbers the message's frames since the start.
    """

    quantities: Quantities
    time_s: Array
    index: NDArray[np.int64]

    def __getitem__(self, name: str) -> Array:
        return self.quantities.at(name, self.time_s)


Formula = str | Callable[[Sampled], Array]
"""A signal's physical value: a quantity by name, or computed from several."""


@dataclass(frozen=True)
class CarModel:
    """One model: its databases by channel, its mapping, and the formula of every signal."""

    databases: Mapping[str, str]
    mapping: str
    signals: Mapping[str, Mapping[str, Formula]]


def _times(name: str, factor: float, offset: float = 0.0) -> Formula:
    return lambda car: car[name] * factor + offset


def _constant(value: float) -> Formula:
    return lambda car: np.full(len(car.time_s), value)


def _page(pages: int) -> Formula:
    return lambda car: (car.index % pages).astype(np.float64)


def _wave(middle: float, swing: float, period_s: float, phase: float = 0.0) -> Formula:
    """Return a formula for what is measured and has no part in the drive, such as distances."""
    return lambda car: middle + swing * np.sin(car.time_s * 2 * np.pi / period_s + phase)


def _compass(car: Sampled) -> Array:
    return np.mod(car["heading_deg"], 360.0)


def _throttle(car: Sampled) -> Array:
    return car["running"] * (7.0 + 0.9 * car["pedal_percent"])


def _lever(park: float, drive: float) -> Formula:
    return lambda car: np.where((car["gear"] > 0) | (car["time_s"] > 4), drive, park)


def _wagon_gear(car: Sampled) -> Array:
    """P while parked, N while standing, D1 to D6: 0, 2, 3 to 8."""
    gear = car["gear"]
    return np.where(gear > 0, gear + 2, np.where(car["time_s"] > 4, 2.0, 0.0))


def _since_start(factor: float) -> Formula:
    return lambda car: np.floor(car.time_s * factor)


_COMPACT: Mapping[str, Mapping[str, Formula]] = {
    "EngineData": {
        "EngineSpeed": "engine_rpm",
        "EngineTorque": "torque_nm",
        "EngineRunning": "running",
        "AcceleratorPedal": "pedal_percent",
        "ThrottlePosition": _throttle,
    },
    "VehicleMotion": {
        "VehicleSpeed": _times("speed_m_s", 3.6),
        "LongitudinalAcceleration": "acceleration_m_s2",
        "Odometer": "odometer_km",
    },
    "Transmission": {
        "CurrentGear": "gear",
        "SelectorPosition": _lever(0, 3),
        "TransmissionOilTemperature": _times("oil_c", 0.9),
        "ClutchSlip": "slip_rpm",
    },
    "Brakes": {
        "BrakePressure": "brake_bar",
        "BrakePedalPosition": "brake_percent",
        "AbsActive": "abs_active",
    },
    "EngineTemperatures": {
        "CoolantTemperature": "coolant_c",
        "OilTemperature": "oil_c",
        "FuelRate": "fuel_l_h",
        "FuelLevel": "fuel_percent",
    },
    "EngineMonitor": {
        "MonitorPage": _page(3),
        "IntakeAirTemperature": _times("ambient_c", 1.0, 6.0),
        "ManifoldPressure": _times("pedal_percent", 1.4, 32.0),
        "RailPressure": _times("engine_rpm", 0.42, 140.0),
        "LambdaValue": _wave(1.0, 0.015, 1.3),
        "KnockLevel": _times("torque_nm", 0.06, -20.0),
        "IgnitionAngle": _times("engine_rpm", 0.006, 4.0),
    },
    "SteeringWheel": {
        "SteeringAngle": "steering_deg",
        "SteeringRate": "steering_rate_deg_s",
        "SteeringTorque": _times("steering_deg", 0.02),
    },
    "BodyStatus": {
        "DoorFrontLeftOpen": "door_open",
        "DoorFrontRightOpen": _constant(0),
        "DoorRearLeftOpen": _constant(0),
        "DoorRearRightOpen": _constant(0),
        "TrunkOpen": _constant(0),
        "Headlights": "headlights",
        "BrakeLight": "brake_light",
    },
    "Climate": {
        "AmbientTemperature": "ambient_c",
        "CabinTemperature": "cabin_c",
        "FanLevel": _constant(3),
    },
    "LowVoltageBattery": {"BatteryVoltage": "battery_v", "BatteryCurrent": "battery_a"},
    "GpsPosition": {"Latitude": "latitude_deg", "Longitude": "longitude_deg"},
    "GpsMotion": {
        "Altitude": "altitude_m",
        "Heading": _compass,
        "GpsSpeed": _times("speed_m_s", 3.6),
        "Satellites": _constant(11),
        "FixType": _constant(3),
    },
    "SensorCluster": {
        "WheelSpeedFrontLeft": "wheel_fl_rad_s",
        "WheelSpeedFrontRight": "wheel_fr_rad_s",
        "WheelSpeedRearLeft": "wheel_rl_rad_s",
        "WheelSpeedRearRight": "wheel_rr_rad_s",
        "YawRate": "yaw_rate_rad_s",
        **{f"Ultrasonic{i:02d}": _wave(3.0, 1.5, 4.0 + i, i) for i in range(1, 13)},
        "ClusterTime": _since_start(1e6),
        "RoadTemperature": _times("ambient_c", 1.0, 2.0),
    },
}

_WAGON: Mapping[str, Mapping[str, Formula]] = {
    "Pcm_Drive": {
        "Pcm_EngSpd": "engine_rpm",
        "Pcm_TqAct": "torque_nm",
        "Pcm_AccPdl": "pedal_percent",
        "Pcm_EngState": _times("running", 2.0),
    },
    "Bcs_Motion": {
        "Bcs_VehSpd": "speed_m_s",
        "Bcs_VehSpdValid": _constant(1),
        "Bcs_Ax": "acceleration_m_s2",
        "Bcs_Odo": "odometer_km",
    },
    "Hub_WakeUp": {"Hub_WakeReason": _constant(1)},
    "Tcu_State": {
        "Tcu_GearAct": _wagon_gear,
        "Tcu_Lever": _lever(0, 3),
        "Tcu_OilTmp": _times("oil_c", 0.9),
    },
    "Bcs_Hydraulics": {
        "Bcs_BrkPrs": _times("brake_bar", 100.0),
        "Bcs_BrkPdl": "brake_percent",
        "Bcs_AbsAct": "abs_active",
    },
    "Pcm_Thermal": {
        "Pcm_ThermalPage": _page(3),
        "Pcm_CoolTmp": "coolant_c",
        "Pcm_OilTmp": "oil_c",
        "Pcm_FuelLvl": "fuel_percent",
        "Pcm_FuelRate": "fuel_l_h",
        "Pcm_ExhTmp": _times("power_kw", 7.0, 180.0),
    },
    "Epb_Steering": {
        "Epb_SteerAngle": "steering_deg",
        "Epb_SteerRate": "steering_rate_deg_s",
        "Epb_HandTorque": _times("steering_deg", 0.02),
    },
    "Hub_Body": {
        "Hub_DoorFL": _times("door_open", 2.0),
        "Hub_DoorFR": _constant(0),
        "Hub_DoorRL": _constant(0),
        "Hub_DoorRR": _constant(0),
        "Hub_Tailgate": _constant(0),
        "Hub_Lights": "headlights",
    },
    "Cli_Air": {
        "Cli_OutsideTmp": "ambient_c",
        "Cli_InsideTmp": "cabin_c",
        "Cli_Blower": _constant(40),
    },
    "Hub_Supply": {"Hub_Ubat": "battery_v", "Hub_Ibat": "battery_a"},
    "Nav_Fix": {
        "Nav_Lat": "latitude_deg",
        "Nav_Lon": "longitude_deg",
        "Nav_Alt": "altitude_m",
        "Nav_Fix": _constant(3),
        "Nav_Head": _compass,
        "Nav_Spd": "speed_m_s",
        "Nav_Sats": _constant(11),
        "Nav_Time": _since_start(1e3),
    },
    "Hub_Cells": {
        "Hub_PackVolt": _wave(392.0, 4.0, 90.0),
        "Hub_PackEnergy": _wave(14_200.0, 350.0, 600.0),
        "Hub_Charge": _wave(36_000.0, 2_000.0, 600.0),
        **{f"Hub_Cell{i:02d}": _wave(3.92, 0.04, 90.0, 0.1 * i) for i in range(1, 13)},
    },
}

MODELS: Mapping[str, CarModel] = {
    "compact": CarModel(
        databases={"can0": "compact_powertrain.dbc", "can1": "compact_body.dbc"},
        mapping="compact.vspec",
        signals=_COMPACT,
    ),
    "wagon": CarModel(
        databases={"can0": "wagon_drive.dbc", "can1": "wagon_comfort.dbc"},
        mapping="wagon.vspec",
        signals=_WAGON,
    ),
}
