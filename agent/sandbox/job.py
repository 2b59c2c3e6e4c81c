"""What goes into the sandbox and what comes out: one `Job`, one `Outcome`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from user_lib.contract.assignment import Json, Limits
from user_lib.contract.window import Window

__all__ = ["Half", "Job", "Limits", "Outcome", "RoundInput", "Status", "refused"]

Half: TypeAlias = Literal["onboard", "offboard"]
DEFAULT_LIMITS = Limits()
Status: TypeAlias = Literal["ok", "error", "killed", "refused"]


class RoundInput(msgspec.Struct, frozen=True):
    """One vehicle's answer, as an off-board method receives it."""

    vehicle: str
    value: Json
    weight: float = 1.0
    partial: Json = None
    """What the built-in on-board method keeps for an exact or error-bounded ``merge``."""
    code_version: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """One iteration of one half of an assignment.

    ``method`` is a built-in name, ``custom`` (with ``source``) or ``external:NAME``. On-board work
    reads ``window``; off-board work reads ``inputs``, and ``merge`` needs ``onboard_method``.
    """

    half: Half
    method: str
    source: str | None = None
    window: Window | None = None
    inputs: tuple[RoundInput, ...] = ()
    onboard_method: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)
    state: Json = None
    feedback: Json = None
    iteration: int = 0
    vehicle: str = ""
    limits: Limits = DEFAULT_LIMITS


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job; `Sandbox.run` returns it and never raises for what a job does.

    status    ``ok``; ``error``, the code failed by itself; ``killed``, a limit or the kernel ended
              it; ``refused``, it never started
    reason    one stable word when the status is not ok: ``traceback`` (it raised), ``exit``,
              ``result`` (a value that is not allowed), ``protocol`` (not an answer at all),
              ``output`` (too much of it), ``wall``, ``cpu``, ``memory``, ``syscall``, ``crash`` (a
              signal), ``code`` (it does not load), ``params``, ``sandbox`` (the sandbox cannot run)
    detail    the traceback, signal, exit code or limit, in words for the analyst
    prints    what it wrote to stdout and stderr; a note says what was cut
    weight    samples behind the value, for weighted aggregates
    partial   see `RoundInput.partial`
    Units:    ``cpu_s`` and ``max_rss_mb`` as the kernel counts them, not the worker; ``wall_s``
              from the handing over of the job until its answer or its end.
    """

    status: Status
    reason: str = ""
    value: Json = None
    weight: float = 0.0
    partial: Json = None
    state: Json = None
    detail: str = ""
    prints: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    max_rss_mb: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "ok"


def refused(reason: str, detail: str) -> Outcome:
    """Return the outcome of a job that never started."""
    return Outcome(status="refused", reason=reason, detail=detail)
