"""The temporary handler of one assignment: it exists while the assignment runs.

It turns what vehicles and analysts do into events of `cloud.rounds`, and carries out what follows:
writes to the ledger, messages to the vehicles, work for the off-board method. A handler that is
built from the ledger goes on where the last one was; its deadlines begin anew with the process
alone (`cloud.jobs.clocks`).
"""

from collections import deque
from collections.abc import Mapping

from cloud.context import Context
from cloud.jobs.clocks import Clocks, clocks_of, set_clocks
from cloud.jobs.memory import Memory
from cloud.jobs.stream import Stream
from cloud.jobs.values import Stamps, criterion, no_value, skipped
from cloud.ledger import AssignmentRow
from cloud.ledger.contents import WHILE_IT_RUNS, Contents
from cloud.offboard import Done
from cloud.rounds import (
    Aggregate,
    Aggregated,
    Closed,
    Closing,
    Command,
    Ended,
    Event,
    Expected,
    Expired,
    Opened,
    Overrun,
    Rounds,
    Skipped,
    Started,
    Tick,
    due_ns,
    step,
)
from user_lib.contract.clock import SECOND
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Feedback, Withdraw
from user_lib.contract.states import JobState

__all__ = ["Job", "withdrawal"]

RAN_KEPT_NS = 10 * SECOND
"""How often the running time of an assignment with a duration is kept."""
END_GRACE_NS = 2 * SECOND
"""Vehicles end a task at its duration by themselves; the cloud waits a little for their word."""


class Job:
    """One running assignment: its rounds, and the carrying out of what they decide."""

    def __init__(
        self,
        context: Context,
        row: AssignmentRow,
        state: Rounds,
        *,
        members: frozenset[VehicleId],
        generation: int = 0,
        stamps: Mapping[int, Stamps] | None = None,
    ) -> None:
        self.row, self.state = row, state
        self.members = members
        """Every vehicle that the assignment was given to, those whose task has ended included."""
        self.stream = Stream(context, row)
        self._context = context
        self._memory = Memory(context, row, generation)
        self._stamps = dict(stamps or {})
        self._expires_ns: int | None = None
        self._kept_ns = 0
        """When its running time was last kept, on the monotonic clock; 0 without a duration."""
        self._told_until = False

    @property
    def ended(self) -> bool:
        """Whether this handler has nothing to do any more."""
        return self.state.ended

    @property
    def clocks(self) -> Clocks:
        """How long it has run and waited, for a handler that takes its place."""
        expires_ns = self._kept_ns if self._expires_ns is None else self._expires_ns
        return Clocks(expires_ns, self._kept_ns, self.row.ran_ns, clocks_of(self.state))

    def go_on(self, clocks: Clocks, not_before_ns: int) -> None:
        """Take the place of a handler with these clocks; no round is due before a time."""
        if clocks.kept_ns and self._expires_ns is not None:
            self._expires_ns, self._kept_ns = clocks.expires_ns, clocks.kept_ns
            self.row.ran_ns = clocks.ran_ns
        set_clocks(self.state, clocks.rounds, not_before_ns)

    @property
    def contents(self) -> Contents:
        """Where the contents of its results are."""
        return self._context.ledger.contents

    def resume(self) -> None:
        """Begin, or go on after a restart with the round that was being aggregated."""
        self.expect()
        if self.state.closing:
            self._carry_out([Aggregate(self.state.closing[0])])
        if self.row.started_ns is not None:
            self._run()
        self.tick()

    def tick(self) -> None:
        """Do what is due."""
        clock = self._context.clock
        start_ns = self.row.spec.start_unix_ns
        if self.row.started_ns is None and (start_ns is None or clock.unix_ns() >= start_ns):
            self.start()
        if self._expires_ns is not None and clock.monotonic_ns() >= self._expires_ns:
            self._expires_ns = None
            self.apply(Expired())
        elif self._expires_ns is not None and clock.monotonic_ns() >= self._kept_ns + RAN_KEPT_NS:
            self._keep_ran()
        self.apply(Tick())

    def is_due(self, now_ns: int) -> bool:
        """Whether `tick` may find something to do."""
        if self.row.started_ns is None:
            return True
        kept_ns = None if self._expires_ns is None else self._kept_ns + RAN_KEPT_NS
        dues = (due_ns(self.state), self._expires_ns, kept_ns)
        return any(due is not None and due <= now_ns for due in dues)

    def start(self) -> None:
        """Its time has come, by the clock or by the first answer; once."""
        if self.row.started_ns is not None:
            return
        now_ns = self._context.clock.unix_ns()
        self.row.started_ns, self.row.state = now_ns, JobState.RUNNING
        self._context.ledger.assignments.started(self.row.row, now_ns)
        self.stream.job("started")
        self._run()

    def expect(self) -> None:
        """Take over which code version each vehicle should run."""
        if self.row.spec.onboard == "custom":
            slot = self._context.slots.get(self.row.analyst, "onboard")
            versions = {v: slot.version_for(v) for v in self.members} if slot.expected else None
            self.apply(Expected(versions))

    def apply(self, event: Event) -> None:
        """Let an event change the rounds, and carry out what follows."""
        self._carry_out(step(self.state, event, self._context.clock.monotonic_ns()))

    def feedback(self, vehicle: VehicleId) -> Feedback:
        """Return the input of the present round for a vehicle."""
        return self._feedback(self._version_of(vehicle))

    def aggregated(self, done: Done) -> None:
        """The off-board method is through with a round."""
        closing = done.work.closing
        if self.ended or not self.state.closing or self.state.closing[0].number != closing.number:
            return
        if done.failure:
            self.stream.job("offboard_rolled_back", done.failure)
        self._publish(done)
        error = no_value(done)
        if not error and not self.row.fruitful:
            self.row.fruitful = True
            self._context.ledger.assignments.fruitful(self.row)
        met, problem = criterion(done)
        if problem and not self._told_until:
            self._told_until = True
            self.stream.job("until_undefined", problem)
        self.apply(Aggregated(closing.number, met, error))

    # --- carrying out ----------------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        queue = deque(commands)
        while queue:
            match queue.popleft():
                case Opened(number, members):
                    self._opened(number, members)
                case Closed(closing):
                    self._closed(closing)
                case Aggregate(closing):
                    queue.extend(self._aggregate(closing))
                case Skipped(closing):
                    self._publish(skipped(self._memory.work(closing)))
                case Overrun(number, missing):
                    self._overrun(number, missing)
                case Ended() as ended:
                    self._end(ended)

    def _opened(self, number: int, members: frozenset[VehicleId]) -> None:
        now_ns = self._context.clock.unix_ns()
        self._stamps[number] = Stamps(now_ns)
        rounds = self._context.ledger.rounds
        rounds.opened(self.row.row, number, members, now_ns)
        if not self.row.spec.feedback:
            return
        self._memory.pin()
        rounds.pinned(self.row.row, number, self._memory.generation)
        by_version: dict[str, list[VehicleId]] = {}
        for vehicle in members:
            by_version.setdefault(self._version_of(vehicle), []).append(vehicle)
        for version, vehicles in by_version.items():
            self._context.mail.to_vehicles(vehicles, self._feedback(version))

    def _closed(self, closing: Closing) -> None:
        now_ns = self._context.clock.unix_ns()
        self._stamps.setdefault(closing.number, Stamps(now_ns)).closed_ns = now_ns
        self._context.ledger.rounds.closed(self.row.row, closing, now_ns)
        members = self.state.members
        standings = [(v, 1 + members[v].away) for v in closing.missing if v in members]
        self._context.ledger.members.standing(self.row.row, standings)

    def _aggregate(self, closing: Closing) -> list[Command]:
        """Hand a round to the off-board method; one in which nobody succeeded has no value."""
        work = self._memory.work(closing)
        if closing.parts:
            self._context.work.append(work)
            return []
        self._publish(Done(work=work, values=()))
        now_ns = self._context.clock.monotonic_ns()
        return step(self.state, Aggregated(closing.number), now_ns)

    def _publish(self, done: Done) -> None:
        self._memory.keep(done)
        now_ns = self._context.clock.unix_ns()
        stamps = self._stamps.pop(done.work.closing.number, Stamps(now_ns, now_ns))
        self.stream.round(done, stamps)

    def _overrun(self, number: int, missing: tuple[VehicleId, ...]) -> None:
        self.stream.job(
            "too_many_open_rounds",
            f"the vehicles are more than {len(self.state.open)} iterations apart: round {number} "
            f"was closed early without {', '.join(missing[:20])}, and so will later ones be",
        )

    def _end(self, ended: Ended) -> None:
        row = self.row
        row.state, row.reason, row.detail = ended.state, ended.reason, ended.detail
        row.ended_ns = self._context.clock.unix_ns()
        self._context.ledger.assignments.ended(row)
        self._context.audit.note(
            "ended",
            who=row.analyst,
            job=row.assignment_id,
            reason=ended.reason,
            results=row.results,
            bytes=row.result_bytes,
            detail=ended.detail[:1000],
        )
        self._context.ledger.contents.release(row.row, WHILE_IT_RUNS)
        self.stream.job(ended.reason, ended.detail)
        self._context.mail.to_vehicles(self.state.members, withdrawal(row))

    # --- parts -----------------------------------------------------------------------------------

    def _run(self) -> None:
        """Begin the rounds, and go on with the clock of the duration.

        As on vehicles, time without a cloud does not count: the wall clock may have been set.
        """
        if self.row.spec.duration_s is not None:
            self._kept_ns = self._context.clock.monotonic_ns()
            left_ns = max(0, int(self.row.spec.duration_s * SECOND) - self.row.ran_ns)
            self._expires_ns = self._kept_ns + left_ns + END_GRACE_NS
        self.apply(Started())

    def _keep_ran(self) -> None:
        now_ns = self._context.clock.monotonic_ns()
        self.row.ran_ns += now_ns - self._kept_ns
        self._kept_ns = now_ns
        self._context.ledger.assignments.ran(self.row)

    def _version_of(self, vehicle: VehicleId) -> str:
        member = self.state.members.get(vehicle)
        return member.expected if self.state.split and member is not None else ""

    def _feedback(self, version: str) -> Feedback:
        parcel = self._memory.feedback(version)
        return Feedback(
            assignment_id=self.row.assignment_id,
            iteration=self.state.newest,
            value=parcel.value,
            payload=parcel.payload,
            generation=self._memory.generation,
        )


def withdrawal(row: AssignmentRow) -> Withdraw:
    """Return what ends the tasks of an assignment that has ended."""
    signed = row.cancelled if row.state is JobState.CANCELLED else None
    reason = row.reason or "the cloud does not run this assignment"
    if signed is None and row.signed is not None and row.state is JobState.CANCELLED:
        reason = "cancelled before cancellations were signed"
    return Withdraw(assignment_id=row.assignment_id, reason=reason, signed=signed)
