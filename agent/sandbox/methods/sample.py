"""Every n-th sample, or samples at a rate; the count goes on from window to window."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent.sandbox.methods.collect import by_vehicle, samples
from agent.sandbox.methods.method import Method, MethodOutput, Param, ParamsError, Prior
from user_lib.contract.assignment import Json
from user_lib.contract.window import Window

__all__ = ["METHOD"]


def _compute(window: Window, params: Mapping[str, Json], prior: Prior) -> MethodOutput:
    nth, rate_hz = params["nth"], params["rate_hz"]
    before = prior.state if isinstance(prior.state, dict) else {}
    value: dict[str, Json] = {}
    state: dict[str, Json] = {}
    for signal in window.signals:
        mark = before.get(signal, 0)
        mark = mark if isinstance(mark, int) else 0
        times = window.times[signal]
        which, state[signal] = (
            _every_nth(len(times), nth, mark) if nth else _at_rate(times, rate_hz, mark)
        )
        value[signal] = samples(window, signal, which)
    most = max((len(v["values"]) for v in value.values()), default=0)
    return MethodOutput(value, weight=float(most), state=state)


def _fits(params: Mapping[str, Json]) -> None:
    if (params["nth"] is None) == (params["rate_hz"] is None):
        raise ParamsError("give either nth or rate_hz", path="onboard_params")


def _every_nth(n: int, nth: int, skip: int) -> tuple[NDArray[np.bool_], int]:
    """Select with ``skip`` samples still to pass over; return what the next window passes over."""
    which = np.zeros(n, np.bool_)
    which[skip::nth] = True
    return which, (skip - n) % nth if n > skip else skip - n


def _at_rate(
    times: NDArray[np.int64], rate_hz: float, slot_before: int
) -> tuple[NDArray[np.bool_], int]:
    """Select the first sample of each slot of the period; slots are counted from time zero.

    So the samples sent are never further from the rate than the signal's own spacing, however the
    windows fall, and a slot that a window's end cuts in two is not sent twice.
    """
    if not len(times):
        return np.zeros(0, np.bool_), slot_before
    period_ns = max(1, round(1e9 / rate_hz))
    slots = times // period_ns + 1
    which = np.ones(len(slots), np.bool_)
    which[1:] = slots[1:] > np.maximum.accumulate(slots)[:-1]
    which &= slots > slot_before
    return which, max(slot_before, int(slots.max()))


METHOD = Method(
    name="sample",
    doc="every nth sample, or samples at rate_hz, with their times, ns: "
    "{signal: {times_ns, values}}; the count goes on across windows",
    params=(
        Param("nth", "integer", "send every nth sample", default=None, low=1),
        Param("rate_hz", "number", "send at most this many samples a second", None, low=1e-6),
    ),
    compute=_compute,
    merge=by_vehicle,
    fits=_fits,
)
