from pathlib import Path

import numpy as np

from agent.link.session import LinkState
from agent.sandbox import Job, Outcome, window_of
from agent.store import Entry
from agent.telemetry import METERS, OldestEntry, Outcomes, Snapshot, Telemetry, samples_of
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Result, TaskEnded
from user_lib.contract.states import TaskState
from user_lib.wire.metrics import Sample

JOB = Job(half="onboard", method="mean", window=window_of(np.arange(2.0)))


def values(samples: list[Sample]) -> dict[str, float]:
    return {"".join([s.name, *(f" {v}" for v in s.labels.values())]): s.value for s in samples}


def test_a_snapshot_names_every_state_and_scales_to_base_units() -> None:
    snapshot = Snapshot(
        {"frames.total": 7, "history.mb": 2.0, "pump.lag_ms": 30.0, "bus.can0.frames": 5, "new": 1},
        {TaskState.RUNNING: 2},
        LinkState.UP,
        12.5,
    )

    found = values(list(samples_of(snapshot)))

    assert found["oodida_agent_frames_total"] == 7
    assert found["oodida_agent_history_bytes"] == 2 << 20
    assert found["oodida_agent_pump_lag_seconds"] == 0.03
    assert found["oodida_agent_bus_frames_total can0"] == 5
    assert found["oodida_agent_stat new"] == 1
    assert found["oodida_agent_tasks running"] == 2
    assert found["oodida_agent_tasks gathering"] == 0
    assert "oodida_agent_tasks finished" not in found
    assert [found[f"oodida_agent_link {s}"] for s in ("down", "greeting", "up")] == [0, 0, 1]
    assert found["oodida_agent_outbox_oldest_seconds"] == 12.5


def test_counters_are_called_totals_and_names_are_unique() -> None:
    assert all((m.kind == "counter") == m.name.endswith("_total") for m in METERS)
    assert len({m.name for m in METERS}) == len({m.stat for m in METERS}) == len(METERS)


def test_jobs_are_counted_by_how_they_ended() -> None:
    ends = iter([("ok", ""), ("killed", "memory"), ("killed", "memory"), ("killed", "wall")])

    def run(job: Job) -> Outcome:
        status, reason = next(ends)
        return Outcome(status=status, reason=reason, cpu_s=0.5)  # type: ignore[arg-type]

    outcomes = Outcomes(run)
    for _ in range(4):
        outcomes.run(JOB)

    found = values(outcomes.samples())
    assert found["oodida_agent_jobs_total killed memory"] == 2
    assert found["oodida_agent_jobs_total killed wall"] == 1
    assert found["oodida_agent_jobs_total ok "] == 1
    assert found["oodida_agent_jobs_cpu_seconds_total"] == 2.0


class Outbox:
    """Two entries: a result that was made at 10 s, and the end of a task."""

    def __init__(self) -> None:
        self.waiting = [Entry(4, 100), Entry(5, 100)]
        self.loads = 0

    def deliverable(self) -> list[Entry]:
        return self.waiting

    def load(self, seq: int) -> object | None:
        self.loads += 1
        if seq == 5:
            return TaskEnded(assignment_id="job-1", epoch="e", state=TaskState.FINISHED)
        return Result(
            assignment_id="job-1",
            epoch="e",
            iteration=1,
            status="ok",
            method="mean",
            dbc_hash="",
            window_start_ns=0,
            window_stop_ns=1,
            agent_version="1",
            created_ns=10 * SECOND,
        )


def test_the_outbox_is_as_old_as_its_oldest_result() -> None:
    outbox = Outbox()
    oldest = OldestEntry(outbox)

    assert oldest.age_s(15 * SECOND) == 5.0
    assert oldest.age_s(16 * SECOND) == 6.0
    assert oldest.age_s(9 * SECOND) == 0.0  # the wall clock went back
    assert outbox.loads == 1

    outbox.waiting = outbox.waiting[1:]
    assert oldest.age_s(20 * SECOND) == 0.0
    assert oldest.age_s(22 * SECOND) == 2.0

    outbox.waiting = []
    assert oldest.age_s(30 * SECOND) == 0.0


def test_a_snapshot_is_taken_once_a_second() -> None:
    telemetry = Telemetry(Outcomes(lambda job: Outcome(status="ok")), lambda: None)
    taken = []

    def take() -> Snapshot:
        taken.append(1)
        return Snapshot({"frames.total": len(taken)})

    for tenth in range(21):
        telemetry.turned(tenth * SECOND // 10, take)

    assert len(taken) == 3
    assert b"oodida_agent_frames_total 3.0" in telemetry.render()
    assert b'oodida_process_resident_bytes{part="agent"}' in telemetry.render()


def test_every_metric_of_the_table_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "systemd" / "METRICS.md").read_text()

    assert [m.name for m in METERS if f"`oodida_agent_{m.name}`" not in documented] == []
