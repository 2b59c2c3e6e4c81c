"""Hostile messages: real ones of every kind, with values that nobody would send, or torn bytes.

Random bytes hardly ever get past the decoder, so most of what is made here is well-formed: only the
values in it are too large, too many, too deep, empty, or of another kind.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from user_lib.contract import messages as m
from user_lib.contract.codec import FROM_VEHICLE, REPLY, REQUEST, TO_VEHICLE, Codec
from user_lib.contract.content import content_of
from user_lib.contract.signed import Signed, assignment_id_of
from user_lib.contract.states import TaskState
from user_lib.contract.validation import parse

__all__ = ["CODECS", "SEEDS", "hostile_frames"]

CODECS: dict[str, Codec[Any]] = {
    "from_vehicle": FROM_VEHICLE,
    "to_vehicle": TO_VEHICLE,
    "request": REQUEST,
    "reply": REPLY,
}
SPEC = parse(
    {"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 5}, "iterations": 3}
)
JOB = assignment_id_of("ada", "t")
SIGNED = Signed(body=b"\x81", signature=bytes(64))
CONTENT = content_of(b"abc")
DIGEST = CONTENT.digest
CHUNK = m.Chunk(digest=DIGEST, offset=0, data=b"abc")
SOURCE = "def custom(xs):\n    return 1\n"
RESULT = m.Result(
    assignment_id=JOB, vehicle_id="kona", epoch="e", iteration=1, status="ok", value={"a": 1.5},
    method="mean", dbc_hash="d", window_start_ns=0, window_stop_ns=10, agent_version="1",
    created_ns=1, samples={"Vehicle.Speed": 5},
)  # fmt: skip
HELD = m.TaskHeld(assignment_id=JOB, state=TaskState.GATHERING, iteration=1)


def _ask(ask: Any) -> m.Request:
    return m.Request(number=1, user="ada", ask=ask)


SEEDS: dict[str, Sequence[Any]] = {
    "from_vehicle": (
        m.Hello(vehicle_id="kona", epoch="e", agent_version="1", dbc_hash="d", tags={"a": "b"}),
        m.Heartbeat(tasks=(HELD,), outbox=1, stats={"a.b": 1.0},
                    code=(m.ModuleHeld(analyst="ada", generation=1, version="v"),)),
        m.Catalog(dbc_hash="d", signals=(m.SignalInfo(name="Vehicle.Speed", unit="km/h"),)),
        m.Deliver(seq=1, item=RESULT),
        m.Deliver(seq=2, item=m.TaskEnded(assignment_id=JOB, epoch="e", state=TaskState.FAILED)),
        m.Deliver(seq=3, item=m.Losses(assignment_id=JOB, epoch="e", iterations=((2, 3),))),
        m.CodeReport(analyst="ada", generation=1, version="v", state="armed"),
        m.Fetch(assignment_id=JOB, digest=DIGEST, offset=0),
        CHUNK,
    ),
    "to_vehicle": (
        m.Welcome(lease_s=6.0, cloud_version="1", messages_per_s=500, mb_per_s=16),
        m.SendHello(),
        m.SendCatalog(dbc_hash="d"),
        m.Assign(assignment_id=JOB, analyst="ada", spec=SPEC, signed=SIGNED, first_iteration=2),
        m.Withdraw(assignment_id=JOB, reason="cancelled", signed=SIGNED),
        m.SetCode(analyst="ada", generation=1, version="v", source=SOURCE, signed=SIGNED),
        m.Feedback(assignment_id=JOB, iteration=2, value={"w": [1.0]}, generation=1),
        m.Ack(seqs=(1, 2)),
        m.SendChunk(digest=DIGEST, offset=0),
        m.NoContent(digest=DIGEST, detail="later"),
        CHUNK,
    ),
    "request": (
        _ask(m.Ping()),
        _ask(m.ListVehicles()),
        _ask(m.ListSignals(vehicle_id="kona")),
        _ask(m.Submit(spec=SPEC, token="t", signed=SIGNED)),
        _ask(m.Cancel(assignment_id=JOB, signed=SIGNED)),
        _ask(m.ListJobs()),
        _ask(m.ReadEvents(assignment_id=JOB, wait_s=0.5)),
        _ask(m.Explain(assignment_id=JOB)),
        _ask(m.Prove(assignment_id=JOB, after="a")),
        _ask(m.PushCode(side="onboard", source=SOURCE, token="c", vehicles=("kona",))),
        _ask(m.CodeStatus(wait_s=0.5)),
        _ask(m.RollbackCode(side="onboard", token="r")),
        _ask(m.RemoveCode(side="offboard", token="x", signed=SIGNED)),
        _ask(m.PutChunk(content=CONTENT, data=b"abc")),
        _ask(m.ReadChunk(assignment_id=JOB, digest=DIGEST, offset=0)),
    ),
    "reply": (
        m.Reply(number=1, answer=m.Pong(cloud_version="1", vehicles_online=2)),
        m.Reply(number=1, answer=m.Rejection(reason="busy", message="later")),
        m.Reply(number=1, answer=m.Proof(assignment_id=JOB, signed=SIGNED)),
    ),
}  # fmt: skip

_ODD: Sequence[Any] = (
    None, True, "", "x" * 5000, b"", b"\xff" * 300, 0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1,
    -(2**63), 2**64 - 1, 0.5, 1e308, -1e308, math.nan, math.inf, [], {}, [[]] * 50, {"": ""},
    "kona", "ada", JOB, "../../etc", "a\0b", "\u202e", "forever", "all", [[1, 2]] * 300,
)  # fmt: skip


def hostile_frames(kind: str, dice: random.Random) -> list[bytes]:
    """Return the frames of a hostile message of a direction."""
    codec = CODECS[kind]
    if dice.random() < 0.1:
        return [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(5))]
    tree = msgspec.to_builtins(dice.choice(SEEDS[kind]), builtin_types=(bytes,))
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        tree = _changed(tree, dice)
    try:
        body = msgspec.msgpack.encode(tree)
    except (ValueError, OverflowError):
        body = dice.randbytes(30)
    if dice.random() < 0.15:
        body = _torn(body, dice)
    return [codec.header, body]


def _changed(tree: Any, dice: random.Random) -> Any:
    """Return a tree with one value somewhere in it that does not belong there."""
    inner = isinstance(tree, dict | list) and len(tree) > 0 and dice.random() < 0.85
    if not inner:
        return _deep(dice) if dice.random() < 0.05 else dice.choice(_ODD)
    if isinstance(tree, list):
        at = dice.randrange(len(tree))
        return [*tree[:at], _changed(tree[at], dice), *tree[at + 1 :]]
    key = dice.choice(sorted(tree))
    changed = {**tree, key: _changed(tree[key], dice)}
    if dice.random() < 0.1:
        del changed[key]
    return changed


def _deep(dice: random.Random) -> Any:
    tree: Any = 1
    for _ in range(dice.choice((10, 100, 500))):
        tree = [tree] if dice.random() < 0.5 else {"a": tree}
    return tree


def _torn(body: bytes, dice: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.randint(1, 8)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed[: dice.randint(1, len(changed))])
