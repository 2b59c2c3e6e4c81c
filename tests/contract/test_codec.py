"""Frames in, messages out; any other bytes are a ProtocolError and nothing else."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from user_lib.contract import messages as m
from user_lib.contract.codec import FROM_VEHICLE, MAX_BODY_BYTES, REPLY, REQUEST, TO_VEHICLE, Codec
from user_lib.contract.content import CHUNK_BYTES, ResultBody, content_of, pack, unpack, unpack_body
from user_lib.contract.errors import ProtocolError
from user_lib.contract.signed import Signed
from user_lib.contract.states import JobState, RoundState, TaskState
from user_lib.contract.validation import parse

SPEC = parse({"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}})
RESULT = m.Result(
    assignment_id="job-1",
    epoch="e",
    iteration=1,
    status="ok",
    value={"Vehicle.Speed": 61.5},
    method="mean",
    dbc_hash="d",
    window_start_ns=0,
    window_stop_ns=10,
    agent_version="0.1",
    created_ns=1,
)
ROUND = m.RoundClosed(
    assignment_id="job-1",
    round=1,
    state=RoundState.COMPLETE,
    groups=(m.Group(code_version="", vehicles=("a", "b"), value=1.5),),
    offboard_method="mean",
    opened_ns=1,
    closed_ns=2,
)


def test_the_bytes_of_version_3_stay_what_they_are() -> None:
    hello = m.Hello(vehicle_id="kona-1", epoch="e1", agent_version="0.1", dbc_hash="d")
    assert FROM_VEHICLE.encode(hello) == [
        b"OD\x03v",
        b"\x85\xa4type\xa5hello\xaavehicle_id\xa6kona-1\xa5epoch\xa2e1"
        b"\xadagent_version\xa30.1\xa8dbc_hash\xa1d",
    ]
    end = m.TaskEnded(
        assignment_id="j", epoch="e", state=TaskState.FINISHED, iterations=3, signature=b"s" * 64
    )
    assert FROM_VEHICLE.encode(m.Deliver(seq=1, item=end)) == [
        b"OD\x03v",
        b"\x83\xa4type\xa7deliver\xa3seq\x01\xa4item\x86\xa4type\xaatask_ended"
        b"\xadassignment_id\xa1j\xa5epoch\xa1e\xa5state\xa8finished"
        b"\xaaiterations\x03\xa9signature\xc4\x40" + b"s" * 64,
    ]
    signed = Signed(body=b"b", signature=b"s" * 64)
    assert TO_VEHICLE.encode(m.Withdraw(assignment_id="j", reason="cancelled", signed=signed)) == [
        b"OD\x03V",
        b"\x84\xa4type\xa8withdraw\xadassignment_id\xa1j\xa6reason\xa9cancelled"
        b"\xa6signed\x82\xa4body\xc4\x01b\xa9signature\xc4\x40" + b"s" * 64,
    ]
    assert TO_VEHICLE.encode(m.Ack(seqs=(1, 300))) == [
        b"OD\x03V",
        b"\x82\xa4type\xa3ack\xa4seqs\x92\x01\xcd\x01,",
    ]
    assert REQUEST.encode(m.Request(number=7, user="ann", ask=m.Ping())) == [
        b"OD\x03a",
        b"\x84\xa4type\xa7request\xa6number\x07\xa4user\xa3ann\xa3ask\x81\xa4type\xa4ping",
    ]
    assert REPLY.encode(
        m.Reply(number=7, answer=m.Pong(cloud_version="0.1", vehicles_online=2))
    ) == [
        b"OD\x03A",
        b"\x83\xa4type\xa5reply\xa6number\x07\xa6answer\x83\xa4type\xa4pong"
        b"\xadcloud_version\xa30.1\xafvehicles_online\x02",
    ]


def test_an_interface_that_was_away_is_told_where_it_was_and_else_costs_no_byte() -> None:
    """So results without an outage are, and are signed, as those of vehicles that know of none."""
    away = replace(RESULT, lost_frames=7, away_ms=1500)

    body = FROM_VEHICLE.encode(m.Deliver(seq=1, item=away))[-1]

    assert b"\xablost_frames\x07\xa7away_ms\xcd\x05\xdc\xadagent_version" in body
    assert b"away_ms" not in FROM_VEHICLE.encode(m.Deliver(seq=1, item=RESULT))[-1]
    closed = replace(ROUND, away_ms=1500)
    assert b"\xa7away_ms\xcd\x05\xdc" in msgspec.msgpack.encode(closed)
    assert b"away_ms" not in msgspec.msgpack.encode(ROUND)


WEIGHTS = content_of(b"weights")
DIGEST = b"\xa6digest\xd9@" + WEIGHTS.digest.encode()
NAMED = b"\x82" + DIGEST + b"\xa4size\x07"
CHUNK = b"\x84\xa4type\xa5chunk" + DIGEST + b"\xa6offset\x00\xa4data\xc4\x07weights"


def test_what_doctor_needs_is_left_out_where_there_is_nothing_to_tell() -> None:
    """So those who do not know these keys, older analysts and clouds, are none the wiser."""
    info = m.JobInfo(
        assignment_id="j", analyst="a", spec=SPEC, state=JobState.RUNNING, reason="", created_ns=0,
        ended_ns=None, vehicles=(), rounds_closed=0, results=0, last_seq=0,
    )  # fmt: skip
    car = m.VehicleInfo(
        vehicle_id="v", online=True, last_seen_ns=1, agent_version="1", model="k", profile="k",
        tags={}, dbc_hash="d", external_methods=(), accepts_custom=True, sandbox="full", tasks=(),
        outbox=0, stats={},
    )  # fmt: skip

    def told(answer: m.Answer) -> bytes:
        return REPLY.encode(m.Reply(number=1, answer=answer))[-1]

    answer = m.Explanation(job=info, members=(), open_rounds=(), waiting_for=())
    assert b"unkept" not in told(answer)
    assert told(replace(answer, unkept="full")).endswith(b"\xa6unkept\xa4full")
    member = m.MemberInfo(vehicle_id="v", online=True, state=None)
    assert b"rule" not in told(replace(answer, members=(member,)))
    assert b"lost_for" not in told(replace(answer, members=(member,)))
    owned = replace(member, lost_for={"outbox_full": 2}, rule="r")
    words = b"\xa8lost_for\x81\xaboutbox_full\x02\xa4rule\xa1r"
    assert words in told(replace(answer, members=(owned,)))
    assert b"delivered_ns" not in told(m.Vehicles(vehicles=(car,)))
    late = m.Vehicles(vehicles=(replace(car, delivered_ns=7),))
    assert told(late).endswith(b"\xacdelivered_ns\x07")


@pytest.mark.parametrize(
    ("codec", "message", "body"),
    [
        (
            FROM_VEHICLE,
            m.Fetch(assignment_id="job-1", digest=WEIGHTS.digest, offset=262144),
            b"\x84\xa4type\xa5fetch\xadassignment_id\xa5job-1"
            + DIGEST
            + b"\xa6offset\xce\x00\x04\x00\x00",
        ),
        (FROM_VEHICLE, m.Chunk(digest=WEIGHTS.digest, offset=0, data=b"weights"), CHUNK),
        (TO_VEHICLE, m.Chunk(digest=WEIGHTS.digest, offset=0, data=b"weights"), CHUNK),
        (
            TO_VEHICLE,
            m.SendChunk(digest=WEIGHTS.digest, offset=0),
            b"\x83\xa4type\xaasend_chunk" + DIGEST + b"\xa6offset\x00",
        ),
        (
            TO_VEHICLE,
            m.NoContent(digest=WEIGHTS.digest, detail="no"),
            b"\x83\xa4type\xaano_content" + DIGEST + b"\xa6detail\xa2no",
        ),
        (
            TO_VEHICLE,
            m.Feedback(assignment_id="job-1", iteration=2, payload=WEIGHTS),
            b"\x84\xa4type\xa8feedback\xadassignment_id\xa5job-1\xa9iteration\x02"
            b"\xa7payload" + NAMED,
        ),
        (
            REQUEST,
            m.Request(number=1, user="ann", ask=m.PutChunk(content=WEIGHTS, data=b"weights")),
            b"\x84\xa4type\xa7request\xa6number\x01\xa4user\xa3ann\xa3ask\x83"
            b"\xa4type\xa9put_chunk\xa7content" + NAMED + b"\xa4data\xc4\x07weights",
        ),
        (
            REPLY,
            m.Reply(number=1, answer=m.ContentHeld(digest=WEIGHTS.digest, have=7)),
            b"\x83\xa4type\xa5reply\xa6number\x01\xa6answer\x83\xa4type\xaccontent_held"
            + DIGEST
            + b"\xa4have\x07",
        ),
    ],
)
def test_the_bytes_of_contents_stay_what_they_are(
    codec: Codec[object], message: object, body: bytes
) -> None:
    assert codec.encode(message)[1] == body
    assert codec.decode([codec.header, body]) == message


@pytest.mark.parametrize(
    "changes", [{"offset": 1}, {"offset": -262144}, {"digest": "A" * 64}, {"digest": "a" * 63}]
)
def test_a_chunk_lies_on_the_grid_and_has_a_hash(changes: dict[str, object]) -> None:
    plain = {"digest": WEIGHTS.digest, "offset": 0, "data": b"x", **changes}
    frames = FROM_VEHICLE.encode(m.Chunk(**plain))  # type: ignore[arg-type]

    with pytest.raises(ProtocolError):
        FROM_VEHICLE.decode(frames)


def test_a_chunk_larger_than_a_chunk_is_refused() -> None:
    data = b"x" * (CHUNK_BYTES + 1)
    frames = FROM_VEHICLE.encode(m.Chunk(digest=WEIGHTS.digest, offset=0, data=data))

    with pytest.raises(ProtocolError):
        FROM_VEHICLE.decode(frames)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (FROM_VEHICLE, m.Deliver(seq=3, item=RESULT)),
        (
            FROM_VEHICLE,
            m.Deliver(
                seq=4,
                item=m.TaskEnded(
                    assignment_id="j", epoch="e", state=TaskState.REJECTED, near=("a",)
                ),
            ),
        ),
        (TO_VEHICLE, m.Assign(assignment_id="job-1", analyst="ann", spec=SPEC)),
        (TO_VEHICLE, m.Feedback(assignment_id="job-1", iteration=2, value={"weights": [1.0, 2.5]})),
        (REQUEST, m.Request(number=1, user="ann", ask=m.Submit(spec=SPEC, token="t"))),
        (
            REPLY,
            m.Reply(
                number=1,
                answer=m.Events(
                    events=(m.Event(seq=1, item=RESULT), m.Event(seq=2, item=ROUND)),
                    next_seq=2,
                    state=JobState.RUNNING,
                    ended=False,
                ),
            ),
        ),
    ],
)
def test_what_goes_in_comes_out(codec: Codec[object], message: object) -> None:
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "2 frames"),
        ([b"OD\x03v"], "2 frames"),
        ([b"OD\x03v", b"", b""], "2 frames"),
        ([b"GET / HT", b""], "not a message of OODIDA"),
        ([b"OD\x01v", b""], "version 1"),
        ([b"OD\x03a", b""], "direction"),
        ([b"OD\x03v", b""], "body"),
        ([b"OD\x03v", b"\x81\xa4type\xa3ack"], "body"),
        ([b"OD\x03v", b"\x91" * 100_000], "body"),
        ([b"OD\x03v", b"\0" * (MAX_BODY_BYTES + 1)], "at most"),
    ],
)
def test_other_bytes_are_named(frames: list[bytes], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        FROM_VEHICLE.decode(frames)


def _nested(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"w": [1.0, {None: 1}]}, r"w\[1\]: has the key None"),
        ({"w": {3: 1}}, r"w: has the key 3"),
        ([b"abc"], r"\[0\]: b'abc' is of type bytes"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "is of type datetime"),
        (msgspec.msgpack.Ext(5, b""), "is of type Ext"),
        (_nested(34), "deeper than 32"),
        ([[]] * 100_001, "lists and mappings to more than 100000"),
    ],
)
def test_values_that_are_not_json_are_no_message(value: object, words: str) -> None:
    by_a_vehicle = [
        m.Deliver(seq=1, item=replace(RESULT, **{where: value})) for where in ("value", "partial")
    ]
    by_the_cloud = m.Feedback(assignment_id="job-1", iteration=2, value=value)

    for where, message in zip(("value", "partial"), by_a_vehicle, strict=True):
        with pytest.raises(ProtocolError, match=f"{where}.*{words}"):
            FROM_VEHICLE.decode(FROM_VEHICLE.encode(message))
    with pytest.raises(ProtocolError, match=f"value.*{words}"):
        TO_VEHICLE.decode(TO_VEHICLE.encode(by_the_cloud))


def test_contents_that_are_not_json_are_no_content() -> None:
    for value in ({None: 1}, [b"x"], msgspec.msgpack.Ext(5, b""), _nested(34)):
        with pytest.raises(ProtocolError, match="no JSON: value"):
            unpack(pack(value))
        with pytest.raises(ProtocolError, match="no JSON: partial"):
            unpack_body(pack(ResultBody(partial=value)))
    assert unpack(pack(_nested(33))) == _nested(33)


def test_a_message_too_large_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        FROM_VEHICLE.encode(m.Deliver(seq=1, item=replace(RESULT, prints="x" * MAX_BODY_BYTES)))


@given(st.data())
def test_mutated_bytes_are_parsed_or_refused(data: st.DataObject) -> None:
    body = bytearray(FROM_VEHICLE.encode(m.Deliver(seq=3, item=RESULT))[1])
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    try:
        FROM_VEHICLE.decode([FROM_VEHICLE.header, bytes(body[:cut])])
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "ask",
    [m.ListJobs(limit=10**20), m.PushCode(side="onboard", source="\ud800", token="t")],
)
def test_what_cannot_travel_is_refused_when_it_is_sent(ask: m.Ask) -> None:
    with pytest.raises(ProtocolError, match="cannot be sent"):
        REQUEST.encode(m.Request(number=1, user="ada", ask=ask))


@pytest.mark.parametrize("iteration", [0, -1, 2**53, 2**63])
def test_a_vehicle_is_not_told_an_iteration_that_it_could_not_report(iteration: int) -> None:
    for message in (
        m.Assign(assignment_id="j", analyst="ada", spec=SPEC, first_iteration=iteration),
        m.Feedback(assignment_id="j", iteration=iteration),
    ):
        with pytest.raises(ProtocolError, match="iteration"):
            TO_VEHICLE.decode(TO_VEHICLE.encode(message))
