"""Local training for federated learning: gradient steps from the round's model on a window.

A model is ``{"weights": {feature: w}, "intercept": b}``; the round's feedback is the model to start
from, without feedback all is zero. The answer is the new model with its loss on this window, and
the number of samples as weight, which is what ``fedavg`` averages by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.sandbox.job import RoundInput
from agent.sandbox.methods.federated import average
from agent.sandbox.methods.method import Compute, MethodOutput, Param, ParamsError, Prior
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["PARAMS", "Floats", "Link", "merge", "train_with"]

Floats: TypeAlias = NDArray[np.float64]

PARAMS = (
    Param("target", "string", "the signal to predict; default the last-named", default=None),
    Param("features", "strings", "the signals to predict from; default all others", default=None),
    Param("scale", "mapping", "{feature: [centre, spread]}, the same on every vehicle", default={}),
    Param("learning_rate", "number", "step, as a share of the largest safe one", 1.0, 1e-6, 1.99),
    Param("epochs", "integer", "gradient steps an iteration", default=20, low=1, high=100_000),
    Param("l2", "number", "ridge penalty on the weights", default=0.0, low=0),
)


@dataclass(frozen=True, slots=True)
class Link:
    """What differs between the two regressions.

    ``label`` makes the target's values, ``predict`` maps the linear term to a prediction, ``loss``
    compares, ``curvature`` bounds the second derivative of the loss in the linear term.
    """

    label: Callable[[Floats, Mapping[str, Json]], Floats]
    predict: Callable[[Floats], Floats]
    loss: Callable[[Floats, Floats], float]
    curvature: float


def train_with(link: Link) -> Compute:
    """Return the on-board half of a regression."""

    def compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
        target, features = _roles(window, params)
        x, y = _aligned(window, target, features)
        x = _scaled(x, features, params["scale"])
        design = np.column_stack([x, np.ones(len(x))])
        start = _start(prior.feedback, features)
        label = link.label(y, params)
        model = _descend(link, design, label, start, params) if len(y) else start
        loss = link.loss(link.predict(design @ model), label) if len(y) else None
        value = {
            "weights": dict(zip(features, model[:-1].tolist(), strict=True)),
            "intercept": float(model[-1]),
            "loss": loss,
        }
        return MethodOutput(value, weight=float(len(y)), partial=value)

    return compute


def merge(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    """Average the models by their samples, as ``fedavg`` does."""
    return average(inputs)


def _roles(window: Window, params: Mapping[str, Json]) -> tuple[str, list[str]]:
    target = params["target"] if params["target"] is not None else window.signals[-1]
    features = params["features"]
    if features is None:
        features = [s for s in window.signals if s != target]
    for signal in (target, *features):
        if signal not in window:
            raise ParamsError(
                f"{signal!r} is not among the assignment's signals: {', '.join(window.signals)}",
                path="onboard_params",
            )
    if not features or target in features:
        raise ParamsError("at least one feature that is not the target", path="onboard_params")
    return target, list(features)


def _aligned(window: Window, target: str, features: Sequence[str]) -> tuple[Floats, Floats]:
    """Return features and target at the target's times; a feature holds until its next sample.

    Shapes: (n, n_features), (n,). Rows in which anything is unknown are left out.
    """
    y, at = window[target], window.times[target]
    columns = [_held(window.times[f], window[f], at) for f in features]
    x = np.column_stack(columns)
    known = np.isfinite(y) & np.isfinite(x).all(axis=1)
    return x[known], y[known]


def _held(times: NDArray[np.int64], values: Floats, at: NDArray[np.int64]) -> Floats:
    if not len(times):
        return np.full(len(at), np.nan)
    latest = np.searchsorted(times, at, side="right") - 1
    return np.where(latest >= 0, values[latest], np.nan)


def _scaled(x: Floats, features: Sequence[str], scale: Mapping[str, Json]) -> Floats:
    scaled = x.copy()
    for feature, given in scale.items():
        if feature not in features:
            raise ParamsError("no such feature", path=f"onboard_params.scale.{feature}")
        centre, spread = _pair(given, feature)
        column = features.index(feature)
        scaled[:, column] = (scaled[:, column] - centre) / spread
    return scaled


def _pair(given: Json, feature: str) -> tuple[float, float]:
    match given:
        case [int() | float() as centre, int() | float() as spread] if spread > 0:
            return float(centre), float(spread)
    raise ParamsError(
        f"expected [centre, spread] with spread > 0, found {given!r:.80}",
        path=f"onboard_params.scale.{feature}",
    )


def _start(feedback: Json, features: Sequence[str]) -> Floats:
    """Return the model to start from, the intercept last."""
    if feedback is None:
        return np.zeros(len(features) + 1)
    try:
        weights, intercept = feedback["weights"], feedback["intercept"]
        return np.array([*(weights[f] for f in features), intercept], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ParamsError(
            f"the feedback is no model of these features ({error!r}); fedavg makes one",
            path="feedback",
        ) from None


def _descend(
    link: Link, design: Floats, label: Floats, start: Floats, params: Mapping[str, Json]
) -> Floats:
    """Take the gradient steps; none is longer than the loss's curvature allows: no divergence."""
    n = len(label)
    ridge = np.full(design.shape[1], float(params["l2"]))
    ridge[-1] = 0.0
    steepest = link.curvature * float(np.linalg.eigvalsh(design.T @ design / n)[-1])
    step = params["learning_rate"] / (steepest + params["l2"])
    model = start
    for _ in range(params["epochs"]):
        error = link.predict(design @ model) - label
        model = model - step * (design.T @ error / n + ridge * model)
    return model
