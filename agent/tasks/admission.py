"""Whether this vehicle takes an assignment: grammar, the owner's policy, methods, signals."""

from collections.abc import Collection

from agent.policy import Analyst, Held, Policy, Refusal, admit
from agent.sandbox import check_params
from agent.tasks.ports import Signals
from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import AssignmentError, UnknownSignal, WindowTooLarge, nearest
from user_lib.contract.validation import check

__all__ = ["refusal_for"]

EXTERNAL = "external:"


def refusal_for(
    spec: Assignment,
    analyst: Analyst,
    policy: Policy,
    signals: Signals,
    *,
    external: Collection[str],
    held: Held,
) -> Refusal | None:
    """Return why the vehicle does not take an assignment, None when it does."""
    try:
        check(spec)
        if spec.onboard_content is None:  # else the sandbox says what is wrong with them
            check_params("onboard", spec.onboard, spec.onboard_params)
        _check_external(spec, external)
        signals.check(spec)
    except UnknownSignal as error:
        return _refusal("unknown_signal", error)
    except WindowTooLarge as error:
        return _refusal("window_too_large", error)
    except AssignmentError as error:
        return _refusal("invalid_assignment", error)
    return admit(policy, analyst, spec, signals.aliases, held)


def _check_external(spec: Assignment, external: Collection[str]) -> None:
    if not spec.onboard.startswith(EXTERNAL):
        return
    name = spec.onboard.removeprefix(EXTERNAL)
    if name in external:
        return
    near = nearest(name, external)
    known = f"there is {', '.join(sorted(external))}" if external else "there is none"
    raise AssignmentError(
        f"this vehicle has no external worker {name!r}; {known}", path="onboard", near=near
    )


def _refusal(reason: str, error: AssignmentError) -> Refusal:
    return Refusal(reason=reason, detail=str(error), path=error.path, near=error.near)
