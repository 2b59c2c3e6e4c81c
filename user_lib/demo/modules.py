"""The two versions of custom code that the demo swaps, as an analyst would have written them."""

__all__ = ["FIRST_VERSION", "SECOND_VERSION"]

FIRST_VERSION = '''\
"""How hard the driver brakes: the strongest deceleration of the window."""

import numpy as np


def custom(data, params):
    acceleration = data["Vehicle.Acceleration.Longitudinal"]
    return {"hardest_braking": float(max(0.0, -np.min(acceleration)))}
'''

SECOND_VERSION = '''\
"""The same, and new: how jerky the drive is, and how many windows this vehicle has seen."""

import numpy as np

from user_lib import Result


def custom(data, params):
    acceleration = data["Vehicle.Acceleration.Longitudinal"]
    seconds = data.seconds("Vehicle.Acceleration.Longitudinal")
    jerk = np.diff(acceleration) / np.maximum(np.diff(seconds), 1e-3)
    value = {
        "hardest_braking": float(max(0.0, -np.min(acceleration))),
        "mean_jerk": float(np.mean(np.abs(jerk))),
    }
    windows = (params.state or 0) + 1
    return Result(value, state=windows)
'''
