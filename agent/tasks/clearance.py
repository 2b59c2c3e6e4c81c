"""Whether a task with a window may have a worker: by the owner's rules, its inputs, the budgets."""

from collections.abc import Sequence

from agent.policy import Refusal, held_back, rights_of
from agent.tasks.live import Live, Surroundings
from agent.tasks.receipt import Run
from agent.tasks.task import Refused
from user_lib.contract.content import megabytes

__all__ = ["barred", "held_up"]


def barred(live: Live, around: Surroundings) -> Refused | None:
    """Return why an iteration may never be computed on what it was given; None when it may."""
    return _forbidden(live, around) or _lacking(live, around)


def held_up(live: Live, around: Surroundings, runs: Sequence[Run]) -> Refusal | None:
    """Return which budget of the owner's an iteration has to wait for, beside those that run."""
    analyst = live.task.analyst
    of_analyst = [run for run in runs if run.task.analyst == analyst]
    return around.allowance.wait_for(analyst, (len(runs), len(of_analyst)))


def _forbidden(live: Live, around: Surroundings) -> Refused | None:
    """Return why the owner's rules do not let a task compute on the window that it holds."""
    allowance, task = around.allowance, live.task
    if live.window is None:
        return None
    if live.rights is None:
        analyst = allowance.analyst(task.analyst)
        live.rights = rights_of(allowance.policy, analyst, task.spec, around.signals.aliases)
    refusal = held_back(live.rights, task.spec.onboard, live.window)
    if refusal is None:
        return None
    allowance.counts["refused"] += 1
    return Refused(refusal.reason, refusal.detail, refusal.rule)


def _lacking(live: Live, around: Surroundings) -> Refused | None:
    """Return why a content that an iteration needs cannot be taken here."""
    cap = around.identity.cap
    for content in live.task.inputs:
        if content.size > cap.own_bytes:
            size = megabytes(content.size)
            detail = f"the round's input has {size}; at most {cap} are taken here"
            return Refused("content_too_large", detail)
    return None
