"""Budgets: what is counted, and on what notion of a day."""

import pytest

from agent.policy import Analyst, AnalystRule, Budget, Policy
from agent.policy.budgets import Account, Moment, charged, moved_on, over, used_up
from user_lib.contract.clock import SECOND

HOUR = 3600
ADA = Analyst("ada")


def at(seconds: float, wall_s: float = 0.0, boot: str = "b", trusted: bool = False) -> Moment:
    return Moment(boot, int(seconds * SECOND), int(wall_s * SECOND), trusted)


def after(*moments: Moment, results: int = 0, size: int = 100) -> Account:
    """Return an account that began at the first moment, sent, and lived through the others."""
    account = moved_on(Account(), moments[0])
    for _ in range(results):
        account = charged(account, "ada", "job-1", size)
    for moment in moments[1:]:
        account = moved_on(account, moment)
    return account


def own(**budget: float) -> Policy:
    return Policy(analysts=(AnalystRule(rule="r", who=("ada",), budget=Budget(**budget)),))  # type: ignore[arg-type]


def words(policy: Policy, account: Account, running: int = 0) -> str:
    refusal = used_up(policy, ADA, account, (running, running))
    return refusal.detail if refusal is not None else ""


def test_without_budgets_nothing_is_ever_used_up() -> None:
    assert words(Policy(), after(at(0), results=10_000)) == ""


def test_a_minutes_results_come_again_with_the_next_minute() -> None:
    policy = own(results_per_minute=2)

    assert words(policy, after(at(0), results=1)) == ""
    assert "rule r: 2 results a minute of ada" in words(policy, after(at(0), results=2))
    assert "goes on in 10 s" in words(policy, after(at(0), at(50), results=2))
    assert words(policy, after(at(0), at(60), results=2)) == ""


def test_iterations_under_way_are_counted_before_they_are_done() -> None:
    policy = own(results_per_minute=2)

    assert words(policy, after(at(0), results=1), running=1) != ""


@pytest.mark.parametrize("budget", [{"results_per_day": 3}, {"mb_per_day": 0.0003}])
def test_a_day_is_24_hours_of_running(budget: dict[str, float]) -> None:
    policy = own(**budget)

    assert words(policy, after(at(0), at(23.9 * HOUR), results=3)) != ""
    assert words(policy, after(at(0), at(24 * HOUR), results=3)) == ""


def test_a_budget_of_all_counts_every_analyst() -> None:
    policy = Policy(budget=Budget(results_per_day=1))
    account = charged(moved_on(Account(), at(0)), "bo", "job-2", 10)

    refusal = used_up(policy, ADA, account, (0, 0))

    assert refusal is not None
    assert (refusal.reason, refusal.rule) == ("budget", "budget")
    assert used_up(own(results_per_day=1), ADA, account, (0, 0)) is None


@pytest.mark.parametrize("jump_h", [-1000, 1000])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_jump_of_the_wall_clock_neither_refills_nor_empties(jump_h: float, trusted: bool) -> None:
    policy = own(results_per_day=3)
    jumped = at(2 * HOUR, jump_h * HOUR, trusted=trusted)

    assert words(policy, after(at(0, trusted=trusted), jumped, results=3)) != ""
    assert words(policy, after(at(0, trusted=trusted), jumped, results=2)) == ""


def test_while_the_machine_stays_up_time_passes_without_an_agent() -> None:
    seen = after(at(5), results=3)

    assert words(own(results_per_day=3), moved_on(seen, at(5 + 25 * HOUR))) == ""


def test_over_a_reboot_time_passes_only_by_a_clock_that_is_trusted() -> None:
    policy = own(results_per_day=3)
    before = at(9 * HOUR, 1000 * HOUR, trusted=True)
    later = at(1, 1025 * HOUR, boot="c", trusted=True)

    assert words(policy, after(before, later, results=3)) == ""
    assert words(policy, after(before, at(1, 1025 * HOUR, boot="c"), results=3)) != ""
    assert words(policy, after(at(9 * HOUR, 1000 * HOUR), later, results=3)) != ""
    back = at(1, 900 * HOUR, boot="c", trusted=True)
    assert words(policy, after(before, back, results=3)) != ""


def test_a_result_beyond_what_is_left_of_the_day_is_refused() -> None:
    policy = own(mb_per_day=0.001)

    assert over(policy, ADA, after(at(0), results=9), 100) is None
    refusal = over(policy, ADA, after(at(0), results=9), 101)
    assert refusal is not None
    assert (refusal.reason, refusal.rule) == ("budget", "r")


def test_who_sent_nothing_today_is_forgotten() -> None:
    account = after(at(0), at(25 * HOUR), results=3)

    assert set(charged(account, "bo", "job-2", 1).spent) == {"", "bo"}
