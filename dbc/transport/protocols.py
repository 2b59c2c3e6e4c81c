"""Payloads longer than a frame, put together again by listening: J1939, NMEA 2000, ISO-TP.

Rules, the same for all:

- A transfer begins with a frame that announces its size, and goes on with numbered frames.
- Whatever is not the very next number ends the transfer, and so does a new announcement by the same
  sender, an abort, or a silence longer than the protocol allows. It is dropped whole and counted;
  what was received is never joined with anything else. The one exception is J1939's receiver, which
  may ask for packets again.
- A frame that belongs to no transfer is ignored: the listener may have come in the middle.

J1939-21: TP.CM (RTS, CTS, BAM, abort) and TP.DT; between two addresses there is one transfer at a
time. ISO 15765-2: first and consecutive frames, of normal addressing; single frames are whole as
they are. A long answer is laid out as a short one is, with the low byte of its length before the
data, so that a database describes both in the same way. NMEA 2000 fast packets: a sender may have
several groups under way at once, each with a sequence of its own.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = ["FastPacket", "IsoTp", "J1939Transport", "Transfer", "TransportStats"]

MAX_SESSIONS = 512
SILENCE_NS = 1_250_000_000
"""J1939's T2, the longest of its waits; ISO-TP allows 1 s."""

_RTS, _CTS, _END, _BAM, _ABORT = 16, 17, 19, 32, 255
_PACKET = 7
_SMALLEST, _LARGEST = 9, 1785
_ISO_LARGEST = 4095
_FAST_LARGEST = 223

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A payload put together from several frames.

    ``group`` is the J1939 parameter group with its destination; -1 for ISO-TP.
    """

    payload: bytes
    group: int = -1


@dataclass(frozen=True, slots=True)
class TransportStats:
    """Transfers that were put together, and those that were dropped on the way."""

    completed: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Session:
    """A transfer under way."""

    size: int
    packets: int
    group: int
    last_ns: int
    received: bytearray = field(default_factory=bytearray)
    following: int = 1


class _Sessions(dict[_Key, _Session]):
    """The transfers under way, a bounded number; counts how they end."""

    completed = 0
    dropped = 0

    @property
    def stats(self) -> TransportStats:
        """How transfers ended so far."""
        return TransportStats(self.completed, self.dropped)

    def begin(self, key: _Key, session: _Session) -> None:
        """Start a transfer; one that the same sender left unfinished is dropped."""
        self.drop(key)
        if len(self) >= MAX_SESSIONS:
            self.drop(min(self, key=lambda k: self[k].last_ns))
        self[key] = session

    def drop(self, key: _Key) -> None:
        """End a transfer without a result."""
        if self.pop(key, None) is not None:
            self.dropped += 1

    def current(self, key: _Key, now_ns: int) -> _Session | None:
        """Return the sender's transfer; a silence that was too long drops it."""
        session = self.get(key)
        if session is not None and now_ns - session.last_ns > SILENCE_NS:
            self.drop(key)
            return None
        return session

    def finish(self, key: _Key) -> _Session:
        """End a transfer with its result."""
        self.completed += 1
        return self.pop(key)


class J1939Transport:
    """Listens to TP.CM and TP.DT on any number of buses."""

    def __init__(self) -> None:
        self._sessions: _Sessions[tuple[int, int, int]] = _Sessions()

    @property
    def stats(self) -> TransportStats:
        """How transfers ended so far."""
        return self._sessions.stats

    def control(self, bus: int, can_id: int, payload: bytes, time_ns: int) -> None:
        """Take a TP.CM frame."""
        source, destination = can_id & 0xFF, can_id >> 8 & 0xFF
        if len(payload) < 8:
            return
        if payload[0] in (_BAM, _RTS):
            self._announce((bus, source, destination), payload, time_ns)
        elif payload[0] == _CTS:
            self._send_again((bus, destination, source), payload, time_ns)
        elif payload[0] == _ABORT:
            self._sessions.drop((bus, source, destination))
            self._sessions.drop((bus, destination, source))

    def _announce(self, key: tuple[int, int, int], payload: bytes, time_ns: int) -> None:
        size, packets = int.from_bytes(payload[1:3], "little"), payload[3]
        group = int.from_bytes(payload[5:8], "little") & 0x3FFFF
        if not _SMALLEST <= size <= _LARGEST or packets != -(-size // _PACKET):
            self._sessions.drop(key)
            return
        if group >> 8 & 0xFF < 0xF0:
            group = (group & 0x3FF00) | key[2]
        self._sessions.begin(key, _Session(size, packets, group, time_ns))

    def _send_again(self, key: tuple[int, int, int], payload: bytes, time_ns: int) -> None:
        """Go back to the packet that the receiver asks for; it may also only ask for the next."""
        session = self._sessions.current(key, time_ns)
        if session is None:
            return
        session.last_ns = time_ns
        if 0 < payload[2] < session.following:
            session.following = payload[2]
            del session.received[(payload[2] - 1) * _PACKET :]

    def data(self, bus: int, can_id: int, payload: bytes, time_ns: int) -> Transfer | None:
        """Take a TP.DT frame; return the transfer if this was its last."""
        key = (bus, can_id & 0xFF, can_id >> 8 & 0xFF)
        session = self._sessions.current(key, time_ns)
        if session is None:
            return None
        if len(payload) < 8 or payload[0] != session.following:
            self._sessions.drop(key)
            return None
        session.received += payload[1:8]
        session.following += 1
        session.last_ns = time_ns
        if session.following <= session.packets:
            return None
        self._sessions.finish(key)
        return Transfer(bytes(session.received[: session.size]), session.group)


class IsoTp:
    """Listens to segmented diagnostic answers; ``key`` tells senders apart (bus and id)."""

    def __init__(self) -> None:
        self._sessions: _Sessions[Hashable] = _Sessions()

    @property
    def stats(self) -> TransportStats:
        """How transfers ended so far."""
        return self._sessions.stats

    def frame(self, key: Hashable, payload: bytes, time_ns: int) -> Transfer | None:
        """Take a frame of a diagnostic id; return the transfer if this was its last.

        A single frame ends an unfinished transfer too; it is whole, and for the caller to decode.
        """
        kind = payload[0] >> 4 if payload else -1
        if kind == 0:
            self._sessions.drop(key)
        elif kind == 1:
            self._first(key, payload, time_ns)
        elif kind == 2:
            return self._consecutive(key, payload, time_ns)
        return None

    def _first(self, key: Hashable, payload: bytes, time_ns: int) -> None:
        size = (payload[0] & 0xF) << 8 | payload[1] if len(payload) >= 8 else 0
        if not 8 <= size <= _ISO_LARGEST or size <= len(payload) - 2:
            self._sessions.drop(key)
            return
        session = _Session(size, 0, -1, time_ns, bytearray(payload[1:]))
        self._sessions.begin(key, session)

    def _consecutive(self, key: Hashable, payload: bytes, time_ns: int) -> Transfer | None:
        session = self._sessions.current(key, time_ns)
        if session is None:
            return None
        if payload[0] & 0xF != session.following:
            self._sessions.drop(key)
            return None
        wanted = session.size + 1 - len(session.received)
        if len(payload) - 1 < min(wanted, _PACKET):
            self._sessions.drop(key)
            return None
        session.received += payload[1 : 1 + wanted]
        session.following = (session.following + 1) & 0xF
        session.last_ns = time_ns
        if len(session.received) <= session.size:
            return None
        self._sessions.finish(key)
        return Transfer(bytes(session.received))


class FastPacket:
    """Listens to NMEA 2000 fast packets; ``key`` tells apart bus, group and sender."""

    def __init__(self) -> None:
        self._sessions: _Sessions[Hashable] = _Sessions()

    @property
    def stats(self) -> TransportStats:
        """How transfers ended so far."""
        return self._sessions.stats

    def frame(self, key: Hashable, payload: bytes, time_ns: int) -> Transfer | None:
        """Take a frame of a fast-packet group; return the transfer if this was its last.

        The first byte holds the sequence, which stays the same within a transfer, and the number
        of the frame; that of frame 0 is followed by the size.
        """
        if len(payload) < 2:
            return None
        sequence, number = payload[0] >> 5, payload[0] & 0x1F
        if number == 0:
            if not 0 < payload[1] <= _FAST_LARGEST:
                self._sessions.drop(key)
                return None
            session = _Session(payload[1], 0, sequence, time_ns)
            self._sessions.begin(key, session)
            session.received += payload[2:]
            return self._finished(key, session)
        current = self._sessions.current(key, time_ns)
        if current is None:
            return None
        if (sequence, number) != (current.group, current.following):
            self._sessions.drop(key)
            return None
        current.received += payload[1:]
        current.following += 1
        current.last_ns = time_ns
        return self._finished(key, current)

    def _finished(self, key: Hashable, session: _Session) -> Transfer | None:
        if len(session.received) < session.size:
            return None
        self._sessions.finish(key)
        return Transfer(bytes(session.received[: session.size]))
