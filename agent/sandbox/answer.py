"""What a worker says: one frame, ``OODA``, 4 bytes of length, JSON.

`write` is the worker's side and tells the analyst what is wrong with a result. `parse` is the
agent's side: a worker may have been taken over by the code it ran, so nothing in it is believed.
"""

import math
import os

import msgspec

from agent.sandbox.job import Status
from agent.sandbox.plain import MAX_CONTAINERS, MAX_ITEMS, NotPlain, plain
from user_lib.contract.assignment import Json
from user_lib.contract.errors import ProtocolError

__all__ = [
    "MAGIC",
    "OVERHEAD_BYTES",
    "PREFIX_BYTES",
    "Answer",
    "ExternalAnswer",
    "encode",
    "frame_length",
    "output_bytes",
    "parse",
    "parse_line",
    "write_all",
]

MAGIC = b"OODA"
PREFIX_BYTES = 8
DETAIL_CHARS = 16_000
OVERHEAD_BYTES = 6 * DETAIL_CHARS + 4096
"""What a frame may hold besides value, partial and state: a detail of escapes, and its keys."""

MOST_BRACKETS = 3 * MAX_CONTAINERS // 2
"""Looked at before anything is decoded, in text as well; more would cost the agent its memory."""

REASONS = frozenset(
    {"", "traceback", "exit", "result", "output", "memory", "code", "params", "sandbox"}
)


def output_bytes(value_bytes: int) -> int:
    """Return how large a value may be as JSON, so that packed it has ``value_bytes`` at most.

    A number takes up to 9 bytes packed and up to 25 as JSON.
    """
    return max(1 << 20, 3 * value_bytes)


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker's own account of its job; see `agent.sandbox.job.Outcome` for the fields."""

    status: Status
    reason: str = ""
    value: Json = None
    weight: float = 0.0
    partial: Json = None
    state: Json = None
    detail: str = ""


class ExternalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The line that an external worker prints; see EXTERNAL_WORKERS.md."""

    value: Json | msgspec.UnsetType = msgspec.UNSET
    weight: float | None = None
    state: Json = None
    error: str | None = None


def encode(answer: Answer, output_bytes: int) -> bytes:
    """Return the frame; an answer beyond ``output_bytes`` becomes an error that says so."""
    body = msgspec.json.encode(answer)
    if len(body) > output_bytes + OVERHEAD_BYTES:
        detail = (
            f"the result has {len(body)} bytes as JSON; at most {output_bytes} may be sent: "
            "return less, or ask for a smaller window"
        )
        body = msgspec.json.encode(Answer(status="error", reason="output", detail=detail))
    return MAGIC + len(body).to_bytes(4, "little") + body


def frame_length(received: bytes | bytearray, output_bytes: int) -> int | None:
    """Return how long the frame at the start of ``received`` is, None while that is unknown.

    Raises: ProtocolError, if it is no frame or larger than a worker may send.
    """
    start = bytes(received[:4])
    if not MAGIC.startswith(start):
        raise ProtocolError(f"the worker's answer begins with {start!r}, which is no frame")
    if len(received) < PREFIX_BYTES:
        return None
    length = int.from_bytes(received[4:PREFIX_BYTES], "little")
    if length > output_bytes + OVERHEAD_BYTES:
        raise ProtocolError(f"the worker announced an answer of {length} bytes")
    return PREFIX_BYTES + length


def parse(frame: bytes) -> Answer:
    """Check the body of a complete frame.

    Raises: ProtocolError, for whatever a worker of ours would not have written.
    """
    brackets = frame.count(b"[") + frame.count(b"{")
    if brackets > MOST_BRACKETS:
        raise ProtocolError(f"the worker's answer has {brackets} brackets; {MOST_BRACKETS} may be")
    if frame.count(b",") > 2 * MAX_ITEMS:  # before anything of it becomes an object
        raise ProtocolError(f"the worker's answer holds more than {MAX_ITEMS} values")
    try:
        answer = msgspec.json.decode(frame[PREFIX_BYTES:], type=Answer)
        checked = msgspec.structs.replace(
            answer,
            value=plain(answer.value, allow_none=True),
            partial=plain(answer.partial, allow_none=True, path="partial"),
            state=plain(answer.state, allow_none=True, path="state"),
            weight=_weight(answer.weight),
            detail=answer.detail[:DETAIL_CHARS],
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotPlain) as error:
        raise ProtocolError(f"the worker's answer is malformed: {error}") from None
    if checked.reason not in REASONS or (checked.reason == "") != (checked.status == "ok"):
        raise ProtocolError(f"the worker answered {checked.status} for reason {checked.reason!r}")
    return checked


def parse_line(line: bytes) -> Answer:
    """Check the one line of JSON that an external worker prints.

    Raises: ProtocolError, with an excerpt, when it is not the documented object.
    """
    try:
        said = msgspec.json.decode(line, type=ExternalAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            f"expected one line of JSON with value or error, found {line[:120]!r} ({error})"
        ) from None
    if said.error is not None:
        return Answer(status="error", reason="traceback", detail=said.error[:DETAIL_CHARS])
    if said.value is msgspec.UNSET:
        raise ProtocolError(f"the line has neither value nor error: {line[:120]!r}")
    try:
        return Answer(
            status="ok",
            value=plain(said.value),
            state=plain(said.state, allow_none=True, path="state"),
            weight=_weight(1.0 if said.weight is None else said.weight),
        )
    except NotPlain as error:
        return Answer(status="error", reason="result", detail=str(error))


def write_all(fd: int, data: bytes) -> None:
    """Write everything to a pipe that the agent drains."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _weight(weight: float) -> float:
    if math.isfinite(weight) and weight >= 0:
        return weight
    raise NotPlain(f"weight is {weight}; it is a finite number, 0 or more")
