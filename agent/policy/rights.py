"""What an analyst may do with a signal: the strictest rule that any of its names matches.

A signal has many names: its VSS path, ``Message.Signal``, with its channel, and, for what is
derived from others or measured of a message, the names of all that it is made of. A rule that
matches one of them matches the signal, so no name is a way around a rule.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from agent.policy.rules import AnalystRule, May, Policy, SignalRule

__all__ = ["Analyst", "Right", "matches", "right_on", "rule_of", "strictest"]

OTHERWISE = "otherwise"
FORBIDDEN = "forbidden_signals"
_STRICTNESS: dict[May, int] = {"nothing": 0, "aggregates": 1, "raw": 2}


class Analyst(msgspec.Struct, frozen=True):
    """Who gives orders: a name, and the fingerprints of the keys that are trusted under it."""

    name: str
    fingerprints: tuple[str, ...] = ()


class Right(msgspec.Struct, frozen=True):
    """How a signal may leave, over how many samples at least, and which rule says so."""

    may: May
    at_least: int
    rule: str


def right_on(policy: Policy, analyst: Analyst, names: frozenset[str]) -> Right:
    """Return the right of an analyst on a signal that goes by these names."""
    if not policy.signals and not policy.forbidden_signals:
        return Right(policy.otherwise, policy.at_least, OTHERWISE)
    rights = [
        Right(rule.may, rule.at_least or policy.at_least, rule.rule)
        for rule in policy.signals
        if _holds(rule, analyst, names)
    ]
    if any(matches(name, policy.forbidden_signals) for name in names):
        rights.append(Right("nothing", policy.at_least, FORBIDDEN))
    return strictest(rights) if rights else Right(policy.otherwise, policy.at_least, OTHERWISE)


def strictest(rights: Iterable[Right]) -> Right:
    """Return the one that allows least."""
    return min(rights, key=lambda right: (_STRICTNESS[right.may], -right.at_least))


def rule_of(policy: Policy, analyst: Analyst) -> AnalystRule | None:
    """Return the rule for an analyst; None when none names them."""
    if policy.analysts is None:
        return None
    known = (rule for rule in policy.analysts if _is_one(analyst, rule.who))
    return next(known, None)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _holds(rule: SignalRule, analyst: Analyst, names: frozenset[str]) -> bool:
    if not _is_one(analyst, rule.analysts) or _is_one(analyst, rule.except_analysts):
        return False
    if any(matches(name, rule.excepted) for name in names):
        return False
    return any(matches(name, rule.match) for name in names)


def _is_one(analyst: Analyst, patterns: Sequence[str]) -> bool:
    known = (analyst.name, *(f"key:{print_}" for print_ in analyst.fingerprints))
    return any(matches(name, patterns) for name in known)
