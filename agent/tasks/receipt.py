"""Results with their receipts, and the message that tells the end of a task."""

from dataclasses import dataclass

import msgspec

from agent.sandbox import Outcome
from agent.tasks.code import Version
from agent.tasks.task import Now, Task
from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.contract.messages import Result, TaskEnded
from user_lib.contract.signing import Signer, sign_item
from user_lib.contract.window import Window

__all__ = ["Identity", "Run", "end_of", "result_of"]

ENVELOPE_BYTES = 4096
"""Room for what a result travels in."""
DETAIL_CHARS = 16_000


@dataclass(frozen=True)
class Identity:
    """What is the same in every receipt of this process."""

    vehicle_id: str
    epoch: str
    agent_version: str
    dbc_hash: str
    signer: Signer | None = None
    """Signs results; None in insecure mode."""


@dataclass(frozen=True, eq=False)
class Run:
    """One iteration in a worker slot: what it runs on."""

    ticket: int
    task: Task
    window: Window
    version: Version | None
    started_ns: int
    dbc_hash: str
    """Of the databases by which the window was decoded; they may have been changed since."""


def result_of(identity: Identity, run: Run, outcome: Outcome, now: Now) -> Result:
    """Return an iteration's result with its receipt.

    A value that is too large for a message becomes a failure that says so.
    """
    task, window, version = run.task, run.window, run.version
    result = Result(
        assignment_id=task.assignment_id,
        vehicle_id=identity.vehicle_id,
        epoch=identity.epoch,
        iteration=task.iteration,
        serial=task.position.committed + 1,
        status=outcome.status,
        reason=outcome.reason,
        detail=outcome.detail[:DETAIL_CHARS],
        value=outcome.value,
        weight=outcome.weight,
        partial=outcome.partial,
        prints=outcome.prints,
        method=task.spec.onboard,
        code_version=version.version if version else "",
        generation=version.generation if version else 0,
        rolled_back=task.rolled_back,
        dbc_hash=run.dbc_hash,
        window_start_ns=window.start_ns,
        window_stop_ns=window.stop_ns,
        trigger_ns=window.trigger_ns,
        samples=window.samples,
        lost_frames=window.lost_frames,
        agent_version=identity.agent_version,
        cpu_s=outcome.cpu_s,
        wall_s=outcome.wall_s,
        max_rss_mb=outcome.max_rss_mb,
        created_ns=now.unix_ns,
    )
    result = _bounded(result)
    return result if identity.signer is None else sign_item(result, identity.signer)


def _bounded(result: Result) -> Result:
    size = len(msgspec.msgpack.encode(result))
    if size <= MAX_BODY_BYTES - ENVELOPE_BYTES:
        return result
    return msgspec.structs.replace(
        result,
        status="error",
        reason="output",
        detail=f"the result has {size} bytes; at most {MAX_BODY_BYTES - ENVELOPE_BYTES} can be "
        "sent: return less, or ask for a smaller window",
        value=None,
        partial=None,
        prints="",
    )


def end_of(identity: Identity, task: Task) -> TaskEnded:
    """Return the message that tells a task's end."""
    return TaskEnded(
        assignment_id=task.assignment_id,
        vehicle_id=identity.vehicle_id,
        epoch=identity.epoch,
        state=task.state,
        reason=task.reason,
        detail=task.detail[:DETAIL_CHARS],
        rule=task.rule,
        iterations=task.position.committed,
    )
