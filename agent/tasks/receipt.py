"""Results with their receipts, and the message that tells the end of a task."""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from agent.sandbox import Outcome
from agent.tasks.code import Version
from agent.tasks.task import Now, Task
from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.contract.content import INLINE_BYTES, ResultBody, content_of, megabytes, pack
from user_lib.contract.messages import Result, TaskEnded
from user_lib.contract.signing import Signer, sign_item
from user_lib.contract.window import Window

__all__ = ["Identity", "Receipted", "Run", "SizeCap", "end_of", "result_of"]

ENVELOPE_BYTES = 4096
"""Room for what a result travels in."""
SIGNATURE_BYTES = len(msgspec.msgpack.encode({"signature": bytes(64)})) - 1
"""What a signature adds to a message."""
OWN_CAP = "contents.largest_mb and half of outbox_mb on this vehicle"
CLOUDS_CAP = "contents.largest_mb of the cloud"
DETAIL_CHARS = 16_000


@dataclass(slots=True)
class SizeCap:
    """How large a content may be: by the vehicle's owner, and by the cloud once it has said so."""

    own_bytes: int
    cloud_bytes: int = 0

    @property
    def largest(self) -> int:
        """What both take."""
        return min(self.own_bytes, self.cloud_bytes or self.own_bytes)

    def __str__(self) -> str:
        key = OWN_CAP if self.largest == self.own_bytes else CLOUDS_CAP
        return f"{megabytes(self.largest)} ({key})"


@dataclass(frozen=True)
class Identity:
    """What is the same in every receipt of this process."""

    vehicle_id: str
    epoch: str
    agent_version: str
    dbc_hash: str
    signer: Signer | None = None
    """Signs results; None in insecure mode."""
    cap: SizeCap = field(default_factory=lambda: SizeCap(MAX_BODY_BYTES))
    """The largest content that a result may name."""


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


class Receipted(NamedTuple):
    """A result as it is kept and sent, the content that it names, and how much that is in all."""

    result: Result
    body: bytes
    size: int
    """Bytes of both, encoded."""


def result_of(identity: Identity, run: Run, outcome: Outcome, now: Now) -> Receipted:
    """Return an iteration's result with its receipt, and the bytes of the content that it names.

    A value that is too large even for that becomes a failure that says so.
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
        away_ms=window.away_ms,
        agent_version=identity.agent_version,
        cpu_s=outcome.cpu_s,
        wall_s=outcome.wall_s,
        max_rss_mb=outcome.max_rss_mb,
        created_ns=now.unix_ns,
    )
    size = len(msgspec.msgpack.encode(result))
    body = b""
    if size > INLINE_BYTES:
        result, body = _parted(result, size, identity.cap)
        size = len(msgspec.msgpack.encode(result)) + len(body)
    if identity.signer is None:
        return Receipted(result, body, size)
    return Receipted(sign_item(result, identity.signer), body, size + SIGNATURE_BYTES)


def _parted(result: Result, size: int, cap: SizeCap) -> tuple[Result, bytes]:
    """Take a large value out of a result, so that it travels as content."""
    body = pack(ResultBody(result.value, result.partial))
    rest = msgspec.structs.replace(result, value=None, partial=None)
    if len(body) <= INLINE_BYTES // 2:  # the words are what is large
        return _bounded(result, size)
    if len(body) <= cap.largest:
        return msgspec.structs.replace(rest, payload=content_of(body)), body
    return _failed(rest, f"the result has {megabytes(len(body))}; at most {cap} can be sent"), b""


def _bounded(result: Result, size: int) -> tuple[Result, bytes]:
    most = MAX_BODY_BYTES - ENVELOPE_BYTES
    if size <= most:
        return result, b""
    words = f"the result has {megabytes(size)}; at most {megabytes(most)} can be sent"
    return _failed(msgspec.structs.replace(result, prints=""), words), b""


def _failed(result: Result, words: str) -> Result:
    return msgspec.structs.replace(
        result,
        status="error",
        reason="output",
        detail=f"{words}: return less, or ask for a smaller window",
        value=None,
        partial=None,
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
