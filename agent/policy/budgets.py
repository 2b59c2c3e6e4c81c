"""What has left the vehicle, against the owner's budgets. All here is pure.

Minutes and days are counted on a time of the account's own: how long agents of this vehicle have
run, on the monotonic clock, which no jump of the wall clock touches. While the machine stays up
that time goes on without an agent; over a reboot it goes on by the wall clock, but only if that was
trusted before and after. So a day of a budget is never shorter than 24 hours, and can be longer.
"""

import msgspec

from agent.policy.rights import Analyst, rule_of
from agent.policy.rules import Budget, Policy, Refusal
from user_lib.contract.clock import SECOND
from user_lib.contract.ids import AssignmentId

__all__ = ["Account", "Moment", "Sent", "Spent", "charged", "moved_on", "over", "used_up"]

MINUTE_NS = 60 * SECOND
DAY_NS = 86_400 * SECOND
MB = 1_000_000
ALL = ""
"""Under what name all analysts together are counted."""


class Moment(msgspec.Struct, frozen=True):
    """A reading of the clocks: which boot the monotonic one counts from, and what the wall says."""

    boot: str
    monotonic_ns: int
    unix_ns: int
    trusted: bool


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one analyst, or all, had sent in one minute and one day."""

    minute: int = 0
    in_minute: int = 0
    day: int = 0
    results: int = 0
    bytes: int = 0


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a task has made to be sent since it began."""

    analyst: str = ""
    results: int = 0
    bytes: int = 0
    noted: int = 0
    """How many of the results the audit log was told of."""
    retracted: int = 0
    """How many of the results new rules kept here before they had left."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, and the account's own time; kept on disk with the results it counts."""

    elapsed_ns: int = 0
    seen: Moment | None = None
    spent: dict[str, Spent] = {}
    sent: dict[AssignmentId, Sent] = {}

    def of(self, name: str) -> Spent:
        """Return what a name spent in the present minute and day."""
        found = self.spent.get(name, Spent())
        minute, day = self.elapsed_ns // MINUTE_NS, self.elapsed_ns // DAY_NS
        return Spent(
            minute,
            found.in_minute if found.minute == minute else 0,
            day,
            found.results if found.day == day else 0,
            found.bytes if found.day == day else 0,
        )


def moved_on(account: Account, at: Moment) -> Account:
    """Return the account at a later moment."""
    seen = account.seen
    passed_ns = 0
    if seen is not None and seen.boot == at.boot:
        passed_ns = at.monotonic_ns - seen.monotonic_ns
    elif seen is not None and seen.trusted and at.trusted:
        passed_ns = at.unix_ns - seen.unix_ns
    elapsed_ns = account.elapsed_ns + max(passed_ns, 0)
    return msgspec.structs.replace(account, elapsed_ns=elapsed_ns, seen=at)


def charged(account: Account, analyst: str, assignment_id: AssignmentId, size: int) -> Account:
    """Return the account with one more result; who sent nothing today is forgotten."""
    today = account.elapsed_ns // DAY_NS
    spent = {name: s for name, s in account.spent.items() if s.day == today}
    for name in (ALL, analyst):
        s = account.of(name)
        spent[name] = msgspec.structs.replace(
            s, in_minute=s.in_minute + 1, results=s.results + 1, bytes=s.bytes + size
        )
    before = account.sent.get(assignment_id, Sent(analyst))
    now = msgspec.structs.replace(before, results=before.results + 1, bytes=before.bytes + size)
    sent = {**account.sent, assignment_id: now}
    return msgspec.structs.replace(account, spent=spent, sent=sent)


def used_up(
    policy: Policy, analyst: Analyst, account: Account, running: tuple[int, int]
) -> Refusal | None:
    """Return which budget has nothing left for a further iteration of an analyst.

    ``running``: iterations that are under way, of all analysts and of this one.
    """
    minute_s = (MINUTE_NS - account.elapsed_ns % MINUTE_NS) / SECOND
    day_s = (DAY_NS - account.elapsed_ns % DAY_NS) / SECOND
    for budget, rule, name, busy in _budgets(policy, analyst, running):
        spent = account.of(name)
        if _at_least(spent.in_minute + busy, budget.results_per_minute):
            words = f"{budget.results_per_minute} results a minute"
            return _wait(rule, words, name, f"{minute_s:.0f} s")
        if _at_least(spent.results + busy, budget.results_per_day):
            return _wait(rule, f"{budget.results_per_day} results a day", name, _hours(day_s))
        most = budget.mb_per_day
        if most is not None and spent.bytes >= most * MB:
            return _wait(rule, f"{most:g} MB a day", name, _hours(day_s))
    return None


def over(policy: Policy, analyst: Analyst, account: Account, size: int) -> Refusal | None:
    """Return which budget a result of ``size`` bytes goes beyond."""
    for budget, rule, name, _ in _budgets(policy, analyst, (0, 0)):
        most = budget.mb_per_day
        left = None if most is None else most * MB - account.of(name).bytes
        if most is not None and left is not None and size > left:
            return Refusal(
                reason="budget",
                rule=rule,
                detail=f"rule {rule}: the result has {size} bytes, and of {most:g} MB a day "
                f"{_whose(name)}{max(left, 0) / MB:.3f} MB are left; return less, or wait",
            )
    return None


def _budgets(
    policy: Policy, analyst: Analyst, running: tuple[int, int]
) -> list[tuple[Budget, str, str, int]]:
    of_all, of_one = running
    found = [(policy.budget, "budget", ALL, of_all)]
    own = rule_of(policy, analyst)
    if own is not None:
        found.append((own.budget, own.rule, analyst.name, of_one))
    return found


def _at_least(number: int, most: int | None) -> bool:
    return most is not None and number >= most


def _wait(rule: str, words: str, name: str, time: str) -> Refusal:
    return Refusal(
        reason="budget",
        rule=rule,
        detail=f"waits: rule {rule}: {words} {_whose(name)}are used up; goes on in {time}",
    )


def _whose(name: str) -> str:
    return f"of {name} " if name else "of all analysts "


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h of running" if seconds >= 3600 else f"{seconds / 60:.0f} min"
