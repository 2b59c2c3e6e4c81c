"""What a round is made of, when it closes, and what ends an assignment."""

from typing import TypeVar

from cloud.rounds import (
    MAX_CLOSING,
    MAX_OPEN,
    Aggregate,
    Aggregated,
    Answer,
    Answered,
    Cancelled,
    Closed,
    Closing,
    Command,
    Ended,
    Event,
    Expected,
    Expired,
    Left,
    Lost,
    Member,
    Offline,
    Online,
    Opened,
    Overrun,
    Rounds,
    Rules,
    Skipped,
    Started,
    Tick,
    counts,
    due_ns,
    first_iteration,
    step,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.states import JobState, RoundState, TaskState

C = TypeVar("C")
V1, V2 = "1" * 64, "2" * 64


class Play:
    """Drives a machine by hand: a clock, and all commands so far."""

    def __init__(self, *vehicles: str, rules: Rules | None = None, online: bool = True) -> None:
        self.state = Rounds(rules or Rules(), {v: Member(online=online) for v in vehicles})
        self.now_ns = 1000 * SECOND
        self.commands: list[Command] = []
        self(Started())

    def __call__(self, *events: Event) -> list[Command]:
        new: list[Command] = []
        for event in events:
            new += step(self.state, event, self.now_ns)
        self.commands += new
        return new

    def answer(self, iteration: int, *vehicles: str, version: str = "", ok: bool = True) -> None:
        for v in vehicles:
            answer = Answer(vehicle=v, iteration=iteration, ok=ok, code_version=version, weight=1)
            self(Answered(answer))

    def aggregated(self, until_met: bool = False) -> list[Command]:
        return self(Aggregated(self.state.closing[0].number, until_met))

    def pass_s(self, seconds: float) -> list[Command]:
        self.now_ns += int(seconds * SECOND)
        return self(Tick())

    def all(self, kind: type[C]) -> list[C]:
        return [c for c in self.commands if isinstance(c, kind)]

    def closed(self) -> list[Closing]:
        return [c.closing for c in self.all(Closed)]

    def end(self) -> Ended:
        (ended,) = self.all(Ended)
        return ended


def test_a_round_closes_once_every_member_answered_and_the_last_one_ends_the_job() -> None:
    play = Play("a", "b", rules=Rules(last_round=2))

    play.answer(1, "a")
    assert not play.closed()
    play.answer(1, "b")

    (first,) = play.closed()
    assert (first.number, first.state, first.missing) == (1, RoundState.COMPLETE, ())
    assert first.parts[0].vehicles == ("a", "b")
    assert first.parts[0].weight == 2
    play.aggregated()
    play.answer(2, "b", "a")
    play.aggregated()
    assert play.end() == Ended(JobState.FINISHED, "iterations")


def test_no_round_opens_before_the_start_time() -> None:
    state = Rounds(Rules(), {"a": Member(online=True)})

    assert step(state, Tick(), 0) == []
    assert step(state, Started(), 0) == [Opened(1, frozenset({"a"}))]


def test_vehicles_may_run_ahead_and_each_answer_counts_in_its_own_round() -> None:
    play = Play("a", "b", rules=Rules(last_round=3))

    play.answer(1, "a")
    play.answer(2, "a")
    play.answer(3, "a")
    assert sorted(play.state.open) == [1, 2, 3]
    play.answer(1, "b")
    play.answer(2, "b")

    assert [c.number for c in play.closed()] == [1, 2]
    assert all(c.parts[0].vehicles == ("a", "b") for c in play.closed())


def test_the_deadline_counts_from_the_first_answer_and_names_who_is_missing() -> None:
    play = Play("a", "b", "c", rules=Rules(deadline_ns=60 * SECOND, last_round=None))

    play.pass_s(1000)
    assert not play.closed()
    assert due_ns(play.state) is None
    play.answer(1, "a")
    play.pass_s(59)
    assert not play.closed()
    play.pass_s(1)

    (closing,) = play.closed()
    assert closing.state is RoundState.SHORT
    assert closing.missing == ("b", "c")


def test_a_quorum_makes_a_round_complete_without_the_rest() -> None:
    vehicles = [f"v{i}" for i in range(10)]
    play = Play(*vehicles, rules=Rules(quorum=0.7, deadline_ns=SECOND))

    play.answer(1, *vehicles[:7])
    play.pass_s(1)

    assert play.closed()[0].state is RoundState.COMPLETE


def test_the_deadline_counts_from_when_the_last_pending_member_went_offline() -> None:
    play = Play("a", "b", rules=Rules(deadline_ns=60 * SECOND))

    play(Offline("a"))
    play.pass_s(300)
    assert not play.closed()
    play(Offline("b"))
    play.pass_s(30)
    play(Online("b"))
    play.pass_s(300)
    assert not play.closed()
    play(Offline("b"))
    play.pass_s(60)

    assert play.closed()[0].missing == ("a", "b")


def test_a_round_does_not_wait_for_an_answer_that_a_vehicle_had_to_drop() -> None:
    play = Play("kona", "leaf", rules=Rules(last_round=2, quorum=0.5))

    play.answer(1, "leaf")
    play.answer(2, "leaf")
    play(Lost("kona", ((1, 2),)))

    first, second = play.closed()
    assert (first.missing, second.missing) == (("kona",), ("kona",))
    assert first.state is RoundState.COMPLETE


def test_a_failed_iteration_is_an_answer_but_not_part_of_the_aggregate() -> None:
    play = Play("a", "b")

    play.answer(1, "a")
    play(Answered(Answer(vehicle="b", iteration=1, ok=False, reason="memory")))

    (closing,) = play.closed()
    assert closing.state is RoundState.COMPLETE
    assert closing.failed == {"b": "memory"}
    assert closing.parts[0].vehicles == ("a",)


def test_what_a_round_lacks_is_that_of_the_vehicles_that_count() -> None:
    play = Play("a", "b", "c")
    for vehicle, ok in (("a", True), ("b", True), ("c", False)):
        answer = Answer(vehicle=vehicle, iteration=1, ok=ok, lost_frames=3, away_ms=200)
        play(Answered(answer))

    (closing,) = play.state.closing
    assert (closing.lost_frames, closing.away_ms) == (6, 400)


def test_a_vehicle_that_missed_a_round_and_is_offline_is_not_waited_for_until_it_returns() -> None:
    play = Play("a", "b", rules=Rules(deadline_ns=SECOND, last_round=None))
    play(Offline("b"))
    play.answer(1, "a")
    play.pass_s(1)
    assert play.closed()[0].missing == ("b",)

    play.answer(2, "a")
    assert play.closed()[-1].missing == ()
    play(Online("b"))
    play.answer(1, "b")
    play.answer(2, "b")
    play.answer(3, "a")

    assert play.closed()[-1].number == 3  # opened while b was away
    assert play.state.open[4].members == {"a", "b"}


def test_a_vehicle_that_lags_behind_holds_nobody_up_until_it_caught_up() -> None:
    play = Play("a", "b", rules=Rules(deadline_ns=SECOND, last_round=None))
    play(Offline("b"))
    play.answer(1, "a")
    play.pass_s(1)
    for i in range(2, 9):
        play.answer(i, "a")
    play(Online("b"))
    play.answer(9, "a")
    assert [c.number for c in play.closed()] == list(range(1, 10))

    assert play.state.open[10].members == {"a"}

    for i in range(1, 10):
        assert not counts(play.state, "b", i)
        play.answer(i, "b")
    play.answer(10, "a")

    assert play.state.open[11].members == {"a", "b"}


def test_a_vehicle_that_is_slow_stays_a_member_and_is_named_missing() -> None:
    play = Play("a", "slow", rules=Rules(deadline_ns=SECOND, last_round=None))

    for i in range(1, 5):
        play.answer(i, "a")
        play.pass_s(1)

    assert [c.missing for c in play.closed()] == [("slow",)] * 4


def test_a_late_answer_changes_nothing() -> None:
    play = Play("a", "b", rules=Rules(deadline_ns=SECOND, last_round=2))
    play.answer(1, "a")
    play.pass_s(1)
    before = play.closed()

    assert not counts(play.state, "b", 1)
    play.answer(1, "b")

    assert play.closed() == before


def test_without_members_online_the_round_waits() -> None:
    play = Play("a", "b", online=False)

    play.pass_s(10_000)
    assert play.commands == []
    play(Online("b"))

    assert play.all(Opened) == [Opened(1, frozenset({"a", "b"}))]


def test_a_refusal_leaves_the_round_and_does_not_count_against_the_quorum() -> None:
    play = Play("a", "b")

    play.answer(1, "a")
    play(Left("b", TaskState.REJECTED, "unknown_signal"))

    (closing,) = play.closed()
    assert (closing.state, closing.members, closing.missing) == (RoundState.COMPLETE, 1, ())


def test_a_task_that_failed_has_answered_its_open_rounds() -> None:
    play = Play("a", "b")

    play.answer(1, "a")
    play(Left("b", TaskState.FAILED, "no_code"))

    (closing,) = play.closed()
    assert closing.failed == {"b": "task ended: no_code"}


def test_when_every_vehicle_refuses_the_job_fails_with_the_reasons() -> None:
    play = Play("a", "b")

    play(Left("a", TaskState.REJECTED, "unknown_signal"))
    play(Left("b", TaskState.REJECTED, "forbidden"))

    assert play.end().state is JobState.FAILED
    assert play.end().detail == "a: unknown_signal; b: forbidden"


def test_when_every_task_ran_its_time_the_job_is_finished() -> None:
    play = Play("a", "b", rules=Rules(last_round=None))

    play.answer(1, "a", "b")
    play.aggregated()
    play(Left("a", TaskState.FINISHED), Left("b", TaskState.FINISHED))

    assert play.end().state is JobState.FINISHED


def test_a_round_whose_only_member_left_takes_others_instead() -> None:
    play = Play("a", "b", rules=Rules(deadline_ns=SECOND, last_round=None))
    play(Offline("b"))
    play.answer(1, "a")
    play.pass_s(1)
    assert play.state.open[2].members == {"a"}

    play(Left("a", TaskState.REJECTED, "forbidden"))
    assert play.state.open == {}
    play(Online("b"))

    assert play.state.open[2].members == {"b"}


def test_without_a_b_test_the_majority_counts_and_the_rest_is_named() -> None:
    play = Play("a", "b", "c")

    play.answer(1, "a", version=V2)
    play.answer(1, "b", "c", version=V1)

    (closing,) = play.closed()
    assert [p.vehicles for p in closing.parts] == [("b", "c")]
    assert closing.not_counted == {"a": V2}


def test_of_equal_shares_the_newer_generation_counts() -> None:
    play = Play("a", "b")

    play(Answered(Answer(vehicle="a", iteration=1, code_version=V1, generation=7)))
    play(Answered(Answer(vehicle="b", iteration=1, code_version=V2, generation=8)))

    assert play.closed()[0].parts[0].code_version == V2
    assert play.closed()[0].not_counted == {"a": V1}


def test_an_a_b_test_keeps_aggregate_and_quorum_per_version() -> None:
    play = Play("a", "b", "c", "d", rules=Rules(quorum=0.5, deadline_ns=SECOND, last_round=None))
    play(Expected({"a": V1, "b": V1, "c": V2, "d": V2}))

    play.answer(1, "a", "b", version=V1)
    play.pass_s(1)
    assert play.closed()[0].state is RoundState.SHORT  # nobody of version 2
    play.answer(2, "a", "b", version=V1)
    play.answer(2, "c", version=V2)
    play.pass_s(1)

    closing = play.closed()[1]
    assert closing.state is RoundState.COMPLETE
    assert [(p.code_version, p.vehicles) for p in closing.parts] == [(V1, ("a", "b")), (V2, ("c",))]
    assert closing.not_counted == {}


def test_with_feedback_a_round_opens_only_after_the_value_of_the_one_before() -> None:
    play = Play("a", "b", rules=Rules(feedback=True, last_round=3))

    play.answer(1, "a", "b")
    assert play.all(Opened)[-1].number == 1
    assert not counts(play.state, "a", 2)
    play.aggregated()

    assert play.all(Opened)[-1] == Opened(2, frozenset({"a", "b"}))


def test_a_short_round_ends_a_feedback_job_saying_so() -> None:
    play = Play("a", "b", rules=Rules(feedback=True, last_round=9, deadline_ns=SECOND))

    play.answer(1, "a")
    play.pass_s(1)
    play.aggregated()

    assert (play.end().state, play.end().reason) == (JobState.FAILED, "quorum_not_met")
    assert "1 of 2" in play.end().detail
    assert play.end().detail.endswith("missing: b")


def test_the_stop_criterion_ends_the_job() -> None:
    play = Play("a", rules=Rules(last_round=None))

    play.answer(1, "a")
    play.aggregated(until_met=True)

    assert (play.end().state, play.end().reason) == (JobState.FINISHED, "until")


def test_at_its_duration_a_job_closes_what_has_answers_and_ends() -> None:
    play = Play("a", "b", rules=Rules(last_round=None))
    play.answer(1, "a")

    play(Expired())
    assert play.all(Ended) == []
    play.aggregated()

    assert play.closed()[0].missing == ("b",)
    assert (play.end().state, play.end().reason) == (JobState.FINISHED, "duration")


def test_a_cancelled_job_does_nothing_more() -> None:
    play = Play("a", rules=Rules(last_round=None))

    play(Cancelled())
    assert play.end().state is JobState.CANCELLED

    play.answer(1, "a")
    assert len(play.all(Ended)) == 1
    assert play.closed() == []


def test_open_rounds_are_bounded_and_the_oldest_is_closed_saying_so() -> None:
    play = Play("fast", "slow", rules=Rules(last_round=None))

    for i in range(1, MAX_OPEN + 3):
        play.answer(i, "fast")

    assert len(play.state.open) == MAX_OPEN
    assert [c.number for c in play.closed()] == [1, 2]
    assert play.all(Overrun) == [Overrun(1, ("slow",))]


def test_an_answer_far_ahead_is_late_and_drags_nobody() -> None:
    play = Play("liar", "a", rules=Rules(last_round=None))

    assert not counts(play.state, "liar", 10**9)
    play.answer(10**9, "liar")
    play.answer(1, "a")
    play.pass_s(60)
    play.answer(2, "a")

    assert [c.number for c in play.closed()] == [1, 2]
    assert play.closed()[1].members == 1


def test_a_vehicle_that_lost_many_results_goes_on_in_its_next_round() -> None:
    play = Play("a", rules=Rules(last_round=None))
    play.answer(1, "a")

    play.answer(500, "a")
    play.pass_s(60)
    play.answer(501, "a")

    assert [c.number for c in play.closed()] == [1, 2, 501]


def test_rounds_get_their_values_one_after_the_other_and_a_slow_method_costs_the_oldest() -> None:
    play = Play("a", rules=Rules(last_round=None))

    for i in range(1, MAX_CLOSING + 2):
        play.answer(i, "a")

    assert [c.closing.number for c in play.all(Aggregate)] == [1]
    assert [c.closing.number for c in play.all(Skipped)] == [2]
    play.aggregated()
    assert [c.closing.number for c in play.all(Aggregate)] == [1, 3]


def test_a_stream_has_no_rounds_and_ends_with_its_tasks() -> None:
    play = Play("a", "b", rules=Rules(stream=True, last_round=2))

    play.answer(1, "a")
    play.answer(2, "a")
    play(Left("a", TaskState.FINISHED))
    assert play.commands == []
    play(Left("b", TaskState.REJECTED, "forbidden"))

    assert play.end().state is JobState.FINISHED


def test_a_vehicle_without_position_begins_with_the_rounds_that_are_open() -> None:
    play = Play("a", "b", rules=Rules(last_round=None, deadline_ns=SECOND))
    assert first_iteration(play.state, "b") == 1

    play(Offline("b"))
    play.answer(1, "a")
    play.pass_s(1)
    play.answer(2, "a")

    assert play.state.open[3].members == {"a"}
    assert first_iteration(play.state, "b") == 4


def test_an_assignment_whose_every_task_failed_has_failed_and_says_why() -> None:
    play = Play("a", "b", rules=Rules(last_round=2))
    play.answer(1, "a", "b", ok=False)
    play.aggregated()

    play(*(Left(v, TaskState.FAILED, "code_failed: value is nan") for v in "ab"))
    play.aggregated()

    assert play.end() == Ended(JobState.FAILED, "no_task_left", "a, b: code_failed: value is nan")


def test_an_assignment_whose_only_round_holds_nothing_but_failures_has_failed() -> None:
    play = Play("a", "b", rules=Rules(last_round=1))
    play.answer(1, "a", "b", ok=False)
    play.aggregated()

    assert play.end().state is JobState.FAILED
    assert play.end().reason == "no_result"


def test_one_success_is_enough_for_a_single_round_to_finish() -> None:
    play = Play("a", "b", rules=Rules(last_round=1))
    play.answer(1, "a", ok=False)
    play.answer(1, "b")
    play.aggregated()

    assert play.end().state is JobState.FINISHED


def test_an_assignment_of_which_every_round_holds_nothing_but_failures_has_failed() -> None:
    play = Play("a", "b", rules=Rules(last_round=3))
    for number in (1, 2, 3):
        play.answer(number, "a", "b", ok=False)
        play.aggregated()

    assert (play.end().state, play.end().reason) == (JobState.FAILED, "no_result")
    assert "a, b: " in play.end().detail


def test_one_success_in_any_round_is_enough_to_finish() -> None:
    play = Play("a", "b", rules=Rules(last_round=3))
    for number in (1, 2, 3):
        play.answer(number, "a", ok=False)
        play.answer(number, "b", ok=number == 1)
        play.aggregated()

    assert (play.end().state, play.end().reason) == (JobState.FINISHED, "iterations")


def test_answers_that_waited_while_the_cloud_stood_still_are_not_late() -> None:
    play = Play("a", "b", "c", rules=Rules(feedback=True, deadline_ns=60 * SECOND))
    play.answer(1, "a")

    play.now_ns += 90 * SECOND  # nothing was heard meanwhile
    play.answer(1, "b")
    play.answer(1, "c")
    play(Tick())

    (closing,) = play.closed()
    assert (closing.state, closing.missing) == (RoundState.COMPLETE, ())


def test_rounds_without_any_value_fail_and_say_what_the_last_aggregate_said() -> None:
    play = Play("a", rules=Rules(last_round=2))
    for number in (1, 2):
        play.answer(number, "a")
        play(Aggregated(number, error=f"traceback: KeyError: {number}"))

    assert (play.end().state, play.end().reason) == (JobState.FAILED, "no_value")
    assert "traceback: KeyError: 2" in play.end().detail


def test_one_value_is_enough_for_a_good_end() -> None:
    play = Play("a", rules=Rules(last_round=2))
    play.answer(1, "a")
    play.aggregated()
    play.answer(2, "a")
    play(Aggregated(2, error="traceback: KeyError"))

    assert play.end() == Ended(JobState.FINISHED, "iterations")
