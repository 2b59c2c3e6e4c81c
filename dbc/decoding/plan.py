"""What is to be done to decode a message, worked out once: which bits, in which words, when there.

Fields of up to 52 bits are taken together: a right shift and a mask cut them out of a 64-bit word,
an XOR with the bits of the float 2**52 (and the field's sign bit) makes a float64 of each whose
mantissa is the field, and subtracting 2**52 (plus the sign bit's weight) leaves its value, exactly.
Wider fields and floats are taken one by one.

Multiplexing makes a tree: a node has columns that are there whenever the node is, and branches, one
a switch, that lead to further nodes by ranges of the switch's value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dbc.bits import WORD_BYTES
from dbc.j1939 import absent_from
from dbc.model import MessageDef, SignalDef

__all__ = ["Block", "Branch", "Lane", "Node", "compile_node"]

NARROW_BITS = 52
_TWO_52 = np.uint64(0x4330000000000000)
"""The bits of the float64 2**52."""
_NO_LIMIT = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Lane:
    """Neighbouring fields of a block that are cut out of the same word."""

    first_byte: int
    big: bool
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Columns that are decoded together, for the same rows.

    Shapes: every array (k, 1) but ``places`` (k,), in the order of the lanes. ``places`` are rows
            of the result; ``in_order`` tells that they are 0, 1, ... and that there is no other.
    """

    places: NDArray[np.intp]
    in_order: bool
    lanes: tuple[Lane, ...]
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    flip: NDArray[np.uint64]
    bias: NDArray[np.float64]
    scale: NDArray[np.float64] | None
    offset: NDArray[np.float64] | None
    limit: NDArray[np.uint64] | None
    """The raw value from which on a J1939 signal says that it has none."""
    needed_bytes: NDArray[np.uint16]
    longest: int
    wide: tuple[tuple[int, SignalDef, int | None], ...]
    """Place, signal, and limit of each field that is taken by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A switch: ``nodes[target[i]]`` is there if its value is in ``[low[i], high[i]]``.

    The ranges are sorted and do not overlap. A target of -1 is a value that is known and that no
    column depends on.
    """

    switch: SignalDef
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    target: NDArray[np.int64]
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Columns that are there together, and what further depends on the values of switches."""

    block: Block
    branches: tuple[Branch, ...]


def compile_node(message: MessageDef, columns: Sequence[int]) -> Node:
    """Plan the decoding of some columns of a message; row i of the result is ``columns[i]``."""
    return _Compiler(message, columns).root()


class _Compiler:
    """Builds the tree of one message for the columns that are wanted of it."""

    def __init__(self, message: MessageDef, columns: Sequence[int]) -> None:
        self._total = len(columns)
        self._j1939 = message.j1939
        self._places: dict[str, list[int]] = {}
        for place, column in enumerate(columns):
            self._places.setdefault(message.signals[column].name, []).append(place)
        self._children: dict[str, list[SignalDef]] = {}
        for signal in message.signals:
            for layout in (signal, *signal.variants):
                self._children.setdefault(layout.multiplexed_by, []).append(layout)

    def root(self) -> Node:
        return self._node(self._children.get("", []))

    def _node(self, signals: Sequence[SignalDef]) -> Node:
        wanted = [(place, s) for s in signals for place in self._places.get(s.name, ())]
        found = [self._branch(s) for s in signals if s.is_switch]
        block = _block(wanted, self._total, j1939=self._j1939)
        return Node(block, tuple(branch for branch in found if branch is not None))

    def _branch(self, switch: SignalDef) -> Branch | None:
        followers = self._children.get(switch.name, [])
        if not any(self._leads_somewhere(follower) for follower in followers):
            return None
        nodes: dict[tuple[int, ...], Node] = {}
        low, high, target = [], [], []
        for start, stop, present in _segments(switch, followers):
            same = tuple(map(id, present))
            if same and same not in nodes:
                nodes[same] = self._node(present)
            low.append(start)
            high.append(stop)
            target.append(list(nodes).index(same) if same else -1)
        return Branch(
            switch=switch,
            low=np.array(low, np.int64),
            high=np.array(high, np.int64),
            target=np.array(target, np.int64),
            nodes=tuple(nodes.values()),
        )

    def _leads_somewhere(self, signal: SignalDef) -> bool:
        """Whether a signal, or one that depends on it, is wanted."""
        if signal.name in self._places:
            return True
        followers = self._children.get(signal.name, ()) if signal.is_switch else ()
        return any(self._leads_somewhere(follower) for follower in followers)


def _segments(
    switch: SignalDef, followers: Sequence[SignalDef]
) -> list[tuple[int, int, list[SignalDef]]]:
    """Cut the switch's values into ranges in which the same signals are there.

    A value that the switch's value table names is known even if no signal depends on it.
    """
    top = (1 << 63) - 1
    ranges = [
        (min(low, top), min(high, top), s) for s in followers for low, high in s.multiplex_ids
    ]
    cuts = {low for low, _, _ in ranges} | {high + 1 for _, high, _ in ranges}
    cuts |= {c for raw in switch.choices for c in (raw, raw + 1)}
    edges = sorted(cuts)
    segments = []
    for start, stop in pairwise(edges):
        present = [s for low, high, s in ranges if low <= start <= high]
        if present or start in switch.choices:
            segments.append((start, stop - 1, present))
    return segments


def _block(wanted: list[tuple[int, SignalDef]], total: int, *, j1939: bool) -> Block:
    narrow = [(p, s) for p, s in wanted if not s.is_float and s.length <= NARROW_BITS]
    wide = tuple(
        (p, s, absent_from(s) if j1939 else None)
        for p, s in wanted
        if s.is_float or s.length > NARROW_BITS
    )
    lanes, ordered = _lanes(narrow)
    signals = [s for _, s in ordered]
    places = np.array([p for p, _ in ordered], np.intp)
    sign = [(1 << (s.length - 1)) if s.signed else 0 for s in signals]
    scale, offset = [s.scale for s in signals], [s.offset for s in signals]
    firsts = [lane.first_byte for lane in lanes for _ in range(lane.start, lane.stop)]
    return Block(
        places=places,
        in_order=len(places) == total and bool((places == np.arange(total)).all()),
        lanes=lanes,
        shift=_words([_shift(s, first) for s, first in zip(signals, firsts, strict=True)]),
        mask=_words([(1 << s.length) - 1 for s in signals]),
        flip=_words(sign) ^ _TWO_52,
        bias=_floats([float(2**52 + bit) for bit in sign]),
        scale=None if set(scale) <= {1.0} else _floats(scale),
        offset=None if set(offset) <= {0.0} else _floats(offset),
        limit=_words([_NO_LIMIT if (n := absent_from(s)) is None else n for s in signals])
        if j1939
        else None,
        needed_bytes=np.array([s.needed_bytes for s in signals], np.uint16).reshape(-1, 1),
        longest=max((s.needed_bytes for s in signals), default=0),
        wide=wide,
    )


def _words(values: Sequence[int]) -> NDArray[np.uint64]:
    return np.array(values, np.uint64).reshape(-1, 1)


def _floats(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, np.float64).reshape(-1, 1)


def _shift(signal: SignalDef, first: int) -> int:
    """Return how far right a field must go in the word that begins at byte ``first``."""
    if signal.big_endian:
        return 8 * WORD_BYTES - (signal.first_bit - 8 * first) - signal.length
    return signal.first_bit - 8 * first


def _lanes(
    fields: list[tuple[int, SignalDef]],
) -> tuple[tuple[Lane, ...], list[tuple[int, SignalDef]]]:
    """Give each field a word that holds it, few words in all; fields come out word by word."""
    words: list[tuple[int, bool, list[tuple[int, SignalDef]]]] = []
    for field in sorted(fields, key=lambda f: (f[1].big_endian, f[1].first_byte)):
        signal = field[1]
        fits = bool(words) and words[-1][1] == signal.big_endian
        if not fits or signal.needed_bytes > words[-1][0] + WORD_BYTES:
            ends_early = signal.needed_bytes <= WORD_BYTES
            words.append((0 if ends_early else signal.first_byte, signal.big_endian, []))
        words[-1][2].append(field)
    lanes: list[Lane] = []
    ordered: list[tuple[int, SignalDef]] = []
    for first, big, members in words:
        members.sort(key=lambda f: f[0])
        lanes.append(Lane(first, big, len(ordered), len(ordered) + len(members)))
        ordered += members
    return tuple(lanes), ordered
