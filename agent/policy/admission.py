"""Whether an assignment may run here, by the owner's rules, and what an iteration of it gets.

What is refused says which rule refuses it, and what would be allowed. Limits are not refused but
capped. The same question is asked again when the rules change and when a task is resumed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from agent.policy.rights import Analyst, Right, matches, right_on, rule_of, strictest
from agent.policy.rules import AnalystRule, Policy, Refusal
from agent.sandbox.methods.disclosure import DISCLOSURE, shares_raw
from user_lib.contract.assignment import Assignment, Limits
from user_lib.contract.code import ALLOWED_IMPORTS, check
from user_lib.contract.errors import CodeError

__all__ = ["Aliases", "Held", "admit", "cap", "check_code", "rights_of", "trigger_names"]

Aliases: TypeAlias = Callable[[str], Sequence[frozenset[str]]]
"""All names of each signal that a name stands for: one, or what it is made of."""
AGGREGATES = ", ".join(name for name, d in DISCLOSURE.items() if not d.raw)


class Held(msgspec.Struct, frozen=True):
    """How many tasks the vehicle runs, and how many of them for the one who asks."""

    of_all: int = 0
    of_analyst: int = 0


def admit(
    policy: Policy, analyst: Analyst, spec: Assignment, aliases: Aliases, held: Held
) -> Refusal | None:
    """Return why an assignment may not run here, None when it may."""
    own = rule_of(policy, analyst)
    if policy.analysts is not None and own is None:
        return Refusal(
            reason="analyst_forbidden",
            rule="analysts",
            detail=f"rule analysts: the owner of this vehicle takes no orders of {analyst.name}",
        )
    return (
        _check_room(policy, own, held)
        or _check_method(policy, own, spec.onboard)
        or _check_signals(policy, analyst, spec, aliases)
    )


def rights_of(
    policy: Policy, analyst: Analyst, spec: Assignment, aliases: Aliases
) -> dict[str, Right]:
    """Return the right on each signal that an assignment asks for, its trigger's aside."""
    return {name: _right(policy, analyst, aliases(name)) for name in spec.signals}


def cap(policy: Policy, analyst: Analyst, asked: Limits) -> Limits:
    """Return what an iteration gets: what was asked for, within the owner's limits."""
    own = rule_of(policy, analyst)
    for most in (policy.limits, own.limits if own is not None else None):
        if most is not None:
            asked = Limits(
                cpu_s=min(asked.cpu_s, most.cpu_s),
                memory_mb=min(asked.memory_mb, most.memory_mb),
                wall_s=min(asked.wall_s, most.wall_s),
            )
    return asked


def check_code(policy: Policy, analyst: Analyst, source: str) -> None:
    """Refuse a custom module that may not run here.

    Raises: CodeError, as `user_lib.contract.code.check`.
    """
    own = rule_of(policy, analyst)
    if policy.analysts is not None and own is None:
        raise CodeError(f"rule analysts: the owner of this vehicle takes no code of {analyst.name}")
    refusal = _check_method(policy, own, "custom")
    if refusal is not None:
        raise CodeError(refusal.detail)
    allowed = ALLOWED_IMPORTS if policy.imports is None else frozenset(policy.imports)
    check(source, allowed=allowed)


def trigger_names(spec: Assignment) -> tuple[str, ...]:
    """Return the signals that an assignment's ``when`` reads."""
    trigger = spec.trigger
    return trigger.names if trigger is not None else ()


def _check_room(policy: Policy, own: AnalystRule | None, held: Held) -> Refusal | None:
    if held.of_all >= policy.max_tasks:
        return Refusal(
            reason="too_many_tasks",
            rule="max_tasks",
            detail=f"rule max_tasks: this vehicle runs {held.of_all} tasks and its owner allows "
            f"{policy.max_tasks}; cancel one first",
        )
    if own is not None and own.max_tasks is not None and held.of_analyst >= own.max_tasks:
        return Refusal(
            reason="too_many_tasks",
            rule=own.rule,
            detail=f"rule {own.rule}: this vehicle runs {held.of_analyst} tasks of yours and its "
            f"owner allows {own.max_tasks}; cancel one first",
        )
    return None


def _check_method(policy: Policy, own: AnalystRule | None, method: str) -> Refusal | None:
    for custom, methods, rule in _method_rules(policy, own):
        if method == "custom" and not custom:
            return Refusal(
                reason="custom_forbidden",
                rule=rule or "accepts_custom",
                detail=f"rule {rule or 'accepts_custom'}: the owner of this vehicle accepts no "
                "custom code; use a built-in method",
                path="onboard",
            )
        if methods is not None and not matches(method, methods):
            return Refusal(
                reason="method_forbidden",
                rule=rule or "methods",
                detail=f"rule {rule or 'methods'}: the owner of this vehicle allows the methods "
                f"{', '.join(methods) or 'none'}; asked was {method}",
                path="onboard",
            )
    return None


def _method_rules(
    policy: Policy, own: AnalystRule | None
) -> Iterator[tuple[bool, tuple[str, ...] | None, str]]:
    yield policy.accepts_custom, policy.methods, ""
    if own is not None:
        yield own.accepts_custom, own.methods, own.rule


def _check_signals(
    policy: Policy, analyst: Analyst, spec: Assignment, aliases: Aliases
) -> Refusal | None:
    for name in trigger_names(spec):
        right = _right(policy, analyst, aliases(name))
        if right.may != "raw":
            return _refused(right, name, "when", "a trigger tells of single samples")
    raw = shares_raw(spec.onboard)
    for i, name in enumerate(spec.signals):
        right = _right(policy, analyst, aliases(name))
        if right.may == "nothing" or (right.may == "aggregates" and raw):
            why = f"{spec.onboard} can tell single values"
            return _refused(right, name, f"signals[{i}]", why)
        counted = spec.window.samples if i == 0 else None
        if right.may == "aggregates" and counted is not None and counted < right.at_least:
            return Refusal(
                reason="too_few_samples",
                rule=right.rule,
                detail=f"rule {right.rule}: {name} leaves this vehicle as an aggregate over at "
                f"least {right.at_least} samples; asked was {counted}",
                path="window.samples",
            )
    return None


def _refused(right: Right, name: str, path: str, why: str) -> Refusal:
    if right.may == "nothing":
        return Refusal(
            reason="signal_forbidden",
            rule=right.rule,
            detail=f"rule {right.rule}: the owner of this vehicle keeps {name} to itself",
            path=path,
        )
    return Refusal(
        reason="raw_forbidden",
        rule=right.rule,
        detail=f"rule {right.rule}: {name} leaves this vehicle only as an aggregate over at least "
        f"{right.at_least} samples ({AGGREGATES}), and {why}",
        path=path,
    )


def _right(policy: Policy, analyst: Analyst, parts: Iterable[frozenset[str]]) -> Right:
    """Return the strictest right on anything that a signal is made of."""
    return strictest(right_on(policy, analyst, names) for names in parts)
