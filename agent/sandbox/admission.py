"""What is wrong with a job before any worker sees it: a decision without a process."""

import functools

import msgspec

from agent.sandbox.job import Job, Limits, Outcome, refused

__all__ = ["unfit"]


def unfit(job: Job) -> Outcome | None:
    """Return the refusal of a job that no worker could run as it is; None when it may go."""
    problem = _limits_problem(job.limits)
    if problem:
        return refused("params", problem)
    if job.source is not None and not isinstance(job.source, str):
        kind = type(job.source).__name__
        return refused("code", f"the source is of type {kind}; it is text (str)")
    try:
        (job.source or "").encode()
    except UnicodeEncodeError as error:
        found = f"{error.object[error.start]!r} at character {error.start}"
        return refused("code", f"the source is not valid text: it has a lone surrogate, {found}")
    return None


@functools.lru_cache(maxsize=64)
def _limits_problem(limits: Limits) -> str:
    """Check what `Limits` allows; a struct that was made in Python was never checked."""
    try:
        msgspec.convert(msgspec.structs.asdict(limits), Limits)
    except msgspec.ValidationError as error:
        return f"the limits are out of range: {error}; they are {limits}"
    return ""
