"""The kernel's bytes as frames: every kind, stale bytes, odd control records."""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hw.socketcan.can_datagrams import (
    CONTROL_BYTES,
    FRAME_BYTES,
    SO_RXQ_OVFL,
    SO_TIMESTAMPNS,
    Arrived,
    frames_of,
    lost_so_far,
)
from hw.socketcan.datagrams import Received
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX

STAMP_NS = 1_700_000_000_123_456_789
EFF, RTR, ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000


def record(kind: int, content: bytes, level: int = socket.SOL_SOCKET) -> bytes:
    length = struct.calcsize("@Nii") + len(content)
    return (struct.pack("@Nii", length, level, kind) + content).ljust(-(-length // 8) * 8, b"\0")


def stamp(time_ns: int = STAMP_NS) -> bytes:
    return record(SO_TIMESTAMPNS, struct.pack("=qq", *divmod(time_ns, 10**9)))


def lost(frames: int) -> bytes:
    return record(SO_RXQ_OVFL, struct.pack("=I", frames))


def classic(can_id: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("=IB3x8s", can_id, len(data) if length is None else length, data)


def flexible(can_id: int, data: bytes, flags: int = 0, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return struct.pack("=IBB2x64s", can_id, length, flags, data)


@dataclass
class Datagram:
    payload: bytes
    control: bytes = stamp()
    flags: int = 0


def received(datagrams: Sequence[Datagram], stale: int = 0xEE) -> Received:
    """Lay datagrams into slots that are full of what came in them before."""
    n = len(datagrams)
    found = Received(
        np.full((n, FRAME_BYTES), stale, np.uint8),
        np.array([len(d.payload) for d in datagrams], np.uint32),
        np.array([d.flags for d in datagrams], np.int32),
        np.full((n, CONTROL_BYTES), stale, np.uint8),
        np.array([len(d.control) for d in datagrams], np.uintp),
    )
    for row, datagram in enumerate(datagrams):
        held = np.frombuffer(datagram.payload[:FRAME_BYTES], np.uint8)
        found.payload[row, : len(held)] = held
        control = np.frombuffer(datagram.control, np.uint8)
        found.control[row, : len(control)] = control
    return found


def arrived_of(datagrams: Sequence[Datagram], stale: int = 0xEE) -> Arrived:
    return frames_of(received(datagrams, stale), np.zeros(len(datagrams), np.uint8))


def test_every_kind_of_frame_is_told_apart() -> None:
    arrived = arrived_of(
        [
            Datagram(classic(0x118, b"\1\2")),
            Datagram(classic(0x118 | EFF, b"")),
            Datagram(classic(5 | RTR, bytes(8), length=4)),
            Datagram(flexible(6, bytes(range(64)), flags=1)),
            Datagram(flexible(0x18FEF100 | EFF, bytes(12), flags=2 | 4)),
            Datagram(classic(7, b"\7"), flags=socket.MSG_DONTROUTE),
            Datagram(classic(ERR | 0x40, bytes(8))),
        ]
    )

    frames = arrived.frames
    assert frames.can_id.tolist() == [0x118, 0x118, 5, 6, 0x18FEF100, 7, 0x40]
    assert frames.flags.tolist() == [
        0,
        EXTENDED,
        REMOTE,
        FD | BRS,
        FD | ESI | EXTENDED,
        TX,
        ERROR | EXTENDED,
    ]
    assert frames.length.tolist() == [2, 0, 4, 64, 12, 1, 8]
    assert frames.data[3].tolist() == list(range(64))
    assert frames.time_ns.tolist() == [STAMP_NS] * 7
    assert (arrived.malformed, arrived.bus_offs) == (0, 1)


def test_what_a_slot_held_before_does_not_show() -> None:
    arrived = arrived_of([Datagram(classic(1, b"\x11\x12")), Datagram(flexible(2, b"\x21" * 12))])

    assert arrived.frames.data[0].tolist() == [0x11, 0x12] + [0] * 62
    assert arrived.frames.data[1].tolist() == [0x21] * 12 + [0] * 52


def test_the_data_of_a_remote_request_is_nothing() -> None:
    arrived = arrived_of([Datagram(classic(5 | RTR, b"\xaa" * 8))])

    assert arrived.frames.length.tolist() == [8]
    assert not arrived.frames.data.any()


def test_what_is_no_frame_is_counted_and_left_out() -> None:
    arrived = arrived_of(
        [
            Datagram(b"short"),
            Datagram(classic(1, bytes(8), length=9)),
            Datagram(flexible(1, bytes(64), length=65)),
            Datagram(bytes(FRAME_BYTES), flags=socket.MSG_TRUNC),
            Datagram(classic(2, b"\2")),
        ]
    )

    assert arrived.malformed == 4
    assert arrived.frames.can_id.tolist() == [2]
    assert arrived.frames.data.shape == (1, 8)


def test_the_count_of_losses_is_that_of_the_datagram() -> None:
    found = received(
        [
            Datagram(classic(1, b"")),
            Datagram(classic(1, b""), stamp() + lost(3)),
            Datagram(classic(1, b""), stamp() + lost(2**32 - 1)),
        ]
    )

    assert [lost_so_far(found, row) for row in range(3)] == [None, 3, 2**32 - 1]


def test_a_stamp_is_found_behind_another_record_and_its_lack_is_zero() -> None:
    arrived = arrived_of(
        [
            Datagram(classic(1, b""), lost(3) + stamp(5)),
            Datagram(classic(1, b""), record(SO_TIMESTAMPNS, bytes(16), level=101) + stamp(6)),
            Datagram(classic(1, b""), b""),
        ]
    )

    assert arrived.frames.time_ns.tolist() == [5, 6, 0]


def test_nothing_received_is_no_frame() -> None:
    arrived = arrived_of([])

    assert len(arrived.frames) == 0


datagrams = st.builds(
    Datagram,
    payload=st.one_of(
        st.binary(max_size=FRAME_BYTES), st.binary(min_size=16, max_size=16),
        st.binary(min_size=72, max_size=72),
    ),
    control=st.one_of(
        st.binary(max_size=CONTROL_BYTES),
        st.lists(st.sampled_from([stamp(), lost(2)]), max_size=2).map(b"".join),
    ),
    flags=st.sampled_from([0, socket.MSG_DONTROUTE, socket.MSG_TRUNC, socket.MSG_CTRUNC]),
)  # fmt: skip


@given(st.lists(datagrams, max_size=8), st.integers(0, 255))
def test_any_bytes_are_frames_or_damage(found: list[Datagram], stale: int) -> None:
    arrived = arrived_of(found, stale)

    frames = arrived.frames
    assert len(frames) + arrived.malformed == len(found)
    stride = frames.data.shape[1]
    beyond = np.arange(stride) >= frames.length[:, None]
    assert not frames.data[beyond].any()
    assert (frames.length <= np.where(frames.flags & FD, 64, 8)).all()
    assert not frames.data[(frames.flags & REMOTE) != 0].any()


def test_each_frame_keeps_its_bus() -> None:
    found = received([Datagram(classic(i, b"")) for i in range(3)] + [Datagram(b"")])

    arrived = frames_of(found, np.array([0, 0, 2, 2], np.uint8))

    assert arrived.frames.bus.tolist() == [0, 0, 2]
