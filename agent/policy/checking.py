"""Mistakes in the rules that no single key shows, and rules that do nothing on this vehicle."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from agent.policy.rights import matches
from agent.policy.rules import Policy
from user_lib.contract.assignment import ONBOARD_METHODS
from user_lib.contract.digest import sha256
from user_lib.contract.errors import ConfigError, nearest

__all__ = ["check_rules", "digest", "idle_patterns"]

RESERVED = frozenset(
    {"otherwise", "forbidden_signals", "analysts", "methods", "accepts_custom", "budget"}
    | {"max_tasks"}
)
"""What refusals are named that come of no named rule."""


def check_rules(policy: Policy, where: str) -> None:
    """Refuse rules that cannot be told apart by name, and methods that there are not.

    Raises: ConfigError, naming the key and the nearest valid word.
    """
    names = [r.rule for r in policy.signals] + [r.rule for r in policy.analysts or ()]
    for name, times in Counter(names).items():
        if times > 1:
            raise ConfigError(f"{where}: rule: {times} rules are named {name!r}; give each its own")
        if name in RESERVED:
            raise ConfigError(f"{where}: rule: {name!r} is the name of a key; choose another")
    lists: list[tuple[str, tuple[str, ...] | None]] = [("methods", policy.methods)]
    lists += [(f"analysts[{i}].methods", r.methods) for i, r in enumerate(policy.analysts or ())]
    for key, methods in lists:
        for pattern in methods or ():
            _check_method(pattern, f"{where}: {key}")
    for i, rule in enumerate(policy.signals):
        if rule.at_least is not None and rule.may != "aggregates":
            raise ConfigError(
                f"{where}: signals[{i}].at_least: is for may: aggregates, found may: {rule.may}"
            )


def digest(policy: Policy) -> str:
    """Name the rules: sha256 of all that they say, in hex."""
    return sha256(msgspec.json.encode(policy, order="sorted")).hex()


def idle_patterns(
    policy: Policy, names: Sequence[str], aliases: Callable[[str], Iterable[frozenset[str]]]
) -> tuple[str, ...]:
    """Return what is written in signal rules and matches no signal of this vehicle, in words.

    A rule that forbids nothing, for a letter that is wrong, is worse than none: it is trusted.
    """
    known = {alias for name in names for group in aliases(name) for alias in group}
    found = []
    lists = [("forbidden_signals", policy.forbidden_signals)]
    lists += [(f"rule {rule.rule}", (*rule.match, *rule.excepted)) for rule in policy.signals]
    for where, patterns in lists:
        for pattern in patterns:
            if not any(matches(name, (pattern,)) for name in known):
                near = nearest(pattern, known)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                found.append(f"{where}: {pattern} matches no signal of this vehicle{hint}")
    return tuple(found)


def _check_method(pattern: str, where: str) -> None:
    known = (*ONBOARD_METHODS, "custom")
    if pattern.startswith("external:") or any(matches(name, (pattern,)) for name in known):
        return
    near = nearest(pattern, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"{where}: no method {pattern!r}; {hint} or external:NAME")
