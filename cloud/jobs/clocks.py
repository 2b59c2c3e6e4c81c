"""How long the rounds and the duration of a handler have run: what no ledger knows.

A handler that is built anew amid a running cloud goes on with them: else whoever makes the cloud
build its handlers anew, again and again, would stop everybody's deadlines.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.rounds import Rounds

__all__ = ["Clocks", "RoundClock", "clocks_of", "set_clocks"]


@dataclass(frozen=True, slots=True)
class RoundClock:
    """Since when an open round has been heard of, and since when none that it waits for is online.

    Units: ns of the monotonic clock.
    """

    heard_ns: int | None
    silent_ns: int | None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Of a handler; ``kept_ns`` is 0 without a duration or before its start."""

    expires_ns: int
    kept_ns: int
    ran_ns: int
    rounds: Mapping[int, RoundClock]


def clocks_of(state: Rounds) -> dict[int, RoundClock]:
    """Return the clocks of the open rounds."""
    return {r.number: RoundClock(r.heard_ns, r.silent_ns) for r in state.open.values()}


def set_clocks(state: Rounds, clocks: Mapping[int, RoundClock], not_before_ns: int) -> None:
    """Let the open rounds go on from ``clocks``, with no deadline before a time."""
    least_ns = not_before_ns - state.rules.deadline_ns
    for round_ in state.open.values():
        known = clocks.get(round_.number)
        if known is None:
            continue
        if known.heard_ns is not None:
            round_.heard_ns = max(known.heard_ns, least_ns)
        if known.silent_ns is not None and round_.silent_ns is not None:
            round_.silent_ns = max(known.silent_ns, least_ns)
