"""Linear regression by gradient steps."""

from collections.abc import Mapping

import numpy as np

from agent.sandbox.methods import regression
from agent.sandbox.methods.method import Method
from agent.sandbox.methods.regression import Floats, Link
from user_lib.contract.assignment import Json

__all__ = ["METHOD"]


def _label(target: Floats, params: Mapping[str, Json]) -> Floats:
    return target


def _identity(linear: Floats) -> Floats:
    return linear


def _mean_square(predicted: Floats, label: Floats) -> float:
    return float(np.mean((predicted - label) ** 2))


METHOD = Method(
    name="least_squares",
    doc="linear regression by gradient steps from the round's model (feedback) on the local "
    "window: {weights: {feature: w}, intercept, loss}; loss is the mean squared error",
    params=regression.PARAMS,
    compute=regression.train_with(Link(_label, _identity, _mean_square, curvature=1.0)),
    merge=regression.merge,
)
