"""Laws of the rounds, for any order of events that vehicles, analysts and time can produce."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

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
    Member,
    Offline,
    Online,
    Opened,
    Rounds,
    Rules,
    Skipped,
    Started,
    Tick,
    counts,
    due_ns,
    step,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.states import RoundState, TaskState

VEHICLES = ("a", "b", "c", "d")
VERSIONS = ("1" * 64, "2" * 64)
vehicles = st.sampled_from(VEHICLES)


class RoundsMachine(RuleBasedStateMachine):
    """A fleet of four that answers, fails, lags, jumps, leaves and changes its code at will."""

    @initialize(
        feedback=st.booleans(),
        last_round=st.none() | st.integers(1, 6),
        quorum=st.sampled_from([0.25, 0.5, 1.0]),
        online=st.sets(vehicles),
    )
    def begin(
        self, feedback: bool, last_round: int | None, quorum: float, online: set[str]
    ) -> None:
        rules = Rules(
            feedback=feedback, last_round=last_round, quorum=quorum, deadline_ns=10 * SECOND
        )
        members = {v: Member(online=v in online) for v in VEHICLES}
        self.state = Rounds(rules, members)
        self.now_ns = 0
        self.position = dict.fromkeys(VEHICLES, 0)
        self.given: dict[tuple[str, int], Answer] = {}
        self.counted: dict[int, set[str]] = {}
        self.closed: dict[int, Closing] = {}
        self.in_work: list[int] = []
        self.opened: dict[int, frozenset[str]] = {}
        self.ended = False
        self.send(Started())

    def send(self, event: Event) -> None:
        for command in step(self.state, event, self.now_ns):
            assert not self.ended, "nothing follows the end"
            self.follow(command)

    def follow(self, command: Command) -> None:
        match command:
            case Opened(number, members):
                assert number not in self.closed
                self.opened[number] = members
            case Closed(closing):
                self.check_closing(closing)
            case Aggregate(closing):
                assert self.in_work == []
                assert closing == self.closed[closing.number]
                self.in_work.append(closing.number)
            case Skipped(closing):
                assert closing.number not in self.in_work
            case Ended():
                self.ended = True
            case _:
                pass

    def check_closing(self, closing: Closing) -> None:
        number = closing.number
        assert number not in self.closed, "a closed round stays closed"
        self.closed[number] = closing
        assert closing.state in (RoundState.COMPLETE, RoundState.SHORT)
        counted = [v for part in closing.parts for v in part.vehicles]
        named = [*counted, *closing.failed, *closing.not_counted, *closing.missing]
        assert len(named) == len(set(named)), "each member stands in one place"
        assert set(named) <= self.opened[number]
        for part in closing.parts:
            versions = {self.given[v, number].code_version for v in part.vehicles}
            assert versions == {part.code_version}, "versions are never mixed"
        for v in counted:
            assert v in self.counted.get(number, ()), "only what counted is in an aggregate"
        if not self.state.split:
            assert len(closing.parts) <= 1

    @rule(v=vehicles, ahead=st.sampled_from([1, 1, 1, 1, 2, 200]), data=st.data())
    def answer(self, v: str, ahead: int, data: st.DataObject) -> None:
        iteration = self.position[v] + ahead
        if self.state.rules.feedback:
            iteration = max(self.state.newest, 1)
        if (v, iteration) in self.given:
            return
        answer = Answer(
            vehicle=v,
            iteration=iteration,
            ok=data.draw(st.booleans()),
            code_version=data.draw(st.sampled_from(VERSIONS)),
        )
        self.given[v, iteration] = answer
        self.position[v] = max(self.position[v], iteration)
        if counts(self.state, v, iteration):
            assert iteration not in self.closed
            self.counted.setdefault(iteration, set()).add(v)
        self.send(Answered(answer))

    @rule(v=vehicles, online=st.booleans())
    def lease(self, v: str, online: bool) -> None:
        self.send(Online(v) if online else Offline(v))

    @rule(
        v=vehicles,
        end=st.sampled_from([TaskState.REJECTED, TaskState.FAILED, TaskState.FINISHED]),
    )
    def leave(self, v: str, end: TaskState) -> None:
        if v in self.state.members and end is TaskState.FAILED:
            for number, round_ in self.state.open.items():
                if v in round_.pending:
                    self.given[v, number] = Answer(vehicle=v, iteration=number, ok=False)
        self.send(Left(v, end, "because"))

    @rule(seconds=st.integers(0, 15))
    def time(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND
        self.send(Tick())

    @rule(until_met=st.sampled_from([False] * 9 + [True]))
    def value(self, until_met: bool) -> None:
        if self.in_work:
            self.send(Aggregated(self.in_work.pop(), until_met))

    @rule(
        versions=st.none()
        | st.fixed_dictionaries(dict.fromkeys(VEHICLES, st.sampled_from(VERSIONS)))
    )
    def a_b(self, versions: dict[str, str] | None) -> None:
        self.send(Expected(versions))

    @rule(cancel=st.booleans(), sure=st.sampled_from([False] * 9 + [True]))
    def end(self, cancel: bool, sure: bool) -> None:
        if sure:
            self.send(Cancelled() if cancel else Expired())

    @invariant()
    def bounded(self) -> None:
        assert len(self.state.open) <= MAX_OPEN
        assert len(self.state.closing) <= MAX_CLOSING

    @invariant()
    def open_rounds_wait_for_somebody(self) -> None:
        for round_ in self.state.open.values():
            assert round_.pending
            assert not round_.pending & round_.answers.keys()
            assert round_.number <= self.state.newest

    @invariant()
    def an_unended_job_is_never_stuck(self) -> None:
        """Somebody is waited for, or a value is, or all are away or have run past the end."""
        state = self.state
        if state.ended or state.open or state.closing:
            return
        able = [m for m in state.members.values() if m.online and not m.missed]
        last = state.rules.last_round
        assert state.members
        assert not able or (last is not None and min(m.position for m in able) >= last)

    def teardown(self) -> None:
        """Every open round closes within its deadline once its members answered or went away."""
        if not hasattr(self, "state") or self.state.ended:
            return
        for v in VEHICLES:
            self.send(Offline(v))
        was_open = set(self.state.open)
        due = due_ns(self.state)
        self.now_ns = max(self.now_ns, *(due,)) if due is not None else self.now_ns
        self.now_ns += 10 * SECOND
        self.send(Tick())
        assert was_open <= set(self.closed)


RoundsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRounds = RoundsMachine.TestCase
