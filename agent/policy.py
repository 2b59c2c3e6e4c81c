"""What the vehicle's owner allows: the ``policy:`` part of the agent's configuration.

The answer to an assignment that goes beyond it is a `Refusal` with a stable reason and the key at
fault; it reaches the analyst. Limits are not refused but capped.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from agent.sandbox.lockdown.confinement import Level
from user_lib.contract.assignment import Assignment, Limits
from user_lib.contract.code import ALLOWED_IMPORTS, check
from user_lib.contract.errors import CodeError

__all__ = ["Policy", "Refusal", "admit", "cap", "check_code"]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why an assignment may not run here."""

    reason: str
    detail: str
    path: str = ""
    near: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The owner's rules. Patterns are those of a shell: ``*``, ``?`` and ``[...]``."""

    accepts_custom: bool = True
    imports: tuple[str, ...] | None = None
    """Packages that custom code may import; without it, the platform's own list."""
    methods: tuple[str, ...] | None = None
    """On-board methods that may run (patterns); without it, all."""
    forbidden_signals: tuple[str, ...] = ()
    """Signals that no assignment may read (patterns), by whichever of their names."""
    limits: Limits = Limits(cpu_s=60.0, memory_mb=1024, wall_s=300.0)
    """The most that one iteration may use."""
    max_tasks: int = 64
    sandbox: Level = "full"
    """How custom code and external workers are locked down; a machine that cannot do that refuses
    them, unless its owner names a lower level here."""


def admit(
    policy: Policy, spec: Assignment, aliases: Iterable[frozenset[str]], *, tasks_held: int
) -> Refusal | None:
    """Return why an assignment may not run here, None when it may.

    ``aliases`` are, for each signal that the assignment reads (its trigger's included), all the
    names that the signal goes by, so that none of them is a way around a rule.
    """
    if tasks_held >= policy.max_tasks:
        return Refusal(
            reason="too_many_tasks",
            detail=f"this vehicle runs {tasks_held} tasks and its owner allows "
            f"{policy.max_tasks}; cancel one first",
        )
    return _check_method(policy, spec.onboard) or _check_signals(policy, aliases)


def cap(policy: Policy, asked: Limits) -> Limits:
    """Return what an iteration gets: what was asked for, within the owner's limits."""
    most = policy.limits
    return Limits(
        cpu_s=min(asked.cpu_s, most.cpu_s),
        memory_mb=min(asked.memory_mb, most.memory_mb),
        wall_s=min(asked.wall_s, most.wall_s),
    )


def check_code(policy: Policy, source: str) -> None:
    """Refuse a custom module that may not run here.

    Raises: CodeError, as `user_lib.contract.code.check`.
    """
    if not policy.accepts_custom:
        raise CodeError("the owner of this vehicle accepts no custom code")
    allowed = ALLOWED_IMPORTS if policy.imports is None else frozenset(policy.imports)
    check(source, allowed=allowed)


def _check_method(policy: Policy, method: str) -> Refusal | None:
    if method == "custom" and not policy.accepts_custom:
        return Refusal(
            reason="custom_forbidden",
            detail="the owner of this vehicle accepts no custom code; use a built-in method",
            path="onboard",
        )
    if policy.methods is None or any(fnmatchcase(method, p) for p in policy.methods):
        return None
    return Refusal(
        reason="method_forbidden",
        detail=f"the owner of this vehicle allows the methods {', '.join(policy.methods)}; "
        f"asked was {method}",
        path="onboard",
    )


def _check_signals(policy: Policy, aliases: Iterable[frozenset[str]]) -> Refusal | None:
    for names in aliases:
        for pattern in policy.forbidden_signals:
            if any(fnmatchcase(name, pattern) for name in names):
                return Refusal(
                    reason="signal_forbidden",
                    detail=f"the owner of this vehicle keeps {pattern} to itself; asked was "
                    f"{min(names, key=len)}",
                    path="signals",
                )
    return None
