"""Find each frame's message: one hash of bus, 11/29-bit flag and id, for a whole batch."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dbc.j1939 import parameter_group
from dbc.model import NO_IDENTIFIER, MessageDef
from user_lib.contract.frames import ERROR, EXTENDED, REMOTE, FrameBatch

__all__ = ["Matcher"]

_EXTENDED_BIT = 1 << 29
_BUS_SHIFT = np.uint64(30)
_NEVER = 1 << 62
_NOT_NARROW = np.uint8(EXTENDED | REMOTE | ERROR)
_LAST_NARROW = 0x7FF
_NARROW_BITS = 11
_ID_MASK = (1 << 30) - 1
"""Of a key: the id, and the bit of extended ones."""
_EMPTY = np.uint64((1 << 63) | 1)
_MULTIPLIERS = 24
_ROOM = 8
_ANY_SOURCE = 0xFE
"""What J1939 databases write in the place of a source address."""


def _key_of_flags() -> NDArray[np.uint64]:
    """Return the part of the key that a frame's flags give, for each value of the flags."""
    flags = np.arange(256)
    key = np.where(flags & EXTENDED, _EXTENDED_BIT, 0).astype(np.uint64)
    key[(flags & (REMOTE | ERROR)) != 0] = _NEVER
    return key


_KEY_OF_FLAGS = _key_of_flags()


class _Table:
    """An open hash table from 64-bit keys to message indices, searched for many keys at once."""

    def __init__(self, keys: Sequence[int], messages: Sequence[int]) -> None:
        self._bits = max(4, int(len(keys) * _ROOM).bit_length())
        self._shift = np.uint64(64 - self._bits)
        self._probes = 0
        if not keys:
            return
        wanted = np.array(keys, np.uint64)
        generator = random.Random(1)  # noqa: S311 - numpy's would cost every agent 2 MB and 40 ms
        best: tuple[int, NDArray[np.uint64], NDArray[np.int32], np.uint64] | None = None
        for _ in range(_MULTIPLIERS):
            multiplier = np.uint64(generator.getrandbits(63) | 1)
            laid = self._lay_out(wanted, np.array(messages, np.int32), multiplier)
            if best is None or laid[0] < best[0]:
                best = (*laid, multiplier)
            if best[0] == 1:
                break
        assert best is not None  # noqa: S101 - there is at least one candidate
        self._probes, self._keys, self._messages, self._multiplier = best

    def _lay_out(
        self, keys: NDArray[np.uint64], messages: NDArray[np.int32], multiplier: np.uint64
    ) -> tuple[int, NDArray[np.uint64], NDArray[np.int32]]:
        """Place every key; return the longest search, and the slots."""
        slots = np.full((1 << self._bits) + len(keys), _EMPTY)
        found = np.full(len(slots), -1, np.int32)
        longest = 1
        for key, message, home in zip(
            keys, messages, (keys * multiplier) >> self._shift, strict=True
        ):
            slot = int(home)
            while slots[slot] != _EMPTY:
                slot += 1
            slots[slot], found[slot] = key, message
            longest = max(longest, slot - int(home) + 1)
        return longest, slots, found

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return each key's message, or -1."""
        if not self._probes:
            return np.full(len(keys), -1, np.int32)
        slot = (keys * self._multiplier) >> self._shift
        place = slot.view(np.int64)
        result = np.where(self._keys.take(place) == keys, self._messages.take(place), np.int32(-1))
        for step in range(1, self._probes):
            open_ = np.flatnonzero(result < 0)
            further = place[open_] + step
            hit = self._keys[further] == keys[open_]
            result[open_[hit]] = self._messages[further[hit]]
        return result


class Matcher:
    """Matches frames to messages by exact id, and then J1939 messages by parameter group.

    Where a database has a group for several senders, frames of another sender match the one for any
    source, if there is one, else the first.
    """

    def __init__(self, messages: Sequence[MessageDef], channels: Sequence[str]) -> None:
        exact: dict[int, int] = {}
        groups: dict[int, int] = {}
        bus_of = {name: bus for bus, name in enumerate(channels)}
        for index, message in enumerate(messages):
            bus = bus_of.get(message.channel or "")
            if bus is None or message.can_id == NO_IDENTIFIER:
                continue
            exact[bus << 30 | message.extended * _EXTENDED_BIT | message.can_id] = index
            if message.j1939 and message.extended:
                group = int(parameter_group(np.array([message.can_id], np.uint32))[0])
                key = bus << 30 | _EXTENDED_BIT | group
                if key not in groups or message.can_id & 0xFF == _ANY_SOURCE:
                    groups[key] = index
        self._narrow = _narrow(exact)
        self._exact = _Table(list(exact), list(exact.values()))
        self._groups = _Table(list(groups), list(groups.values())) if groups else None

    def match(self, batch: FrameBatch) -> NDArray[np.int32]:
        """Return the index of each frame's message, or -1; (n,) int32.

        Remote and error frames carry no message. 11- and 29-bit ids are different ids even where
        their numbers are equal, and so are those of different buses.
        """
        if not (batch.flags & _NOT_NARROW).any() and batch.can_id.max(initial=0) <= _LAST_NARROW:
            return self._match_narrow(batch)
        above = _KEY_OF_FLAGS.take(batch.flags)
        if batch.bus.any():
            above |= batch.bus.astype(np.uint64) << _BUS_SHIFT
        found = self._exact.find(above | batch.can_id)
        if self._groups is not None:
            extended = (above & np.uint64(_EXTENDED_BIT)) != 0
            rest = np.flatnonzero((found < 0) & extended)
            group = parameter_group(batch.can_id[rest])
            found[rest] = self._groups.find(above[rest] | group)
        return found

    def _match_narrow(self, batch: FrameBatch) -> NDArray[np.int32]:
        """Match data frames with 11-bit ids: these index a table."""
        if not batch.bus.any():
            return self._narrow.take(batch.can_id)
        place = batch.bus.astype(np.uint32) << np.uint32(_NARROW_BITS) | batch.can_id
        return self._narrow.take(place, mode="clip")


def _narrow(exact: Mapping[int, int]) -> NDArray[np.int32]:
    """Return a table by bus and 11-bit id: the message, or -1; the last entry is for other buses.

    ``exact`` has the messages by the keys that `Matcher` gives them.
    """
    wanted = {
        (key >> int(_BUS_SHIFT), key & _ID_MASK): message
        for key, message in exact.items()
        if key & _ID_MASK <= _LAST_NARROW
    }
    buses = max((bus for bus, _ in wanted), default=0) + 1
    table = np.full((buses << _NARROW_BITS) + 1, -1, np.int32)
    for (bus, can_id), message in wanted.items():
        table[bus << _NARROW_BITS | can_id] = message
    return table
