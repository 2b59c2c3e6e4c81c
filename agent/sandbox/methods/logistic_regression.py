"""Logistic regression by gradient steps: whether a signal is above a value."""

from collections.abc import Mapping

import numpy as np

from agent.sandbox.methods import regression
from agent.sandbox.methods.method import Method, Param
from agent.sandbox.methods.regression import Floats, Link
from user_lib.contract.assignment import Json

__all__ = ["METHOD"]


def _label(target: Floats, params: Mapping[str, Json]) -> Floats:
    return np.where(target > params["above"], 1.0, 0.0)


def _sigmoid(linear: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * linear))


def _cross_entropy(predicted: Floats, label: Floats) -> float:
    p = np.clip(predicted, 1e-12, 1 - 1e-12)
    return float(-np.mean(label * np.log(p) + (1 - label) * np.log(1 - p)))


METHOD = Method(
    name="logistic_regression",
    doc="logistic regression by gradient steps from the round's model (feedback) on the local "
    "window: {weights: {feature: w}, intercept, loss}; the label is whether the target is above "
    "a value, loss is the mean cross-entropy",
    params=(
        *regression.PARAMS,
        Param("above", "number", "the label is 1 where the target is greater", default=0.5),
    ),
    compute=regression.train_with(Link(_label, _sigmoid, _cross_entropy, curvature=0.25)),
    merge=regression.merge,
)
