"""Whether a window holds enough samples for what may leave only as an aggregate."""

from collections.abc import Mapping

from agent.policy.rights import Right
from agent.policy.rules import Refusal
from user_lib.contract.window import Window

__all__ = ["too_few"]


def too_few(rights: Mapping[str, Right], window: Window) -> Refusal | None:
    """Return why an iteration may not compute on a window, None when it may.

    What counts are samples that came over the bus: a value that is held over many points of a grid
    is one sample, and a gap is none.
    """
    for name, right in rights.items():
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
