"""A submitted assignment as its analyst follows it: rounds, results, progress, the reasons why."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from user_lib.columns import Columns, columns_of_results, columns_of_rounds
from user_lib.connection import Connection
from user_lib.contents import Contents
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND, Clock, SystemClock
from user_lib.contract.errors import OodidaError, ProtocolError
from user_lib.contract.escaping import escaped
from user_lib.contract.messages import (
    Cancel,
    Cancelled,
    Event,
    Explain,
    Explanation,
    JobChanged,
    JobInfo,
    Result,
    RoundClosed,
)
from user_lib.contract.states import JOB_ENDS, JobState
from user_lib.events import ALL_KINDS, Kind, follow, pages, read
from user_lib.explain import explain_text
from user_lib.job_file import write_events
from user_lib.progress import Progress
from user_lib.results import Round, VehicleResult
from user_lib.signed_orders import sign_cancel
from user_lib.tables import Column, Table
from user_lib.vehicle_cards import VehicleCards
from user_lib.verification.findings import Verification
from user_lib.verification.repeats import Heard
from user_lib.verification.signatures import Signatures

__all__ = ["Job", "JobFailed", "explanation_of", "job_table"]

_JOBS: Mapping[str, Column[JobInfo]] = {
    "job": lambda j: j.assignment_id,
    "name": lambda j: j.spec.name,
    "state": lambda j: j.state,
    "onboard": lambda j: j.spec.onboard,
    "offboard": lambda j: j.spec.offboard,
    "vehicles": lambda j: len(j.vehicles),
    "rounds": lambda j: j.rounds_closed,
    "results": lambda j: j.results,
    "reason": lambda j: j.reason,
}


class JobFailed(OodidaError):
    """An assignment ended as FAILED or CANCELLED; the message says why."""


class Job:
    """An assignment in the cloud, by its id; it lives on whether or not anyone looks."""

    def __init__(
        self,
        connection: Connection,
        info: JobInfo,
        clock: Clock | None = None,
        vehicles: VehicleCards | None = None,
    ) -> None:
        self._connection = connection
        self._signatures = Signatures(connection, info.assignment_id, vehicles)
        self._contents = Contents(connection, info.assignment_id)
        self._info = info
        self._clock = clock or SystemClock()

    @property
    def id(self) -> str:
        """What `Fleet.job` finds it by."""
        return self._info.assignment_id

    @property
    def spec(self) -> Assignment:
        """The assignment, as it was submitted."""
        return self._info.spec

    @property
    def vehicles(self) -> tuple[str, ...]:
        """The vehicles that were selected when it was submitted."""
        return self._info.vehicles

    @property
    def info(self) -> JobInfo:
        """What the cloud says of it now; asks only while it has not ended."""
        if self._info.state not in JOB_ENDS:
            self._info = self.explanation().job
        return self._info

    @property
    def state(self) -> JobState:
        """SCHEDULED, RUNNING, FINISHED, CANCELLED or FAILED, as the cloud says now."""
        return self.info.state

    def rounds(self) -> Iterator[Round]:
        """Yield every round from the first one on, live, until the job ends.

        A cloud that restarts is waited for. Without a ``when`` trigger every iteration makes a
        round; with one there are none: use `stream`.

        Raises: JobFailed, after the last round, when the job failed; not when it was cancelled.
        """
        for event in self._news(("round",)):
            if isinstance(event.item, RoundClosed):
                yield Round(event.item, self._contents)
        self._raise_if_failed()

    def stream(self) -> Iterator[VehicleResult]:
        """Yield every vehicle's every result from the first one on, live, until the job ends.

        Raises: JobFailed, after the last result, as `rounds`.
        """
        for event in self._news(("result",)):
            if isinstance(event.item, Result):
                yield VehicleResult(event.item, self._contents)
        self._raise_if_failed()

    def events_so_far(self, after_seq: int = 0) -> Iterator[Event]:
        """Yield the events so far whose number is above ``after_seq``, without waiting."""
        events = self._verified(read(self._connection, self.id, after_seq=after_seq))
        return map(self._contents.whole, events)

    def events(self, kinds: tuple[Kind, ...] = ALL_KINDS, *, after_seq: int = 0) -> Iterator[Event]:
        """Yield the numbered events after ``after_seq``, live, until the job ends.

        Whoever keeps the number of the last event can go on there in another process.
        """
        return map(self._contents.whole, self._news(kinds, after_seq))

    def results(self) -> list[VehicleResult]:
        """Return every vehicle's results so far, in the order in which they arrived."""
        events = self._verified(read(self._connection, self.id, ("result",)))
        contents = self._contents
        return [VehicleResult(e.item, contents) for e in events if isinstance(e.item, Result)]

    def closed_rounds(self) -> list[Round]:
        """Return the rounds closed so far."""
        events = self._verified(read(self._connection, self.id, ("round",)))
        contents = self._contents
        return [Round(e.item, contents) for e in events if isinstance(e.item, RoundClosed)]

    def to_numpy(self, of: Literal["results", "rounds"] = "results") -> Columns:
        """Return what came back so far as columns; failed iterations are left out.

        Shapes: see `Columns`; one row for each result of a vehicle, or with ``of="rounds"`` for
                each aggregate.
        """
        if of == "results":
            return columns_of_results(self.results())
        return columns_of_rounds(self.closed_rounds())

    def wait(self, *, progress: bool = False, timeout_s: float | None = None) -> JobState:
        """Wait for the job's end and return the state it ended in; see `raise_for_state`.

        ``progress`` shows on stderr how far it has come.

        Raises: TimeoutError, when it has not ended after ``timeout_s``, saying what it waits for.
        """
        started_ns = self._clock.monotonic_ns()
        shown = Progress(shown=progress)
        results = rounds = 0
        try:
            for page in follow(self._connection, self.id, clock=self._clock):
                results += sum(isinstance(e.item, Result) for e in page.events)
                rounds += sum(isinstance(e.item, RoundClosed) for e in page.events)
                shown.say(self._say_progress(page.state, rounds, results))
                waited_s = (self._clock.monotonic_ns() - started_ns) / SECOND
                if timeout_s is not None and waited_s > timeout_s and not page.ended:
                    raise TimeoutError(f"not ended after {timeout_s:g} s\n{self.explain()}")
        finally:
            shown.close()
        return self.state

    def raise_for_state(self) -> None:
        """Do nothing unless the job ended badly.

        Raises: JobFailed, when it failed or was cancelled.
        """
        info = self.info
        if info.state in (JobState.FAILED, JobState.CANCELLED):
            why = info.reason or "no reason given"
            raise JobFailed(f"job {self.id} {info.state}: {why}; job.explain() says where")

    def cancel(self) -> JobState:
        """End the job on every vehicle; returns the state it is in, which may be another end."""
        keys, now_ns = self._connection.settings.keys, self._clock.unix_ns()
        ask = Cancel(assignment_id=self.id)
        if keys is not None:
            ask = sign_cancel(self.id, keys.own, now_ns)
        state = self._connection.ask(ask, Cancelled).state
        self._info = self.explanation().job
        return state

    def explain(self) -> str:
        """Say where the job stands on each vehicle and what it waits for."""
        return explain_text(self.explanation(), self._notes())

    def save(self, path: str | Path) -> int:
        """Write every event so far as a line of JSON; returns how many there are.

        The file appears whole or not at all.
        """
        return write_events(Path(path), self.events_so_far())

    def verify(self) -> Verification:
        """Verify all that came back so far, without trusting the cloud.

        The assignment's signature, and that `spec` is what was signed; that no vehicle which was
        named is left out; each vehicle's signature of its results, losses and ends, the code
        versions they ran, and that nothing is missing between; that each round counts each result
        that came in time, once; built-in aggregates are computed again. Nothing is raised for what
        does not hold: see `Verification.problems`.

        Raises: ConfigError, without keys.
        """
        events = pages(self._connection, self.id)
        return self._signatures.verify(self._info, events, self._contents)

    def explanation(self) -> Explanation:
        """Return what `explain` says, for programs."""
        return explanation_of(self._connection, self.id)

    def _notes(self) -> list[str]:
        """Return what the cloud remarked on the job as a whole, the newest of each kind."""
        notes: dict[str, str] = {}
        for event in read(self._connection, self.id, ("job",)):
            said = event.item
            if not isinstance(said, JobChanged) or said.vehicle_id or said.state in JOB_ENDS:
                continue
            if said.detail:
                notes[said.reason] = said.detail
        return list(notes.values())

    def _news(self, kinds: tuple[Kind, ...], after_seq: int = 0) -> Iterator[Event]:
        """Yield events live, as they are; their contents are pulled when somebody looks."""
        news = follow(self._connection, self.id, kinds, after_seq=after_seq, clock=self._clock)
        yield from self._verified(event for page in news for event in page.events)

    def _verified(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on of which vehicles have signed their part, each result once.

        Raises: SignatureError.
        """
        heard = Heard()
        for event in events:
            self._signatures.check(event.item)
            if not isinstance(event.item, Result) or heard.is_new(event.item):
                yield event

    def _raise_if_failed(self) -> None:
        """Tell of a failure whoever only looks at what came back, which may be nothing."""
        if self.state is JobState.FAILED:
            self.raise_for_state()

    def _say_progress(self, state: JobState, rounds: int, results: int) -> str:
        last = self.spec.last_iteration
        if not self.spec.has_rounds:
            done = f"{results} results"
        else:
            done = f"{rounds}{f' of {last}' if last else ''} rounds, {results} results"
        return f"{self.spec.name or self.id}: {state}, {done}"

    def __repr__(self) -> str:
        info = self._info  # as last seen: showing a job asks nobody
        name = f" {info.spec.name!r}" if info.spec.name else ""
        why = f" ({info.reason})" if info.reason else ""
        done = f"{info.rounds_closed} rounds, {info.results} results"
        said = f"{self.id}{name} {info.state}{why}"
        return f"<Job {escaped(said)}: {len(self.vehicles)} vehicles, {done}>"


def explanation_of(connection: Connection, job_id: str) -> Explanation:
    """Ask the cloud of a job. Raises: ProtocolError, when it tells of another; Rejected."""
    told = connection.ask(Explain(assignment_id=job_id), Explanation)
    if told.job.assignment_id != job_id:
        raise ProtocolError(
            f"asked of {job_id}, the cloud tells of another job: {told.job.assignment_id}"
        )
    return told


def job_table(jobs: Iterable[Job]) -> Table[JobInfo]:
    """Return jobs as the cloud last told of them, for a person."""
    return Table((job._info for job in jobs), _JOBS, "no jobs yet")
