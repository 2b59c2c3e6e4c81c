"""Whether a method may compute on a window: by the rights as they are now, on what is in it."""

from collections.abc import Mapping

from agent.policy.rights import Right
from agent.policy.rules import Refusal
from agent.sandbox.methods.disclosure import shares_raw
from user_lib.contract.window import Window

__all__ = ["held_back"]


def held_back(rights: Mapping[str, Right], method: str, window: Window) -> Refusal | None:
    """Return why an iteration may not compute on a window, None when it may.

    The rules may have changed since the task was taken, with this window in its hands.

    What counts are samples that came over the bus: a value that is held over many points of a grid
    is one sample, and a gap is none.
    """
    raw = shares_raw(method)
    for name, right in rights.items():
        if right.may == "nothing" or (right.may == "aggregates" and raw):
            return Refusal(
                reason="signal_forbidden" if right.may == "nothing" else "raw_forbidden",
                rule=right.rule,
                detail=f"rule {right.rule}: {name} may no longer leave this vehicle by {method}",
                path="signals",
            )
        measured = window.measured(name)
        if right.may == "aggregates" and measured < right.at_least:
            return Refusal(
                reason="too_few_samples",
                rule=right.rule,
                detail=f"rule {right.rule}: {name} leaves this vehicle as an aggregate over at "
                f"least {right.at_least} samples; this window holds {measured}",
                path="window",
            )
    return None
