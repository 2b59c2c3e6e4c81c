"""An analyst's on-board code slot on one vehicle: what is armed, what was good, what to run.

Rules. A generation is handled once; a repeat only repeats its report. A version that fails its
check never takes over. A version is *proven* by its first iteration that gives a value. An unproven
one that fails is rolled back to the newest proven one, if there is one; a failure of a proven
version is an answer like any other. With nothing proven to fall back to the version stays in force,
since there is nothing better, and it is the task that ends. A failure of the sandbox itself says
nothing about the version.

All here is pure; `CodeSlot` is what the store keeps.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from agent.policy import words_kept
from user_lib.contract.assignment import Assignment
from user_lib.contract.code import version_of
from user_lib.contract.errors import CodeError
from user_lib.contract.ids import CodeHash, UserId
from user_lib.contract.messages import CodeReport, ModuleHeld, RollBack, SetCode

__all__ = [
    "KEPT_VERSIONS",
    "Answered",
    "Awaited",
    "CodeSlot",
    "Exhausted",
    "Gone",
    "Resolution",
    "RolledBack",
    "Runnable",
    "Verdict",
    "Version",
    "arm",
    "held",
    "judge",
    "resolve",
    "without_words",
]

KEPT_VERSIONS = 8
"""Generations kept for rounds that pinned them; the newest proven one is kept besides."""

FAILED = "it failed its first iteration: "

ReportState: TypeAlias = Literal["armed", "refused", "rolled_back", "removed"]


class Version(msgspec.Struct, frozen=True):
    """One generation's content; ``failure`` says why it may not run."""

    generation: int
    version: CodeHash
    source: str
    proven: bool = False
    failure: str = ""
    failed_in: Assignment | None = None
    """In which task it failed its first iteration: its words may hold what that task read."""


class CodeSlot(msgspec.Struct, frozen=True, kw_only=True):
    """The versions kept for one analyst, newest first, and the report of the newest generation."""

    analyst: UserId
    generation: int = 0
    """The newest generation that was handled, whatever became of it."""
    versions: tuple[Version, ...] = ()
    reported_version: str = ""
    report: ReportState = "removed"
    report_detail: str = ""

    @property
    def in_force(self) -> Version | None:
        """The version that an iteration without a pinned generation runs."""
        return next((v for v in self.versions if not v.failure), None)

    @property
    def good(self) -> Version | None:
        """The newest version that gave a value here."""
        return next((v for v in self.versions if v.proven and not v.failure), None)

    def to_report(self) -> CodeReport:
        """Return what became of the newest generation."""
        return CodeReport(
            analyst=self.analyst,
            generation=self.generation,
            version=self.reported_version,
            state=self.report,
            detail=self.report_detail,
        )


class Runnable(msgspec.Struct, frozen=True):
    """Run this version; ``instead_of`` names the one that was wanted when it may not run."""

    version: Version
    instead_of: RollBack | None = None


class Awaited(msgspec.Struct, frozen=True):
    """The generation has not arrived yet."""

    detail: str


class Gone(msgspec.Struct, frozen=True):
    """There is nothing to run, and waiting does not help."""

    detail: str


Resolution: TypeAlias = Runnable | Awaited | Gone


class Answered(msgspec.Struct, frozen=True):
    """The outcome is the iteration's answer."""


class RolledBack(msgspec.Struct, frozen=True):
    """Run the same window again on generation ``to``."""

    to: int
    failed: RollBack


class Exhausted(msgspec.Struct, frozen=True):
    """The version failed its first iteration and there is nothing good left."""

    detail: str


Verdict: TypeAlias = Answered | RolledBack | Exhausted


def arm(slot: CodeSlot, new: SetCode, check: Callable[[str], None]) -> CodeSlot:
    """Take a generation in; the slot's report says what became of it.

    ``check`` raises CodeError for a source that may not run here. A generation that is not newer
    than the slot's changes nothing.
    """
    if new.generation <= slot.generation:
        return slot
    if not new.source:
        return _reported(slot, new, "removed", "", versions=())
    try:
        if version_of(new.source) != new.version:
            raise CodeError(
                "the source does not match its version (sha256); it was damaged on its way: "
                "push it again"
            )
        check(new.source)
    except CodeError as error:
        marked = Version(new.generation, new.version, "", failure=f"it was refused: {error}")
        return _reported(slot, new, "refused", str(error), versions=(marked, *slot.versions))
    proven = any(v.proven and v.version == new.version for v in slot.versions)
    armed = Version(new.generation, new.version, new.source, proven=proven)
    return _reported(slot, new, "armed", "", versions=(armed, *slot.versions))


def resolve(slot: CodeSlot | None, pinned: int = 0) -> Resolution:
    """Decide what an iteration runs: the pinned generation, or without one what is in force."""
    if slot is None or (slot.generation == 0 and not pinned):
        return Awaited("waits for the analyst's code to arrive")
    if not pinned:
        return _in_force(slot)
    wanted = next((v for v in slot.versions if v.generation == pinned), None)
    if wanted is None and pinned > slot.generation:
        return Awaited(f"waits for code generation {pinned}; here is {slot.generation}")
    if wanted is None and not slot.versions:
        return _in_force(slot)
    if wanted is None:
        return Gone(
            f"code generation {pinned} is not kept any more; generation {slot.generation} is here"
        )
    if not wanted.failure:
        return Runnable(wanted)
    return _instead_of(slot, wanted)


def judge(
    slot: CodeSlot, generation: int, *, ok: bool, fault: str, spec: Assignment | None = None
) -> tuple[CodeSlot, Verdict]:
    """Decide what an iteration of ``spec`` says about the generation that it ran.

    ``fault`` is the failure in words, empty when it was not the version's own (the sandbox could
    not run, say), and then nothing is concluded.
    """
    ran = next((v for v in slot.versions if v.generation == generation), None)
    if ran is None or ran.proven or (ok and ran.failure):
        return slot, Answered()
    if ok:
        return _replaced(slot, lambda v: v.version == ran.version, proven=True), Answered()
    if not fault:
        return slot, Answered()
    good = slot.good
    if good is None:
        return slot, Exhausted(fault)
    rolled_back = RolledBack(good.generation, RollBack(failed_version=ran.version, detail=fault))
    if ran.failure:
        return slot, rolled_back
    return _roll_back(slot, ran, good, fault, spec), rolled_back


def without_words(slot: CodeSlot, keeper_of: Callable[[Assignment | None], str]) -> CodeSlot:
    """Return a slot that tells of failures, but of those that are kept here not the words.

    ``keeper_of`` names what keeps the words of a task on this vehicle, empty when nothing does.
    """
    versions = []
    for v in slot.versions:
        keeper = keeper_of(v.failed_in) if v.failure.startswith(FAILED) else ""
        if not keeper:
            versions.append(v)
            continue
        words = words_kept(keeper)
        versions.append(msgspec.structs.replace(v, failure=FAILED + words))
        if slot.report == "rolled_back" and v.generation == slot.generation:
            slot = msgspec.structs.replace(slot, report_detail=words)
    return msgspec.structs.replace(slot, versions=tuple(versions))


def held(slot: CodeSlot) -> ModuleHeld:
    """Return the slot as a heartbeat tells it: the generation handled, the version in force."""
    force = slot.in_force
    return ModuleHeld(
        analyst=slot.analyst, generation=slot.generation, version=force.version if force else ""
    )


def _in_force(slot: CodeSlot) -> Resolution:
    force = slot.in_force
    if force is not None:
        return Runnable(force)
    if slot.report == "removed":
        return Gone(f"the analyst removed the code (generation {slot.generation})")
    newest = slot.versions[0]
    return Gone(f"code generation {newest.generation} may not run here: {newest.failure}")


def _instead_of(slot: CodeSlot, wanted: Version) -> Resolution:
    good = slot.good
    if good is None:
        return Gone(f"code generation {wanted.generation} may not run here: {wanted.failure}")
    return Runnable(good, RollBack(failed_version=wanted.version, detail=wanted.failure))


def _roll_back(
    slot: CodeSlot, ran: Version, good: Version, fault: str, spec: Assignment | None
) -> CodeSlot:
    """Bar the failed version, and the unproven ones that came between it and the good one."""

    def barred(v: Version) -> bool:
        between = not v.proven and not v.failure and good.generation < v.generation
        return v.version == ran.version or (between and v.generation < ran.generation)

    slot = _replaced(slot, barred, failure=FAILED + fault, failed_in=spec)
    if slot.generation != ran.generation:
        return slot
    return msgspec.structs.replace(slot, report="rolled_back", report_detail=fault)


def _replaced(slot: CodeSlot, which: Callable[[Version], bool], **changes: object) -> CodeSlot:
    versions = tuple(
        msgspec.structs.replace(v, **changes) if which(v) else v for v in slot.versions
    )
    return msgspec.structs.replace(slot, versions=versions)


def _reported(
    slot: CodeSlot,
    new: SetCode,
    report: ReportState,
    detail: str,
    *,
    versions: tuple[Version, ...],
) -> CodeSlot:
    return CodeSlot(
        analyst=slot.analyst,
        generation=new.generation,
        versions=_bounded(versions),
        reported_version=new.version,
        report=report,
        report_detail=detail,
    )


def _bounded(versions: tuple[Version, ...]) -> tuple[Version, ...]:
    """Forget the oldest, but never the good one to fall back to."""
    good = next((v for v in versions if v.proven and not v.failure), None)
    kept = versions[:KEPT_VERSIONS]
    return kept if good is None or good in kept else (*kept, good)
