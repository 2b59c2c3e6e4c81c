"""One closed round through the off-board method: results in, a value for each code version out."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.sandbox import Job, Outcome, RoundInput, Sandbox
from cloud.ledger import Carried, Parcel, contents_of, read_inputs
from cloud.rounds import Closing, Part
from user_lib.contract.assignment import Assignment, Json, Limits
from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.contract.content import INLINE_BYTES, Content, content_of, megabytes, pack, unpack
from user_lib.contract.ids import AssignmentId
from user_lib.wire.content_rows import ContentRows

__all__ = ["Done", "GroupValue", "Source", "Work", "aggregate", "explain"]


NOTHING_CARRIED, EMPTY = Carried(), Parcel()


@dataclass(frozen=True, slots=True)
class Source:
    """A version of custom off-board code, and the generation of the slot it came from."""

    version: str
    text: str
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A round to aggregate; its results are read from the ledger by reference.

    What is ``carried`` is by code version, with the one that counts first under ''.
    ``fallback`` is given for a version that has never produced a value.
    """

    row: int
    assignment_id: AssignmentId
    spec: Assignment
    closing: Closing
    caps: Limits
    source: Source | None = None
    fallback: Source | None = None
    carried: Carried = NOTHING_CARRIED
    largest_bytes: int = MAX_BODY_BYTES
    """The largest value that may become a content."""


@dataclass(frozen=True, slots=True)
class GroupValue:
    """What the off-board method made of one part of a round."""

    part: Part
    outcome: Outcome
    large_value: Content | None = None
    """Holds the value, when it is too large for a message."""
    large_state: Content | None = None
    bodies: tuple[tuple[Content, bytes], ...] = ()
    """These contents."""

    @property
    def value(self) -> Parcel:
        """The value as it is kept and sent."""
        return _parcel(self.outcome.value, self.large_value)

    @property
    def state(self) -> Parcel:
        """The state as it is kept."""
        return _parcel(self.outcome.state, self.large_state)


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
        _parted(part, sandbox.run(_job(work, part, source, ledger)), work.largest_bytes)
        for part in work.closing.parts
    )


def _parted(part: Part, outcome: Outcome, largest_bytes: int) -> GroupValue:
    """Take what is too large for a message out of an outcome."""
    if not outcome.ok:
        return GroupValue(part, outcome)
    bodies: list[tuple[Content, bytes]] = []
    large = (_content(outcome.value, bodies), _content(outcome.state, bodies))
    for content, _ in bodies:
        if content.size > largest_bytes:
            detail = (
                f"the off-board value or state has {megabytes(content.size)}; at most "
                f"{megabytes(largest_bytes)} are kept (contents.largest_mb in cloud.yaml)"
            )
            return GroupValue(part, Outcome(status="error", reason="output", detail=detail))
    return GroupValue(part, outcome, *large, tuple(bodies))


def _content(value: Json, bodies: list[tuple[Content, bytes]]) -> Content | None:
    """Return the content that a large value makes, and note its bytes."""
    data = pack(value)
    if len(data) <= INLINE_BYTES:
        return None
    content = content_of(data)
    bodies.append((content, data))
    return content


def _parcel(value: Json, content: Content | None) -> Parcel:
    return Parcel(value) if content is None else Parcel(payload=content)


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


def _job(work: Work, part: Part, source: Source | None, ledger: sqlite3.Connection) -> Job:
    spec, contents = work.spec, contents_of(ledger)
    params = spec.offboard_params
    if spec.offboard_content is not None:
        params = unpack(contents.read(spec.offboard_content.digest))
    return Job(
        half="offboard",
        method=spec.offboard,
        source=None if source is None else source.text,
        inputs=tuple(_inputs(work, part, ledger)),
        onboard_method=spec.onboard,
        params=params,
        state=_carried(work.carried.states, part, contents),
        feedback=_carried(work.carried.feedback, part, contents),
        iteration=work.closing.number,
        limits=_capped(spec.limits, work.caps),
    )


def _carried(parcels: Mapping[str, Parcel], part: Part, contents: ContentRows) -> Json:
    parcel = parcels.get(part.code_version, parcels.get("", EMPTY))
    if parcel.payload is None:
        return parcel.value
    return unpack(contents.read(parcel.payload.digest))


def _capped(asked: Limits, caps: Limits) -> Limits:
    return Limits(
        cpu_s=min(asked.cpu_s, caps.cpu_s),
        memory_mb=min(asked.memory_mb, caps.memory_mb),
        wall_s=min(asked.wall_s, caps.wall_s),
    )
