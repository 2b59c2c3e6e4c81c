"""The built-in methods by name, for running, for checking params and for describing."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agent.sandbox.job import Half, RoundInput
from agent.sandbox.methods import (
    collect,
    count,
    histogram,
    least_squares,
    logistic_regression,
    max,
    mean,
    median,
    min,
    offboard,
    quantiles,
    sample,
    std,
    sum,
    threshold,
    wordcount,
)
from agent.sandbox.methods.disclosure import shares_raw
from agent.sandbox.methods.method import REQUIRED, Method, Offboard, Param, ParamsError
from user_lib.contract.assignment import Json
from user_lib.contract.errors import nearest

__all__ = [
    "OFFBOARD",
    "ONBOARD",
    "Description",
    "check_params",
    "describe",
    "merge",
    "offboard_method",
    "onboard",
]

MERGE = Offboard(
    "merge",
    "what one machine with all the samples would have computed: the on-board method's own merge",
    (),
    lambda inputs, params: None,
)

ONBOARD: Mapping[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        collect, count, histogram, least_squares, logistic_regression, max, mean, median, min,
        quantiles, sample, std, sum, threshold, wordcount,
    )
}  # fmt: skip
OFFBOARD: Mapping[str, Offboard] = {m.name: m for m in (*offboard.METHODS, MERGE)}


class Description(msgspec.Struct, frozen=True):
    """A method as the analyst is told of it."""

    half: Half
    name: str
    doc: str
    params: tuple[str, ...]
    """``name (kind, default VALUE): doc``, or ``required``, or ``may be left out``; one a param."""
    shares_raw: bool = False


def onboard(name: str) -> Method:
    """Return a built-in on-board method.

    Raises: ParamsError, with the nearest names.
    """
    if name not in ONBOARD:
        raise _unknown(name, ONBOARD, "onboard")
    return ONBOARD[name]


def offboard_method(name: str) -> Offboard:
    """Return a built-in off-board method.

    Raises: ParamsError, with the nearest names.
    """
    if name not in OFFBOARD:
        raise _unknown(name, OFFBOARD, "offboard")
    return OFFBOARD[name]


def check_params(half: Half, name: str, params: Mapping[str, Json]) -> dict[str, Json]:
    """Return a built-in method's params, completed by defaults; custom and external are free.

    Raises: ParamsError, naming the param and what it may hold.
    """
    if name == "custom" or name.startswith("external:"):
        return dict(params)
    if half == "onboard":
        return onboard(name).check(params)
    return offboard_method(name).check(params)


def merge(
    name: str, inputs: Sequence[RoundInput], params: Mapping[str, Json], onboard_method: str
) -> Json:
    """Run an off-board method over the answers of a round.

    Raises: ParamsError, for an unknown method, params or values that it cannot combine.
    """
    method = offboard_method(name)
    given = method.check(params)
    if method is not MERGE:
        return method.combine(inputs, given)
    if onboard_method not in ONBOARD:
        raise ParamsError(
            f"merge needs a built-in on-board method, not {onboard_method!r}; for values of "
            "custom code there are mean, weighted_mean, sum, collect and custom",
            path="offboard",
        )
    try:
        return ONBOARD[onboard_method].merge(inputs, given)
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise ParamsError(
            f"the partial results are not those of {onboard_method}: {error}", path="offboard"
        ) from None


def describe() -> tuple[Description, ...]:
    """Describe every built-in method, on-board first."""
    onboards = (
        Description("onboard", m.name, m.doc, _told(m.params), shares_raw(m.name))
        for m in ONBOARD.values()
    )
    offboards = (Description("offboard", m.name, m.doc, _told(m.params)) for m in OFFBOARD.values())
    return (*onboards, *offboards)


def _told(params: Iterable[Param]) -> tuple[str, ...]:
    return tuple(f"{p.name} ({p.kind}, {_default(p)}): {p.doc}" for p in params)


def _default(param: Param) -> str:
    if param.default is REQUIRED:
        return "required"
    return "may be left out" if param.default is None else f"default {param.default!r}"


def _unknown(name: str, known: Iterable[str], path: str) -> ParamsError:
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return ParamsError(f"no method {name!r}; {hint}", path=path, near=near)
