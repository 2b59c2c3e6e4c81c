"""The off-board methods for the values of any on-board method; ``merge`` is each method's own."""

from collections.abc import Mapping, Sequence

from agent.sandbox.job import RoundInput
from agent.sandbox.methods import elementwise
from agent.sandbox.methods.collect import by_vehicle
from agent.sandbox.methods.federated import average
from agent.sandbox.methods.method import Offboard
from user_lib.contract.assignment import Json

__all__ = ["METHODS"]


def _sum(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    return elementwise.combine(inputs, elementwise.sum_of, weight=lambda _: 1.0)


def _mean(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    return elementwise.combine(inputs, elementwise.mean_of, weight=lambda _: 1.0)


def _weighted_mean(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    return elementwise.combine(inputs, elementwise.mean_of, weight=lambda given: given.weight)


def _fedavg(inputs: Sequence[RoundInput], params: Mapping[str, Json]) -> Json:
    return average(inputs)


METHODS = (
    Offboard("collect", "every vehicle's value, under its name", (), by_vehicle),
    Offboard("sum", "number by number, the sum over the vehicles", (), _sum),
    Offboard("mean", "number by number, the mean over the vehicles, each counting once", (), _mean),
    Offboard(
        "weighted_mean",
        "number by number, the mean weighted by each vehicle's samples",
        (),
        _weighted_mean,
    ),
    Offboard(
        "fedavg",
        "federated averaging: models weighted by samples, the losses too; feed it back to train on",
        (),
        _fedavg,
    ),
)
