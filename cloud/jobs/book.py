"""All running assignments, by id and by vehicle."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from cloud.context import Context
from cloud.jobs import members
from cloud.jobs.clocks import Clocks
from cloud.jobs.job import Job, withdrawal
from cloud.jobs.restore import begin, restore
from cloud.jobs.stream import Stream
from cloud.ledger import AssignmentRow, LedgerError
from cloud.offboard import Done, explain
from cloud.registry import Vehicle
from cloud.rounds import Cancelled, Offline, Online
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages import Losses, Result, TaskEnded, TaskHeld, Withdraw
from user_lib.contract.signed import Signed
from user_lib.contract.states import TASK_ENDS, JobState

__all__ = ["Jobs"]

MAX_WITHDRAWN = 1000
"""Stale tasks that one heartbeat is answered for; the next one names the rest again."""


class Jobs:
    """Makes a handler when an assignment comes or the cloud starts, and lets it go at its end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._live: dict[AssignmentId, Job] = {}
        self._by_vehicle: dict[VehicleId, dict[AssignmentId, Job]] = defaultdict(dict)
        self._spoken: dict[AssignmentId, set[VehicleId]] = {}
        self._end_unreadable()
        for row in context.ledger.assignments.live():
            self._resume(row)

    def __len__(self) -> int:
        return len(self._live)

    def get(self, assignment_id: AssignmentId) -> Job | None:
        """Return the handler of a running assignment."""
        return self._live.get(assignment_id)

    def of_analyst(self, analyst: UserId) -> Iterator[Job]:
        """Return an analyst's running assignments."""
        return (job for job in list(self._live.values()) if job.row.analyst == analyst)

    @property
    def clocks(self) -> dict[AssignmentId, Clocks]:
        """How long each has run and waited."""
        return {name: job.clocks for name, job in self._live.items()}

    def go_on(self, clocks: Mapping[AssignmentId, Clocks], not_before_ns: int) -> None:
        """Take the place of handlers with these clocks; no round is due before a time."""
        for name, job in self._live.items():
            if name in clocks:
                job.go_on(clocks[name], not_before_ns)

    # --- from analysts and the clock -------------------------------------------------------------

    def submit(self, row: AssignmentRow, token: str, vehicles: tuple[VehicleId, ...]) -> None:
        """Keep a new assignment and give it to its vehicles."""
        ledger = self._context.ledger
        ledger.assignments.add(row, token, vehicles)
        if row.spec.onboard_content is not None:
            ledger.contents.refer(row.row, row.spec.onboard_content, "params")
        if row.spec.offboard_content is not None:
            ledger.contents.refer(row.row, row.spec.offboard_content, "offboard_params")
        job = begin(self._context, row, vehicles)
        online = [v for v in job.members if self._context.registry.is_online(v)]
        if online:
            self._context.mail.to_vehicles(online, members.assign(job, online[0]))
        self._begin(job, spoken=set())

    def cancel(self, job: Job, signed: Signed | None) -> None:
        """End an assignment, as its analyst has signed."""
        job.row.cancelled = signed
        self._context.ledger.assignments.cancelled(job.row)
        job.apply(Cancelled())
        self._settle(job)

    def code_changed(self, analyst: UserId) -> None:
        """An analyst's on-board slot has a new content."""
        for job in self.of_analyst(analyst):
            job.expect()

    def tick(self) -> None:
        """Do what is due in any of them."""
        now_ns = self._context.clock.monotonic_ns()
        for job in list(self._live.values()):
            if job.is_due(now_ns):
                job.tick()
                self._settle(job)

    def aggregated(self, done: Done) -> None:
        """The off-board method is through with a round."""
        job = self._live.get(done.work.assignment_id)
        if job is not None:
            self._note_code(job, done)
            job.aggregated(done)
            self._settle(job)

    # --- from vehicles ---------------------------------------------------------------------------

    def result(self, result: Result) -> bool:
        """Keep a result; False when it is a repeat or was not asked for."""
        job = self._live.get(result.assignment_id)
        if job is None:
            return self._late_result(result)
        if result.vehicle_id not in job.members:
            return self._stranger(result)
        new = members.deliver(job, result)
        if new and result.code_version:
            slot = self._context.slots.produced(job.row.analyst, result)
            if slot is not None:
                self._context.news.code.add(slot.analyst)
        self._settle(job)
        return new

    def task_ended(self, ended: TaskEnded) -> None:
        """A vehicle's task is over."""
        job = self._live.get(ended.assignment_id)
        if job is not None and ended.vehicle_id in job.members:
            members.end(self._context, job, ended)
            self._settle(job)
            return
        row = self._context.ledger.find(ended.assignment_id)
        if row is not None:
            self._context.ledger.members.task_ended(row.row, ended)

    def lost(self, losses: Losses) -> None:
        """A vehicle had to drop results."""
        job = self._live.get(losses.assignment_id)
        row = self._context.ledger.find(losses.assignment_id) if job is None else job.row
        if row is None or not self._context.ledger.members.is_member(row.row, losses.vehicle_id):
            return
        members.lose(self._context, row, losses, job)
        if job is not None:
            self._settle(job)

    def presence(self, vehicle: VehicleId, *, online: bool) -> None:
        """A vehicle's lease began or ran out."""
        for job in list(self._by_vehicle[vehicle].values()):
            job.apply(Online(vehicle) if online else Offline(vehicle))
            self._settle(job)

    def reconcile(self, vehicle: Vehicle) -> None:
        """Compare what a vehicle holds with what it should, and send what is missing."""
        name, held = vehicle.hello.vehicle_id, vehicle.tasks
        wanted = self._by_vehicle[name]
        for assignment_id, job in list(wanted.items()):
            if name in job.state.members:
                self._compare(job, name, held.get(assignment_id))
        stale = [
            t.assignment_id
            for t in held.values()
            if t.assignment_id not in wanted and t.state not in TASK_ENDS
        ]
        for assignment_id in stale[:MAX_WITHDRAWN]:
            row = self._context.ledger.find(assignment_id)
            order = withdrawal(row) if row is not None else _unknown(assignment_id)
            self._context.mail.to_vehicle(name, order)

    # --- parts -----------------------------------------------------------------------------------

    def _end_unreadable(self) -> None:
        """End what this version's grammar refuses: nobody could run it, and the others go on."""
        ended_ns = self._context.clock.unix_ns()
        for name, why in self._context.ledger.assignments.end_unreadable(ended_ns):
            self._context.complaints.add(
                "assignment unreadable", "assignment %s cannot be read and ended: %s", name, why
            )

    def _resume(self, row: AssignmentRow) -> None:
        """Take up an assignment that the ledger has; one at which that fails ends, alone."""
        try:
            known = self._context.ledger.members.of(row.row)
            spoken = {m.vehicle_id for m in known if m.state is not None}
            self._begin(restore(self._context, row, known), spoken)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and counted
            self._context.complaints.add(
                "assignment given up", "assignment %s", row.assignment_id, error=error
            )
            self._give_up(row, f"the cloud failed at this assignment: {error!r}")

    def _give_up(self, row: AssignmentRow, detail: str) -> None:
        self._live.pop(row.assignment_id, None)
        self._spoken.pop(row.assignment_id, None)
        for jobs in self._by_vehicle.values():
            jobs.pop(row.assignment_id, None)
        row.state, row.reason, row.detail = JobState.FAILED, "internal", detail
        row.ended_ns = self._context.clock.unix_ns()
        self._context.ledger.assignments.ended(row)
        Stream(self._context, row).job(row.reason, row.detail)

    def _begin(self, job: Job, spoken: set[VehicleId]) -> None:
        """Hold a handler; after a restart, each heartbeat tells what its vehicle is missing."""
        assignment_id = job.row.assignment_id
        self._live[assignment_id] = job
        self._spoken[assignment_id] = spoken
        registry = self._context.registry
        for vehicle in job.members:
            self._by_vehicle[vehicle][assignment_id] = job
            if registry.is_online(vehicle):
                job.apply(Online(vehicle))
        job.resume()
        self._settle(job)

    def _compare(self, job: Job, vehicle: VehicleId, held: TaskHeld | None) -> None:
        mail = self._context.mail
        if held is None:
            mail.to_vehicle(vehicle, members.assign(job, vehicle))
            return
        spoken = self._spoken[job.row.assignment_id]
        if vehicle not in spoken:
            spoken.add(vehicle)
            members.accepted(self._context, job, vehicle, held)
        feedback = members.feedback_again(job, vehicle, held)
        if feedback is not None:
            mail.to_vehicle(vehicle, feedback)
        elif members.lags(job, vehicle, held):
            mail.to_vehicle(vehicle, members.assign(job, vehicle))

    def _late_result(self, result: Result) -> bool:
        row = self._context.ledger.find(result.assignment_id)
        if row is None or not self._context.ledger.members.is_member(row.row, result.vehicle_id):
            return self._stranger(result)
        return members.deliver_late(self._context, row, result)

    def _stranger(self, result: Result) -> bool:
        self._context.complaints.add(
            "unasked result",
            "vehicle %s sent a result of %s, which it was not given",
            result.vehicle_id,
            result.assignment_id,
        )
        return False

    def _note_code(self, job: Job, done: Done) -> None:
        """Note whether the off-board version proved itself in its first round."""
        source = done.work.source
        if source is None or not done.values:
            return
        slots = self._context.slots
        slot = slots.get(job.row.analyst, "offboard")
        failures = [explain(v.outcome) for v in done.values if not v.outcome.ok]
        if done.failure:
            slots.failed(slot, source.generation, done.failure, fell_back=True)
        elif failures:
            slots.failed(slot, source.generation, failures[0], fell_back=False)
        else:
            slots.proved(slot, source.generation)
        self._context.news.code.add(job.row.analyst)

    def _settle(self, job: Job) -> None:
        """Let a handler go once its assignment has ended."""
        if not job.ended or job.row.assignment_id not in self._live:
            return
        del self._live[job.row.assignment_id]
        del self._spoken[job.row.assignment_id]
        for vehicle in job.members:
            self._by_vehicle[vehicle].pop(job.row.assignment_id, None)
            if not self._by_vehicle[vehicle]:
                del self._by_vehicle[vehicle]


def _unknown(assignment_id: AssignmentId) -> Withdraw:
    return Withdraw(assignment_id=assignment_id, reason="the cloud does not know this assignment")
