"""One closed round through the off-board method: results in, a value for each code version out."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.sandbox import Job, Outcome, RoundInput, Sandbox
from cloud.ledger import read_inputs
from cloud.rounds import Closing, Part
from user_lib.contract.assignment import Assignment, Json, Limits
from user_lib.contract.ids import AssignmentId

__all__ = ["Done", "GroupValue", "Source", "Work", "aggregate", "explain"]


@dataclass(frozen=True, slots=True)
class Source:
    """A version of custom off-board code, and the generation of the slot it came from."""

    version: str
    text: str
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A round to aggregate; its results are read from the ledger by reference.

    ``feedback`` and ``states`` are by code version, with the one that counts first under ''.
    ``fallback`` is given for a version that has never produced a value.
    """

    row: int
    assignment_id: AssignmentId
    spec: Assignment
    closing: Closing
    caps: Limits
    source: Source | None = None
    fallback: Source | None = None
    feedback: Mapping[str, Json] = field(default_factory=dict)
    states: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupValue:
    """What the off-board method made of one part of a round."""

    part: Part
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A round with its values. ``failure`` is set when the version failed and another ran."""

    work: Work
    values: tuple[GroupValue, ...]
    version: str = ""
    failure: str = ""


def aggregate(work: Work, sandbox: Sandbox, ledger: sqlite3.Connection) -> Done:
    """Run the off-board method on each part of a round.

    A custom version that never worked is tried first; when it fails, its fallback runs on the same
    inputs and the failure is told beside the value.
    """
    values = _run_all(work, work.source, sandbox, ledger)
    version = work.source.version if work.source is not None else ""
    failures = [v.outcome for v in values if not v.outcome.ok]
    if not failures or work.fallback is None:
        return Done(work=work, values=values, version=version)
    return Done(
        work=work,
        values=_run_all(work, work.fallback, sandbox, ledger),
        version=work.fallback.version,
        failure=explain(failures[0]),
    )


def explain(outcome: Outcome) -> str:
    """Say why an outcome is not ok."""
    return f"{outcome.reason or outcome.status}: {outcome.detail}".rstrip(": ")


def _run_all(
    work: Work, source: Source | None, sandbox: Sandbox, ledger: sqlite3.Connection
) -> tuple[GroupValue, ...]:
    return tuple(
        GroupValue(part, sandbox.run(_job(work, part, source, _inputs(work, part, ledger))))
        for part in work.closing.parts
    )


def _inputs(work: Work, part: Part, ledger: sqlite3.Connection) -> Iterable[RoundInput]:
    results = read_inputs(ledger, work.row, work.closing.number, frozenset(part.vehicles))
    return (
        RoundInput(
            vehicle=r.vehicle_id,
            value=r.value,
            weight=r.weight,
            partial=r.partial,
            code_version=r.code_version,
        )
        for r in results
        if r.code_version == part.code_version
    )


def _job(work: Work, part: Part, source: Source | None, inputs: Iterable[RoundInput]) -> Job:
    spec = work.spec
    return Job(
        half="offboard",
        method=spec.offboard,
        source=None if source is None else source.text,
        inputs=tuple(inputs),
        onboard_method=spec.onboard,
        params=spec.offboard_params,
        state=work.states.get(part.code_version, work.states.get("")),
        feedback=work.feedback.get(part.code_version, work.feedback.get("")),
        iteration=work.closing.number,
        limits=_capped(spec.limits, work.caps),
    )


def _capped(asked: Limits, caps: Limits) -> Limits:
    return Limits(
        cpu_s=min(asked.cpu_s, caps.cpu_s),
        memory_mb=min(asked.memory_mb, caps.memory_mb),
        wall_s=min(asked.wall_s, caps.wall_s),
    )
