"""Long payloads are put together from their frames, whole or not at all."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc import Catalog, Decoder
from dbc.model import MessageDef, SignalDef
from dbc.transport.protocols import SILENCE_NS, FastPacket, IsoTp, J1939Transport, Transfer
from user_lib.contract.frames import EXTENDED, FD, FrameBatch

MS = 1_000_000
SOURCE, EVERYONE, TESTER = 0x21, 0xFF, 0x03
GROUP = 0xFEE3


def control(source: int, destination: int) -> int:
    return 0x18EC0000 | destination << 8 | source


def packet(source: int, destination: int) -> int:
    return 0x18EB0000 | destination << 8 | source


def announce(payload: bytes, kind: int = 32, group: int = GROUP) -> bytes:
    packets = -(-len(payload) // 7)
    head = bytes([kind]) + len(payload).to_bytes(2, "little") + bytes([packets, 0xFF])
    return head + group.to_bytes(3, "little")


def packets(payload: bytes) -> list[bytes]:
    count = -(-len(payload) // 7)
    padded = payload.ljust(7 * count, b"\xff")
    return [bytes([i + 1]) + padded[7 * i : 7 * i + 7] for i in range(count)]


def run(
    frames: Sequence[tuple[int, bytes]], *, bus: int = 0, step_ns: int = MS
) -> tuple[list[Transfer], J1939Transport]:
    transport = J1939Transport()
    done = []
    for n, (can_id, payload) in enumerate(frames):
        if can_id >> 16 & 0xFF == 0xEC:
            transport.control(bus, can_id, payload, n * step_ns)
        elif transfer := transport.data(bus, can_id, payload, n * step_ns):
            done.append(transfer)
    return done, transport


def broadcast(payload: bytes) -> list[tuple[int, bytes]]:
    head = (control(SOURCE, EVERYONE), announce(payload))
    return [head, *((packet(SOURCE, EVERYONE), p) for p in packets(payload))]


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=9, max_size=1785))
def test_a_broadcast_comes_out_as_it_went_in(payload: bytes) -> None:
    done, transport = run(broadcast(payload))

    assert done == [Transfer(payload, GROUP)]
    assert (transport.stats.completed, transport.stats.dropped) == (1, 0)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=20, max_size=60), st.data())
def test_a_missing_or_repeated_packet_drops_the_transfer(
    payload: bytes, data: st.DataObject
) -> None:
    frames = broadcast(payload)
    at = data.draw(st.integers(1, len(frames) - 1))
    if data.draw(st.booleans()):
        del frames[at]
    else:
        frames.insert(at, frames[at])
    done, transport = run([*frames, *broadcast(b"0123456789")])

    whole = [Transfer(b"0123456789", GROUP)]
    # a repeated last packet comes after the end, and harms nothing
    repeated_last = len(frames) > len(broadcast(payload)) and at == len(frames) - 2
    assert done == ([Transfer(payload, GROUP), *whole] if repeated_last else whole)
    assert transport.stats.dropped == (0 if repeated_last else 1)


def test_silence_drops_a_transfer() -> None:
    done, transport = run(broadcast(b"x" * 20), step_ns=SILENCE_NS + 1)

    assert done == []
    assert transport.stats.dropped == 1


def test_interleaved_senders_are_kept_apart() -> None:
    one, other = b"a" * 30, b"b" * 30
    frames = []
    for first, second in zip(broadcast(one), broadcast(other), strict=True):
        frames += [first, (second[0] & ~0xFF | 0x44, second[1])]

    done, _ = run(frames)

    assert [t.payload for t in done] == [one, other]


def test_a_receiver_may_ask_for_packets_again() -> None:
    payload = bytes(range(30))
    parts = packets(payload)
    to_tester = packet(SOURCE, TESTER)
    frames = [
        (control(SOURCE, TESTER), announce(payload, kind=16)),
        (control(TESTER, SOURCE), bytes([17, 5, 1, 255, 255, *GROUP.to_bytes(3, "little")])),
        *((to_tester, p) for p in parts[:3]),
        (control(TESTER, SOURCE), bytes([17, 4, 2, 255, 255, *GROUP.to_bytes(3, "little")])),
        *((to_tester, p) for p in parts[1:]),
    ]

    done, transport = run(frames)

    assert [t.payload for t in done] == [payload]
    assert transport.stats.dropped == 0


def test_an_abort_drops_the_transfer() -> None:
    frames = broadcast(b"x" * 20)
    frames.insert(2, (control(SOURCE, EVERYONE), b"\xff\x01" + b"\xff" * 6))

    done, transport = run(frames)

    assert done == []
    assert transport.stats.dropped == 1


def test_an_addressed_group_gets_its_destination_from_the_frames() -> None:
    payload = b"x" * 12
    frames = [(control(SOURCE, TESTER), announce(payload, kind=16, group=0xEF00))]
    frames += [(packet(SOURCE, TESTER), p) for p in packets(payload)]

    done, _ = run(frames)

    assert done == [Transfer(payload, 0xEF00 | TESTER)]


@pytest.mark.parametrize("size", [0, 8, 1786, 60000])
def test_an_impossible_size_is_no_transfer(size: int) -> None:
    head = bytes([32]) + size.to_bytes(2, "little") + b"\x02\xff\xe3\xfe\x00"
    frames = [(control(SOURCE, EVERYONE), head)]
    frames += [(packet(SOURCE, EVERYONE), bytes([i]) + b"x" * 7) for i in (1, 2)]

    done, _ = run(frames)

    assert done == []


def segmented(payload: bytes) -> list[bytes]:
    frames = [bytes([0x10 | len(payload) >> 8, len(payload) & 0xFF]) + payload[:6]]
    rest, number = payload[6:], 1
    while rest:
        frames.append(bytes([0x20 | number & 0xF]) + rest[:7].ljust(7, b"\xaa"))
        rest, number = rest[7:], number + 1
    return frames


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=8, max_size=400))
def test_a_segmented_answer_comes_out_behind_its_length(payload: bytes) -> None:
    iso_tp = IsoTp()

    done = [iso_tp.frame("e", f, n * MS) for n, f in enumerate(segmented(payload))]

    assert done[:-1] == [None] * (len(done) - 1)
    assert done[-1] == Transfer(bytes([len(payload) & 0xFF]) + payload)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=30, max_size=200), st.data())
def test_a_gap_in_a_segmented_answer_drops_it(payload: bytes, data: st.DataObject) -> None:
    frames = segmented(payload)
    del frames[data.draw(st.integers(1, len(frames) - 2))]
    iso_tp = IsoTp()

    done = [iso_tp.frame("e", f, n * MS) for n, f in enumerate(frames)]

    assert not any(done)
    assert iso_tp.stats.dropped == 1


def test_a_single_frame_or_a_new_first_frame_ends_an_unfinished_answer() -> None:
    iso_tp = IsoTp()
    whole = segmented(b"x" * 20)
    for frame in (whole[0], b"\x02\x7e\x00", *whole[1:], whole[0], *segmented(b"y" * 9)):
        last = iso_tp.frame("e", frame, 0)

    assert last == Transfer(b"\x09" + b"y" * 9)
    assert iso_tp.stats.dropped == 2


LONG = SignalDef(name="Last", start=8 * 10, length=8)
WIDE = MessageDef(
    name="EC1", can_id=0x18FEE3FE, extended=True, length=11, channel="c", j1939=True,
    signals=(SignalDef(name="Speed", start=0, length=16, scale=0.125), LONG),
)  # fmt: skip
ANSWER = MessageDef(
    name="Battery", can_id=0x7EC, extended=False, length=20, channel="c",
    signals=(
        SignalDef(name="Length", start=0, length=8),
        SignalDef(name="Service", start=8, length=8),
        SignalDef(name="Far", start=8 * 12, length=8),
    ),
)  # fmt: skip


def test_a_long_j1939_payload_is_decoded_at_its_last_frame(
    frames: Callable[..., FrameBatch],
) -> None:
    decoder = Decoder(Catalog((WIDE,)), ["c"])
    payload = (1600).to_bytes(2, "little") + bytes(8) + b"\x2a"
    sent = [(0, can_id, EXTENDED, p) for can_id, p in broadcast(payload)]

    first = decoder.decode_batch(frames(sent[:2]))
    (decoded,) = decoder.decode_batch(frames(sent[2:]))

    assert len(first) == 0
    assert (decoded.source, decoded.rows.tolist()) == (SOURCE, [len(sent) - 3])
    np.testing.assert_array_equal(decoded.values, [[200, 42]])
    assert decoder.stats().transfers.completed == 1
    assert decoder.stats().transport_frames == 3
    assert decoder.stats().unmatched_frames == 0


def test_a_long_diagnostic_answer_is_decoded_like_a_short_one(
    frames: Callable[..., FrameBatch],
) -> None:
    decoder = Decoder(Catalog((ANSWER,)), ["c"])
    answer = bytes([0x62, *range(1, 13)])
    sent = [b"\x02\x7e\x00", *segmented(answer)]

    single, long = decoder.decode_batch(frames([(0, 0x7EC, 0, p) for p in sent]))

    assert (single.rows.tolist(), long.rows.tolist()) == ([0], [len(sent) - 1])
    np.testing.assert_array_equal(single.values, [[2, 0x7E, np.nan]])
    np.testing.assert_array_equal(long.values, [[13, 0x62, 11]])


def test_flexible_frames_are_no_segments(frames: Callable[..., FrameBatch]) -> None:
    decoder = Decoder(Catalog((ANSWER,)), ["c"])

    (decoded,) = decoder.decode_batch(frames([(0, 0x7EC, FD, b"\x10" * 20)], stride=64))

    np.testing.assert_array_equal(decoded.values, [[16, 16, 16]])


def fast_packets(payload: bytes, sequence: int) -> list[bytes]:
    frames = [bytes([sequence << 5, len(payload)]) + payload[:6]]
    rest, number = payload[6:], 1
    while rest:
        frames.append(bytes([sequence << 5 | number]) + rest[:7].ljust(7, b"\xff"))
        rest, number = rest[7:], number + 1
    return frames


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=223), st.integers(0, 7), st.data())
def test_a_fast_packet_comes_out_whole_or_not_at_all(
    payload: bytes, sequence: int, data: st.DataObject
) -> None:
    fast = FastPacket()
    sent = fast_packets(payload, sequence)
    missing = data.draw(st.none() | st.integers(0, len(sent) - 1))

    done = [fast.frame("s", f, n * MS) for n, f in enumerate(sent) if n != missing]

    assert [t.payload for t in done if t] == ([payload] if missing is None else [])


def test_another_sequence_does_not_continue_a_fast_packet() -> None:
    fast = FastPacket()
    one, other = fast_packets(b"a" * 20, 1), fast_packets(b"b" * 20, 2)

    assert not any(fast.frame("s", f, 0) for f in (one[0], other[1], one[1], one[2]))
    assert fast.stats.dropped == 1


def test_a_fast_packet_group_is_decoded_and_others_are_not(
    frames: Callable[..., FrameBatch],
) -> None:
    position = MessageDef(
        name="Position", can_id=0x1DF805FE, extended=True, length=11, channel="c", j1939=True,
        signals=(LONG,),
    )  # fmt: skip
    faults = MessageDef(
        name="DM1", can_id=0x18FECAFE, extended=True, length=38, channel="c", j1939=True,
        signals=(SignalDef(name="Lamp", start=0, length=8), LONG),
    )  # fmt: skip
    decoder = Decoder(Catalog((position, faults)), ["c"])
    sent = [(0, 0x1DF80523, EXTENDED, p) for p in fast_packets(bytes(10) + b"\x2a", 3)]
    sent.append((0, 0x18FECA00, EXTENDED, b"\x20" * 8))

    short, long = decoder.decode_batch(frames(sent))

    assert (short.message, short.source, long.source) == (1, 0, 0x23)
    np.testing.assert_array_equal(short.values, [[32, np.nan]])
    np.testing.assert_array_equal(long.values, [[42]])
