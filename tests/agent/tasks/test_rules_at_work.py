"""The owner's rules on running tasks: iterations refused, results withheld, budgets, reloads."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.policy import AnalystRule, Budget, Policy, SignalRule
from agent.sandbox import Outcome
from agent.store import Acknowledge
from agent.tasks.ports import Arrived
from agent.trust import Trust
from user_lib.contract.clock import SystemClock
from user_lib.contract.messages import Losses, SetCode
from user_lib.contract.window import Window
from user_lib.wire.audit_entry import Mark
from user_lib.wire.audit_log import CURRENT, AuditLog
from user_lib.wire.audit_reading import check, read
from user_lib.wire.enrolment import enrol
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys

Vehicle = Any
SUMS = SignalRule(rule="sums-only", match=("Vehicle.*",), may="aggregates", at_least=5)
WORDS = "ValueError: [59.9139, 10.7522]"
BROKEN = Outcome(status="error", reason="traceback", detail=WORDS)
FINE = "def custom(xs):\n    return 1\n"
TELLING = "def custom(xs):\n    raise ValueError(list(xs))\n"


def rule(vehicle: Vehicle, policy: Policy) -> None:
    """Begin again by these rules."""
    vehicle.store.close()
    vehicle.policy = policy
    vehicle.start()


def arrive(vehicle: Vehicle, values: np.ndarray[Any, Any], **more: Any) -> None:
    subscription = vehicle.signals.open["job-1"]
    times = np.arange(len(values))
    window = Window({"Vehicle.Speed": values}, {"Vehicle.Speed": times}, 0, 9, **more)
    vehicle.table.take(Arrived(subscription.token, window), vehicle.now)
    vehicle.tick()


def test_every_order_that_is_refused_is_counted_once(
    vehicle: Vehicle, set_code: Callable[..., SetCode]
) -> None:
    rule(vehicle, Policy(methods=("mean",)))
    vehicle.assign("fine")
    for _ in range(2):
        vehicle.assign("absent", signals=["Car.Speed"])
        vehicle.assign("forbidden", onboard="max")
    assert vehicle.orders.refused == 2

    for generation in (1, 1, 2):
        order = set_code(generation, "def custom(xs):\n    return 1\n")
        vehicle.orders.set_code(order, vehicle.now)
    assert vehicle.orders.refused == 4

    with vehicle.full_disk():  # nobody is told, and the cloud asks again
        vehicle.assign("late", onboard="max")
    assert vehicle.orders.refused == 4


@pytest.mark.parametrize(
    ("values", "more"),
    [
        (np.arange(4.0), {}),
        (np.array([1.0, 2.0, 3.0, 4.0, np.nan, np.nan]), {}),
        (np.full(1000, 7.0), {"behind": {"Vehicle.Speed": 1}}),
    ],
)
def test_an_iteration_over_too_few_samples_is_answered_with_the_rule(
    vehicle: Vehicle, values: np.ndarray[Any, Any], more: dict[str, Any]
) -> None:
    rule(vehicle, Policy(signals=(SUMS,)))
    vehicle.assign(window={"seconds": 10})

    arrive(vehicle, values, **more)

    (result,) = vehicle.results()
    assert (result.status, result.reason) == ("refused", "too_few_samples")
    assert "rule sums-only" in result.detail
    assert result.value is None
    assert vehicle.slots.jobs == {}
    assert vehicle.allowance.counts["refused"] == 1
    arrive(vehicle, np.arange(5.0))
    vehicle.finish()
    assert [r.status for r in vehicle.results()] == ["refused", "ok"]


def test_a_task_waits_while_a_budget_is_used_up_and_says_why(vehicle: Vehicle) -> None:
    rule(vehicle, Policy(budget=Budget(results_per_minute=1)))
    vehicle.assign()
    vehicle.iterate()

    vehicle.window()

    held = vehicle.held()
    assert held is not None
    assert "rule budget: 1 results a minute" in held.detail
    assert vehicle.allowance.counts["waits"] == 1
    vehicle.tick(61)
    vehicle.finish()
    assert len(vehicle.results()) == 2


def test_what_a_budget_has_counted_outlives_the_process(vehicle: Vehicle) -> None:
    rule(vehicle, Policy(budget=Budget(results_per_day=2)))
    vehicle.assign()
    vehicle.iterate()
    vehicle.iterate()

    vehicle.store.close()
    vehicle.start()
    vehicle.window()

    assert vehicle.slots.jobs == {}
    assert "2 results a day" in vehicle.held().detail


def test_what_a_full_disk_took_back_is_charged_once(vehicle: Vehicle) -> None:
    rule(vehicle, Policy(budget=Budget(results_per_day=2)))
    vehicle.assign()
    vehicle.window()
    with vehicle.full_disk():
        vehicle.finish()
        assert vehicle.results() == []
    vehicle.tick(5)
    assert len(vehicle.results()) == 1

    vehicle.iterate()

    assert len(vehicle.results()) == 2


def test_a_result_beyond_the_days_bytes_is_withheld_with_the_rule(vehicle: Vehicle) -> None:
    rule(vehicle, Policy(budget=Budget(mb_per_day=0.01)))
    vehicle.assign()

    vehicle.iterate(outcome=Outcome(status="ok", value="x" * 20_000, weight=3.0))

    (result,) = vehicle.results()
    assert (result.status, result.reason, result.value) == ("refused", "budget", None)
    assert "rule budget" in result.detail
    vehicle.iterate()
    assert [r.status for r in vehicle.results()] == ["refused", "ok"]


def test_a_failure_beyond_the_days_bytes_says_no_more_than_that_it_failed(
    vehicle: Vehicle,
) -> None:
    rule(vehicle, Policy(budget=Budget(mb_per_day=0.01)))
    vehicle.assign()
    secret = "secret" * 2_000
    failed = Outcome(status="error", reason="traceback", detail=secret, prints=secret)

    vehicle.iterate(outcome=failed)

    (result,) = vehicle.results()
    assert (result.status, result.reason, result.prints) == ("error", "traceback", "")
    assert "rule budget" in result.detail
    assert vehicle.allowance.counts["withheld"] == 1
    assert sum(len(msgspec.msgpack.encode(r)) for r in vehicle.results()) < 10_000


def test_new_rules_end_a_task_with_the_name_of_the_rule(
    make: Callable[..., Vehicle],
) -> None:
    vehicle = make()
    vehicle.assign()
    forbidding = SignalRule(rule="mine", match=("Vehicle.Speed",), may="nothing")

    vehicle.renew(Policy(signals=(forbidding,)))

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason, end.rule) == ("failed", "signal_forbidden", "mine")


def test_new_rules_hold_for_the_next_window_and_for_what_waits(vehicle: Vehicle) -> None:
    vehicle.assign(window={"seconds": 10})
    arrive(vehicle, np.arange(4.0))
    vehicle.finish()
    vehicle.renew(Policy(signals=(SUMS,)))

    arrive(vehicle, np.arange(4.0))

    assert [r.reason for r in vehicle.results()] == ["too_few_samples"]
    assert lost(vehicle) == {"job-1": ("rule sums-only", ((1, 1),))}


FORBIDDING = SignalRule(rule="mine", match=("Vehicle.Speed",), may="nothing")


def test_a_value_that_became_forbidden_while_it_was_computed_does_not_leave(
    vehicle: Vehicle,
) -> None:
    vehicle.assign()
    vehicle.window()

    vehicle.renew(Policy(signals=(FORBIDDING,)))
    vehicle.finish()

    (result,) = vehicle.results()
    assert (result.status, result.reason, result.value) == ("refused", "signal_forbidden", None)
    assert vehicle.end().rule == "mine"


def test_a_value_that_became_forbidden_after_the_time_of_its_task_was_over_does_not_leave(
    vehicle: Vehicle,
) -> None:
    vehicle.assign(iterations="forever", duration_s=10)
    vehicle.window()
    vehicle.tick(11)

    vehicle.renew(Policy(signals=(FORBIDDING,)))
    vehicle.finish()

    (result,) = vehicle.results()
    assert (result.status, result.value) == ("refused", None)
    assert vehicle.end().rule == "mine"


@pytest.mark.parametrize("rule", [FORBIDDING, SUMS])
def test_a_window_that_became_forbidden_while_it_waited_is_not_computed_on(
    make: Callable[..., Vehicle], rule: SignalRule
) -> None:
    vehicle = make(slots=1)
    vehicle.assign("job-0")
    vehicle.window("job-0")
    vehicle.assign("job-1", onboard="max", window={"samples": 50})
    arrive(vehicle, np.arange(50.0))

    vehicle.renew(Policy(signals=(rule,)))
    vehicle.finish()

    (result,) = vehicle.results("job-1")
    assert (result.status, result.value) == ("refused", None)
    assert vehicle.slots.jobs == {}


def lost(vehicle: Vehicle) -> dict[str, tuple[str, tuple[tuple[int, int], ...]]]:
    """Return what the outbox tells as lost, by assignment."""
    losses = [item for item in vehicle.outbox() if isinstance(item, Losses)]
    return {one.assignment_id: (one.reason, one.iterations) for one in losses}


@pytest.mark.parametrize("sent", [False, True])
def test_what_new_rules_forbid_does_not_leave_after_a_restart(vehicle: Vehicle, sent: bool) -> None:
    vehicle.assign("running")
    vehicle.iterate("running")
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")
    assert vehicle.end("over") is not None
    if sent:
        vehicle.store.sending(vehicle.store.deliverable()[-1].seq)

    rule(vehicle, Policy(signals=(FORBIDDING,)))

    assert lost(vehicle) == {
        "running": ("rule mine", ((1, 1),)),
        "over": ("rule mine", ((1, 1),)),
    }
    assert vehicle.results("running") == vehicle.results("over") == []


def test_new_rules_hold_for_what_waits_of_tasks_that_had_ended(vehicle: Vehicle) -> None:
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")

    vehicle.renew(Policy(methods=("max",)))

    assert lost(vehicle) == {"over": ("rule methods", ((1, 1),))}


def test_results_over_fewer_samples_than_a_new_rule_wants_do_not_leave(vehicle: Vehicle) -> None:
    vehicle.assign(window={"seconds": 10})
    arrive(vehicle, np.arange(4.0))
    vehicle.finish()
    arrive(vehicle, np.array([1.0, 2.0, 3.0, 4.0, np.nan]))  # five in the receipt
    vehicle.finish()
    arrive(vehicle, np.arange(5.0))

    rule(vehicle, Policy(signals=(SUMS,)))

    assert lost(vehicle) == {"job-1": ("rule sums-only", ((1, 2),))}
    assert vehicle.held() is not None  # it may go on, over enough samples


def test_nothing_waits_for_an_analyst_who_is_no_longer_trusted(
    vehicle: Vehicle, tmp_path: Path
) -> None:
    vehicle.assign("running")
    vehicle.iterate("running")
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")
    (tmp_path / "nobody").mkdir()
    vehicle.trust = Trust("car-1", Keyring(tmp_path / "nobody", "analyst"))

    vehicle.store.close()
    vehicle.start()

    assert lost(vehicle) == {
        "running": ("untrusted", ((1, 1),)),
        "over": ("untrusted", ((1, 1),)),
    }
    assert vehicle.end("running").reason == "untrusted"


@contextmanager
def unreadable(card: Path) -> Iterator[None]:
    """Let a card be what a power cut may leave of it."""
    whole = card.read_bytes()
    card.write_bytes(b"")
    yield
    card.write_bytes(whole)


def restart(vehicle: Vehicle, cards: Path) -> Keyring:
    """Begin again, trusting whose cards there are."""
    keyring = Keyring(cards, "analyst")
    vehicle.store.close()
    vehicle.trust = Trust("car-1", keyring)
    vehicle.start()
    return keyring


def test_tasks_and_results_are_held_while_the_card_of_their_analyst_cannot_be_read(
    vehicle: Vehicle, set_code: Callable[..., SetCode], tmp_path: Path
) -> None:
    card = enrol(create_keys("ana", "analyst").card, tmp_path / "analysts")
    vehicle.orders.set_code(set_code(1, FINE), vehicle.now)
    vehicle.assign("running")
    vehicle.iterate("running")
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")

    with unreadable(card):
        keyring = restart(vehicle, card.parent)
        vehicle.renew(Policy(analysts=(AnalystRule(rule="hers", who=("key:none",)),)))
        vehicle.renew(Policy())
        vehicle.window("running")
        assert vehicle.slots.jobs == {}
        assert vehicle.outbox() == []
        assert vehicle.orders.modules.owed() == ()
        words = f"{card} may be the card of ana, and cannot be read"
        assert vehicle.held("running").detail == words
    keyring.refresh(within_ns=0)
    assert vehicle.trust.refresh()
    vehicle.orders.trust_changed(vehicle.now)
    vehicle.tick()
    vehicle.finish()

    assert len(vehicle.results("running")) == 2
    assert len(vehicle.results("over")) == 1
    assert vehicle.end("over").state == "finished"
    assert lost(vehicle) == {}
    assert [report.state for report in vehicle.orders.modules.owed()] == ["armed"]


def test_what_was_held_is_kept_here_once_the_card_that_cannot_be_read_is_removed(
    vehicle: Vehicle, tmp_path: Path
) -> None:
    card = enrol(create_keys("ana", "analyst").card, tmp_path / "analysts")
    vehicle.assign()
    vehicle.iterate()
    with unreadable(card):
        restart(vehicle, card.parent)

    card.unlink()
    restart(vehicle, card.parent)

    assert lost(vehicle) == {"job-1": ("untrusted", ((1, 1),))}
    assert vehicle.end().reason == "untrusted"


def test_what_was_computed_leaves_when_a_task_ends_for_what_is_not_the_owners_will(
    vehicle: Vehicle,
) -> None:
    vehicle.assign()
    vehicle.iterate()
    vehicle.signals.broken = True

    vehicle.store.close()
    vehicle.start()

    assert vehicle.end().reason == "unknown_signal"
    assert len(vehicle.results()) == 1


def test_what_is_forbidden_is_not_sent_while_the_disk_takes_no_record_of_it(
    vehicle: Vehicle,
) -> None:
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")

    with vehicle.full_disk():
        vehicle.renew(Policy(methods=("max",)))
        assert vehicle.outbox() == []
        vehicle.tick(5)
        assert vehicle.outbox() == []
    vehicle.tick(5)

    assert lost(vehicle) == {"over": ("rule methods", ((1, 1),))}


def test_what_is_allowed_again_before_the_disk_took_a_record_leaves(vehicle: Vehicle) -> None:
    vehicle.assign("over", iterations=1)
    vehicle.iterate("over")

    with vehicle.full_disk():
        vehicle.renew(Policy(methods=("max",)))
        assert vehicle.outbox() == []
        vehicle.renew(Policy())
        assert len(vehicle.results("over")) == 1
    vehicle.tick(5)

    assert lost(vehicle) == {}
    assert len(vehicle.results("over")) == 1


def test_a_running_task_that_is_allowed_again_on_a_full_disk_goes_on_with_its_results(
    vehicle: Vehicle,
) -> None:
    vehicle.assign()
    vehicle.iterate()

    with vehicle.full_disk():
        vehicle.renew(Policy(signals=(FORBIDDING,)))
        vehicle.renew(Policy())
    vehicle.tick(5)

    assert lost(vehicle) == {}
    vehicle.iterate()
    assert [r.status for r in vehicle.results()] == ["ok", "ok"]


Renewal = Callable[[Any, Policy], None]


def by_reload(vehicle: Vehicle, policy: Policy) -> None:
    vehicle.renew(policy)


def told(vehicle: Vehicle) -> bytes:
    """Return all that waits to be sent, in bytes."""
    vehicle.orders.modules.report_all()  # as a new link does
    items = (*vehicle.outbox(), *vehicle.orders.modules.owed())
    return b"".join(msgspec.msgpack.encode(item) for item in items)


@pytest.mark.parametrize("begin", [rule, by_reload])
def test_words_of_failed_code_stay_here_when_a_rule_forbids_what_it_had_read(
    vehicle: Vehicle, set_code: Callable[..., SetCode], begin: Renewal
) -> None:
    vehicle.orders.set_code(set_code(1, TELLING), vehicle.now)
    vehicle.assign(onboard="custom")
    vehicle.iterate(outcome=BROKEN)
    _, end = vehicle.outbox()
    vehicle.store.apply([Acknowledge((vehicle.store.deliverable()[0].seq,))])
    assert WORDS in end.detail

    begin(vehicle, Policy(signals=(FORBIDDING,)))

    assert WORDS.encode() not in told(vehicle)
    assert (vehicle.end().reason, vehicle.end().detail) == (
        "code_failed",
        "rule mine keeps the words on the vehicle",
    )


@pytest.mark.parametrize("begin", [rule, by_reload])
def test_words_of_code_that_was_rolled_back_stay_here_too(
    vehicle: Vehicle, set_code: Callable[..., SetCode], begin: Renewal
) -> None:
    vehicle.orders.set_code(set_code(1, FINE), vehicle.now)
    vehicle.assign(onboard="custom")
    vehicle.iterate()
    vehicle.orders.set_code(set_code(2, TELLING), vehicle.now)
    vehicle.iterate(outcome=BROKEN)
    begin(vehicle, Policy())
    assert WORDS.encode() in told(vehicle)

    begin(vehicle, Policy(signals=(FORBIDDING,)))

    assert WORDS.encode() not in told(vehicle)
    (report,) = vehicle.orders.modules.owed()
    assert (report.state, report.detail) == (
        "rolled_back",
        "rule mine keeps the words on the vehicle",
    )
    rule(vehicle, Policy())  # what was kept is gone for good
    assert WORDS.encode() not in told(vehicle)


@pytest.mark.parametrize("versions", [(TELLING,), (FINE, TELLING)])
@pytest.mark.parametrize("disk_is_full", [False, True])
def test_words_of_code_that_fails_after_the_rule_came_stay_here(
    vehicle: Vehicle,
    set_code: Callable[..., SetCode],
    versions: tuple[str, ...],
    disk_is_full: bool,
) -> None:
    vehicle.assign(onboard="custom")
    for generation, source in enumerate(versions, 1):
        vehicle.orders.set_code(set_code(generation, source), vehicle.now)
        vehicle.tick()
        if source == FINE:
            vehicle.iterate()
    vehicle.window()

    with vehicle.full_disk() if disk_is_full else nullcontext():
        if disk_is_full:
            vehicle.finish(BROKEN)
        vehicle.renew(Policy(signals=(FORBIDDING,)))
        if not disk_is_full:
            vehicle.finish(BROKEN)
    vehicle.tick(5)

    assert vehicle.end().rule == "mine"
    assert WORDS.encode() not in told(vehicle)


def test_a_refusal_at_admission_carries_the_rule(vehicle: Vehicle) -> None:
    rule(vehicle, Policy(signals=(SUMS,)))

    vehicle.assign(onboard="max")

    end = vehicle.end()
    assert end is not None
    assert (end.state, end.reason, end.rule) == ("rejected", "raw_forbidden", "sums-only")


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """Let every write to an open file fail as on a full disk."""
    (number,) = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if _target(fd) == str(file)]
    kept, full = os.dup(number), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, number)
    yield
    os.dup2(kept, number)
    os.close(kept)
    os.close(full)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # the directory that is being listed
        return ""


def test_nothing_is_begun_that_the_audit_log_does_not_take(
    vehicle: Vehicle, tmp_path: Path
) -> None:
    audit = AuditLog(tmp_path / "audit", SystemClock(), limit_mb=1)
    vehicle.store.note_in(audit)

    with full_disk(audit.directory / CURRENT):
        vehicle.assign()
        assert vehicle.held() is None
        assert "audit log cannot be written" in vehicle.table.unwritable
        vehicle.tick(5)
        assert vehicle.table.unwritable
    vehicle.tick(5)
    vehicle.assign()

    assert vehicle.held() is not None
    assert [e.event for e in read(audit.directory)] == ["disk_back", "accepted"]
    assert check(audit.directory).problems == ()


def test_a_log_that_was_shortened_while_the_agent_was_stopped_says_so(
    vehicle: Vehicle, tmp_path: Path
) -> None:
    audit = AuditLog(tmp_path / "audit", SystemClock(), limit_mb=1)
    vehicle.store.note_in(audit)
    vehicle.assign()
    assert vehicle.store.audit_mark == audit.mark != Mark()
    audit.close()
    (audit.directory / CURRENT).write_bytes(b"")

    again = AuditLog(audit.directory, SystemClock(), limit_mb=1, known=vehicle.store.audit_mark)
    vehicle.store.note_in(again)

    (problem,) = check(audit.directory).problems
    assert "entries 1 to 1 were removed" in problem
    assert vehicle.store.audit_mark == again.mark
    again.close()
