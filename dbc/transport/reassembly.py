"""Pick the transport frames out of a batch, and match what they carry to messages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dbc.j1939 import parameter_group
from dbc.model import MessageDef
from dbc.transport.protocols import FastPacket, IsoTp, J1939Transport, Transfer, TransportStats
from user_lib.contract.frames import ERROR, EXTENDED, FD, REMOTE, FrameBatch

__all__ = ["Reassembled", "Reassembler"]

_TP_DATA, _TP_CONTROL = 0xEB, 0xEC
_CLASSIC = 8
_DIAGNOSTIC_11 = range(0x700, 0x800)
_DIAGNOSTIC_29 = (0xDA, 0xDB)
"""The PDU formats of ISO 15765-2 normal fixed addressing."""
_FAST_GROUPS = range(0x1ED00, 0x20000)
"""The groups of NMEA 2000 that come as fast packets if they are longer than a frame."""


@dataclass(frozen=True, slots=True)
class Reassembled:
    """A long payload of a known message; ``row`` is that of its last frame in the batch."""

    message: int
    source: int | None
    row: int
    payload: bytes


class Reassembler:
    """Keeps transfers under way from batch to batch, for the messages of one decoder.

    J1939 transport is listened to on the channels that have a J1939 database; ISO-TP on the
    diagnostic ids (11-bit from 0x700 on, 29-bit of normal fixed addressing) whose message has more
    bytes in its database than a classic frame holds; and to fast packets likewise, on J1939 groups
    of NMEA 2000.
    """

    def __init__(self, messages: Sequence[MessageDef], channels: Sequence[str]) -> None:
        bus_of = {name: bus for bus, name in enumerate(channels)}
        self._groups = {
            (bus_of[m.channel], _group_of(m.can_id)): index
            for index, m in enumerate(messages)
            if m.j1939 and m.channel in bus_of
        }
        self._j1939_bus = np.zeros(256, np.bool_)
        for bus, _ in self._groups:
            self._j1939_bus[bus] = True
        # the last entry is for frames without a message, whose index is -1
        self._segmented = np.array([_is_segmented(m) for m in messages] + [False], np.bool_)
        self._fast = np.array([_is_fast(m) for m in messages] + [False], np.bool_)
        self._j1939, self._iso_tp, self._fast_packet = J1939Transport(), IsoTp(), FastPacket()
        self.needed = bool(self._groups) or bool(self._segmented.any())
        """Whether any message can come in several frames."""

    def stats(self) -> TransportStats:
        """Return how transfers ended so far."""
        every = (self._j1939.stats, self._iso_tp.stats, self._fast_packet.stats)
        return TransportStats(sum(s.completed for s in every), sum(s.dropped for s in every))

    def add(
        self, batch: FrameBatch, found: NDArray[np.int32]
    ) -> tuple[list[Reassembled], NDArray[np.bool_]]:
        """Take a batch; return what was completed in it, and which frames were parts of transfers.

        Shapes: found (n,), each frame's message or -1; the parts (n,) bool: frames that are not to
                be decoded by themselves.
        """
        data_frame = (batch.flags & (REMOTE | ERROR)) == 0
        extended = (batch.flags & EXTENDED) != 0
        form = (batch.can_id >> np.uint32(16)) & np.uint32(0xFF)
        group = (form == _TP_DATA) | (form == _TP_CONTROL)
        packets = data_frame & extended & group & self._j1939_bus[batch.bus]
        diagnostic = self._segmented[found] & (batch.length <= _CLASSIC)
        diagnostic &= (batch.flags & FD) == 0
        fast = self._fast[found]
        completed = []
        for row in np.flatnonzero(packets | diagnostic | fast).tolist():
            if done := self._take(batch, row, int(found[row]), packet=bool(packets[row])):
                completed.append(done)
        kind = batch.data[:, 0] >> 4
        parts = packets & (found < 0) | diagnostic & ((kind == 1) | (kind == 2)) | fast
        return completed, parts

    def _take(
        self, batch: FrameBatch, row: int, message: int, *, packet: bool
    ) -> Reassembled | None:
        bus, can_id = int(batch.bus[row]), int(batch.can_id[row])
        payload = batch.data[row, : batch.length[row]].tobytes()
        time_ns = int(batch.time_ns[row])
        if packet:
            if can_id >> 16 & 0xFF == _TP_CONTROL:
                self._j1939.control(bus, can_id, payload, time_ns)
                return None
            transfer = self._j1939.data(bus, can_id, payload, time_ns)
            return None if transfer is None else self._matched(transfer, bus, can_id & 0xFF, row)
        if self._fast[message]:
            source = can_id & 0xFF
            done = self._fast_packet.frame((bus, message, source), payload, time_ns)
            return Reassembled(message, source, row, done.payload) if done else None
        done = self._iso_tp.frame((bus, can_id), payload, time_ns)
        return Reassembled(message, None, row, done.payload) if done else None

    def _matched(self, transfer: Transfer, bus: int, source: int, row: int) -> Reassembled | None:
        message = self._groups.get((bus, _group_of(transfer.group << 8)))
        if message is None:
            return None
        return Reassembled(message, source, row, transfer.payload)


def _group_of(can_id: int) -> int:
    return int(parameter_group(np.array([can_id], np.uint32))[0])


def _is_segmented(message: MessageDef) -> bool:
    if message.j1939 or message.fd or message.length <= _CLASSIC:
        return False
    if message.extended:
        return (message.can_id >> 16 & 0xFF) in _DIAGNOSTIC_29
    return message.can_id in _DIAGNOSTIC_11


def _is_fast(message: MessageDef) -> bool:
    return message.j1939 and message.length > _CLASSIC and _group_of(message.can_id) in _FAST_GROUPS
