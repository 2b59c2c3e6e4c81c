"""Federated averaging (McMahan and others, 2017): models averaged by the samples behind them."""

from collections.abc import Sequence

from agent.sandbox.job import RoundInput
from agent.sandbox.methods import elementwise
from agent.sandbox.methods.method import ParamsError
from user_lib.contract.assignment import Json

__all__ = ["average"]


def average(inputs: Sequence[RoundInput]) -> Json:
    """Return the round's model: weights, intercept and loss averaged, ``samples`` added up.

    A vehicle whose weight is 0 trained on nothing and has no say. Any dict of numbers, lists and
    dicts is a model, so custom training may answer with its own.
    Raises: ParamsError, when a value is no dict or nobody had a sample.
    """
    for given in inputs:
        if not isinstance(given.value, dict):
            raise ParamsError(
                f"vehicle {given.vehicle} sent {type(given.value).__name__}; fedavg averages "
                "models, which are dicts such as {weights, intercept}",
                path="offboard",
            )
    trained = [i for i in inputs if i.weight > 0]
    if not trained:
        raise ParamsError("no vehicle had a sample to train on", path="offboard")
    model: dict[str, Json] = elementwise.combine(
        trained, elementwise.mean_of, weight=lambda given: given.weight
    )
    return {**model, "samples": sum(i.weight for i in trained)}
