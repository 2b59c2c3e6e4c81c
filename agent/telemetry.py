"""What the agent measures, as metrics: a snapshot of the main loop's counts, taken once a second.

systemd/METRICS.md lists the names. Counters that no line of `METERS` names are
still there, as ``oodida_agent_stat{name="..."}``: nothing that is counted is hidden.
"""

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from agent.link.session import LinkState
from agent.sandbox import Job, Outcome
from agent.store import Entry
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Result
from user_lib.contract.states import TASK_ENDS, TaskState
from user_lib.wire.metrics import Sample, process_samples, prometheus_text

__all__ = ["METERS", "Meter", "OldestEntry", "Outcomes", "Snapshot", "Telemetry", "samples_of"]

EVERY_NS = 1 * SECOND
MB, MIB, MS_A_SECOND = 1e6, 1 << 20, 1e-3
_BUS = re.compile(r"bus\.(?P<bus>.+)\.(?P<what>frames)$")


class Meter(msgspec.Struct, frozen=True):
    """How one dotted counter is called as a metric, and by what it is multiplied."""

    stat: str
    name: str
    help: str
    kind: Literal["gauge", "counter"] = "counter"
    scale: float = 1.0


METERS: tuple[Meter, ...] = (
    Meter("frames.total", "frames_total", "Frames taken in"),
    Meter("frames.unmatched", "frames_unmatched_total", "Frames that no database knows"),
    Meter("frames.dropped", "frames_dropped_total", "Frames lost before they were read"),
    Meter("frames.errors", "frames_error_total", "Error frames of the buses"),
    Meter("frames.remote", "frames_remote_total", "Remote frames"),
    Meter("frames.malformed", "frames_malformed_total", "Frames that could not be read"),
    Meter("transfers.dropped", "transfers_dropped_total", "Long payloads that missed a part"),
    Meter("source.reconnects", "source_reconnects_total", "Times that an interface came back"),
    Meter("source.bus_offs", "source_bus_offs_total", "Times that a controller left its bus"),
    Meter("source.errors", "source_errors_total", "Sources that failed for good"),
    Meter("source.disconnected", "sources_disconnected", "Interfaces that are away", "gauge"),
    Meter("source.ended", "sources_ended", "Logs that are over", "gauge"),
    Meter("history.mb", "history_bytes", "Memory in use for the history", "gauge", MIB),
    Meter("history.depth_s", "history_depth_seconds", "How far the history reaches back", "gauge"),
    Meter("history.overwritten", "history_overwritten_total", "Rows overwritten by newer ones"),
    Meter("pump.busy_s", "pump_busy_seconds_total", "Time spent on reading, decoding, windows"),
    Meter("pump.lag_ms", "pump_lag_seconds", "How late the pump is", "gauge", MS_A_SECOND),
    Meter("pump.errors", "pump_errors_total", "Faults of the pump"),
    Meter("subscriptions", "subscriptions", "Tasks that follow signals", "gauge"),
    Meter("triggers.fired", "triggers_fired_total", "Conditions that became true"),
    Meter("triggers.missed", "triggers_missed_total", "Triggers whose window was lost"),
    Meter("slots.busy", "slots_busy", "Worker slots in use", "gauge"),
    Meter("slots.total", "slots", "Worker slots", "gauge"),
    Meter("tasks.committed", "iterations_committed_total", "Iterations on disk"),
    Meter("tasks.roll_backs", "code_roll_backs_total", "Code versions that were rolled back"),
    Meter("tasks.faults", "task_faults_total", "Tasks ended by a fault of the agent"),
    Meter("orders.refused", "orders_refused_total", "Orders that were not carried out"),
    Meter("tasks.paused", "state_unwritable", "1 while the disk cannot be written", "gauge"),
    Meter("outbox.entries", "outbox_entries", "Results that wait for the cloud", "gauge"),
    Meter("outbox.mb", "outbox_bytes", "Size of what waits for the cloud", "gauge", MB),
    Meter("outbox.unanswered_s", "outbox_unanswered_seconds", "Since the cloud answered", "gauge"),
    Meter("outbox.lost", "outbox_lost_total", "Results that a full outbox had to drop"),
    Meter("outbox.retracted", "outbox_retracted_total", "Results that new rules kept here"),
    Meter("content.sent_mb", "content_sent_bytes_total", "Sent in chunks", scale=MB),
    Meter("content.received_mb", "content_received_bytes_total", "Taken in chunks", scale=MB),
    Meter("content.damaged", "content_damaged_total", "Contents that were not what they said"),
    Meter("content.pulls", "content_pulls", "Contents that are being pulled", "gauge"),
    Meter("link.connects", "link_connects_total", "Connections to the cloud"),
    Meter("link.malformed", "link_malformed_total", "Messages that made no sense"),
    Meter("link.endless", "link_endless_total", "Connections with a message without an end"),
    Meter("link.unsent", "link_unsent_total", "Messages that found no connection"),
    Meter("loop.errors", "loop_errors_total", "Faults of the main loop"),
)
_BY_STAT = {meter.stat: meter for meter in METERS}


class Snapshot(msgspec.Struct, frozen=True):
    """What the main loop knows at one moment."""

    stats: dict[str, float] = {}
    tasks: dict[TaskState, int] = {}
    link: LinkState = LinkState.DOWN
    outbox_age_s: float = 0.0


class Outcomes:
    """Counts how jobs end, between whoever gives them and the sandbox; for many threads."""

    def __init__(self, run: Callable[[Job], Outcome]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._cpu_s = 0.0

    def run(self, job: Job) -> Outcome:
        """Run a job and count its end."""
        outcome = self._run(job)
        with self._lock:
            self._counts[outcome.status, outcome.reason] += 1
            self._cpu_s += outcome.cpu_s
        return outcome

    def samples(self) -> list[Sample]:
        """Return the counts by status and reason (``wall``, ``cpu``, ``memory``, ``crash``, …)."""
        with self._lock:
            counts, cpu_s = dict(self._counts), self._cpu_s
        name, said = "oodida_agent_jobs_total", "Jobs of the sandbox by how they ended"
        found = [
            Sample(name, count, said, {"status": status, "reason": reason}, "counter")
            for (status, reason), count in sorted(counts.items())
        ]
        name, said = "oodida_agent_jobs_cpu_seconds_total", "Processor time of jobs"
        return [*found, Sample(name, cpu_s, said, {}, "counter")]


class Waiting(Protocol):
    """The outbox, as far as its age is concerned."""

    def deliverable(self) -> list[Entry]:
        """Return the entries that may be sent, oldest first."""
        ...

    def load(self, seq: int) -> object | None:
        """Return an entry's item."""
        ...


class OldestEntry:
    """How old the oldest result of the outbox is. Of the store's thread."""

    def __init__(self, outbox: Waiting) -> None:
        self._outbox = outbox
        self._seq: int | None = None
        self._created_ns = 0

    def age_s(self, unix_ns: int) -> float:
        """Return the age by the wall clock, 0 of an empty outbox; reads an entry only once."""
        waiting = self._outbox.deliverable()
        if not waiting:
            self._seq = None
            return 0.0
        if waiting[0].seq != self._seq:
            self._seq = waiting[0].seq
            item = self._outbox.load(self._seq)
            self._created_ns = item.created_ns if isinstance(item, Result) else unix_ns
        return max(0.0, (unix_ns - self._created_ns) / SECOND)


class Telemetry:
    """Takes the snapshots, in the main loop's thread, and renders them in any other."""

    def __init__(self, outcomes: Outcomes, zygote_pid: Callable[[], int | None]) -> None:
        self._outcomes, self._zygote_pid = outcomes, zygote_pid
        self._next_ns = 0
        self._snapshot = Snapshot()

    def turned(self, now_ns: int, take: Callable[[], Snapshot]) -> None:
        """Take a snapshot when it is time.

        Units: ``now_ns``, ns of the monotonic clock.
        """
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + EVERY_NS
            self._snapshot = take()

    def render(self) -> bytes:
        """Return everything as Prometheus text."""
        parts = [("agent", os.getpid())]
        zygote = self._zygote_pid()
        if zygote is not None:
            parts.append(("zygote", zygote))
        samples = [*samples_of(self._snapshot), *self._outcomes.samples(), *process_samples(parts)]
        return prometheus_text(samples)


def samples_of(snapshot: Snapshot) -> Iterable[Sample]:
    """Return a snapshot as metrics."""
    yield from _counters(snapshot.stats)
    for state in TaskState:
        if state not in TASK_ENDS:
            count = snapshot.tasks.get(state, 0)
            yield Sample("oodida_agent_tasks", count, "Tasks held by state", {"state": state})
    for link in LinkState:
        here = float(snapshot.link is link)
        yield Sample("oodida_agent_link", here, "1 for the state of the link", {"state": link})
    yield Sample(
        "oodida_agent_outbox_oldest_seconds", snapshot.outbox_age_s, "Age of the oldest result"
    )


def _counters(stats: Mapping[str, float]) -> Iterable[Sample]:
    for stat, value in stats.items():
        meter = _BY_STAT.get(stat)
        bus = _BUS.match(stat)
        if meter is not None:
            name = f"oodida_agent_{meter.name}"
            yield Sample(name, value * meter.scale, meter.help, {}, meter.kind)
        elif bus is not None:
            labels = {"bus": bus["bus"]}
            yield Sample("oodida_agent_bus_frames_total", value, "Frames a bus", labels, "counter")
        else:
            yield Sample("oodida_agent_stat", value, "Everything else", {"name": stat})
