"""The owner's rules as they are written: the ``policy:`` of the agent's configuration, or a file.

Patterns are those of a shell (``*``, ``?``, ``[...]``). Every rule has a name, which is what an
analyst reads in a refusal. ``systemd/policy.example.yaml`` shows all of it, with comments.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec

from agent.sandbox.lockdown.confinement import Level
from user_lib.contract.assignment import Limits

__all__ = [
    "AnalystRule",
    "Budget",
    "May",
    "Policy",
    "Refusal",
    "SignalRule",
    "kept_by",
    "words_kept",
]

May: TypeAlias = Literal["nothing", "aggregates", "raw"]
"""How a signal may leave: not at all, within an aggregate over many samples, or as it is."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Samples: TypeAlias = Annotated[int, msgspec.Meta(ge=5, le=10_000_000)]
"""Fewer are no aggregate: n, sum and squares of two samples tell both."""
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Pattern: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Patterns: TypeAlias = Annotated[tuple[Pattern, ...], msgspec.Meta(min_length=1)]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why an assignment, or an iteration of it, may not run here."""

    reason: str
    detail: str
    path: str = ""
    near: tuple[str, ...] = ()
    rule: str = ""
    """The owner's rule that says so; empty when it is none of the owner's."""


def kept_by(reason: str, rule: str) -> str:
    """Name what keeps results on the vehicle when a task may no longer run; empty when nothing.

    A task also ends for what is not the owner's will, such as a signal that is no longer there:
    what it had computed may leave.
    """
    if rule:
        return f"rule {rule}"
    return reason if reason == "untrusted" else ""


def words_kept(keeper: str) -> str:
    """Say in place of a failure's words, which may hold samples, what keeps them here."""
    return f"{keeper} keeps the words on the vehicle"


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of the policy."""


class SignalRule(_Rule, frozen=True, kw_only=True):
    """How some signals may leave the vehicle, by whichever of their names.

    Of all the rules that match a signal the strictest holds, so their order does not matter.
    """

    rule: Name
    match: Patterns
    excepted: tuple[Pattern, ...] = msgspec.field(default=(), name="except")
    may: May
    at_least: Samples | None = None
    """For aggregates: over how many samples; without it the policy's own ``at_least``."""
    analysts: Patterns = ("*",)
    except_analysts: tuple[Pattern, ...] = ()


class Budget(_Rule, frozen=True, kw_only=True):
    """How much may leave; what is left out is not bounded. A day is 24 h that the agent saw."""

    results_per_minute: Count | None = None
    results_per_day: Count | None = None
    mb_per_day: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None


class AnalystRule(_Rule, frozen=True, kw_only=True):
    """What some analysts may do; for each analyst the first rule that names them holds."""

    rule: Name
    who: Patterns
    """Names, by pattern, or ``key:FINGERPRINT`` for the holder of one key."""
    methods: tuple[Pattern, ...] | None = None
    accepts_custom: bool = True
    max_tasks: Count | None = None
    limits: Limits | None = None
    budget: Budget = Budget()
    """Of each of them alone."""


class Policy(_Rule, frozen=True, kw_only=True):
    """The owner's rules; without any, trusted analysts may read and run everything."""

    accepts_custom: bool = True
    imports: tuple[str, ...] | None = None
    """Packages that custom code may import; without it, the platform's own list."""
    methods: tuple[Pattern, ...] | None = None
    """On-board methods that may run; without it, all."""
    forbidden_signals: tuple[Pattern, ...] = ()
    """Short for a signal rule of this name: these may not be read by anybody."""
    signals: tuple[SignalRule, ...] = ()
    otherwise: May = "raw"
    """How signals that no rule matches may leave."""
    at_least: Samples = 100
    """Over how many samples an aggregate is, unless a rule says otherwise."""
    analysts: tuple[AnalystRule, ...] | None = None
    """Who may give orders, of those whose keys are trusted; without it, all of them."""
    budget: Budget = Budget()
    """Of all analysts together."""
    limits: Limits = Limits(cpu_s=60.0, memory_mb=1024, wall_s=300.0)
    """The most that one iteration may use."""
    max_tasks: Count = 64
    sandbox: Level = "full"
    """How custom code and external workers are locked down; a machine that cannot do that refuses
    them, unless its owner names a lower level here."""
