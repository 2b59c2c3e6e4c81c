"""Run a plan: from payloads to values, whole batches at a time.

Nothing here loops over frames or signals; what loops goes over messages, words of a payload, and
the values of a switch that occur.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dbc.bits import WORD_BITS, decode_exact, raw_bits, raw_integers, window_words
from dbc.decoding.plan import Block, Branch, Node
from dbc.model import SignalDef

__all__ = ["Absent", "decode_node", "padded"]

_CHUNK_BYTES = 1 << 18
"""Work on this many bytes of results at a time, so that they stay in the cache between steps."""
_PAGE = 4096
_LINE = 8


class Absent:
    """Counts why values were absent while a batch was decoded."""

    def __init__(self) -> None:
        self.unknown_switch_frames = 0
        self.unavailable_values = 0


def padded(rows: int, n: int) -> NDArray[np.float64]:
    """Return an empty (rows, n) array whose rows do not all fall into the same cache sets."""
    width = n + _LINE if n and (n * 8) % _PAGE == 0 else n
    return np.empty((rows, width))[:, :n]


def decode_node(
    node: Node,
    data: NDArray[np.uint8],
    length: NDArray[np.integer],
    out: NDArray[np.float64],
    absent: Absent | None = None,
) -> None:
    """Decode what the node and its branches lead to into ``out``.

    Shapes: data (n, stride) C-contiguous; length (n,); out (k, n), its rows the plan's places.
    Gaps:   where a branch does not lead, ``out`` keeps what it held: fill it with NaN beforehand.
    """
    _decode_block(node.block, data, length, out, absent or Absent())
    for branch in node.branches:
        _follow(branch, data, length, out, absent)


def _follow(
    branch: Branch,
    data: NDArray[np.uint8],
    length: NDArray[np.integer],
    out: NDArray[np.float64],
    absent: Absent | None,
) -> None:
    values = _switch_values(branch.switch, data)
    place = np.searchsorted(branch.low, values, side="right") - 1
    known = (place >= 0) & (values <= branch.high[place])
    readable = length >= branch.switch.needed_bytes
    if absent is not None:
        absent.unknown_switch_frames += int(np.count_nonzero(readable & ~known))
    target = np.where(known & readable, branch.target[place], -1)
    for index, node in enumerate(branch.nodes):
        rows = np.flatnonzero(target == index)
        if len(rows) == len(target):
            decode_node(node, data, length, out, absent)
        elif len(rows):
            page = np.full((len(out), len(rows)), np.nan)
            decode_node(node, data[rows], length[rows], page, absent)
            places = _all_places(node)
            out[places[:, None], rows] = page[places]


def _all_places(node: Node) -> NDArray[np.intp]:
    """Return every row of the result that a node or its branches may write."""
    found = [node.block.places, np.array([p for p, _, _ in node.block.wide], np.intp)]
    found += [_all_places(n) for branch in node.branches for n in branch.nodes]
    return np.concatenate(found)


def _switch_values(switch: SignalDef, data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the values of a switch as whole numbers; those beyond 63 bits are one, unknown."""
    raw = raw_integers(data, switch)
    if switch.scale != 1.0 or switch.offset != 0.0:
        scaled: NDArray[np.float64] = np.trunc(raw * switch.scale + switch.offset)
        return scaled.astype(np.int64)
    largest = np.array(2**63 - 1, raw.dtype)
    return np.minimum(raw, largest).astype(np.int64)


def _decode_block(
    block: Block,
    data: NDArray[np.uint8],
    length: NDArray[np.integer],
    out: NDArray[np.float64],
    absent: Absent,
) -> None:
    _decode_wide(block, data, length, out, absent)
    n, k = len(data), len(block.places)
    if not k or not n:
        return
    words = [window_words(data, lane.first_byte, big=lane.big) for lane in block.lanes]
    short = int(length.min()) < block.longest
    step = max(256, _CHUNK_BYTES // (8 * k))
    for start in range(0, n, step):
        chunk = slice(start, min(start + step, n))
        target = out[:, chunk] if block.in_order else np.empty((k, chunk.stop - start))
        unavailable = _scale_block(block, [w[chunk] for w in words], target)
        if unavailable is not None:
            unavailable &= block.needed_bytes <= length[chunk]
            absent.unavailable_values += int(np.count_nonzero(unavailable))
            target[unavailable] = np.nan
        if short:
            target[block.needed_bytes > length[chunk]] = np.nan
        if not block.in_order:
            out[block.places, chunk] = target


def _decode_wide(
    block: Block,
    data: NDArray[np.uint8],
    length: NDArray[np.integer],
    out: NDArray[np.float64],
    absent: Absent,
) -> None:
    """Decode floats and the fields that are too wide to be taken together."""
    for place, signal, limit in block.wide:
        out[place] = decode_exact(data, signal)
        here = np.asarray(length >= signal.needed_bytes)
        if limit is not None and signal.length <= WORD_BITS:
            unavailable = here & (raw_bits(data, signal) >= np.uint64(limit))
            absent.unavailable_values += int(np.count_nonzero(unavailable))
            here = here & ~unavailable
        out[place, ~here] = np.nan


def _scale_block(
    block: Block, words: Sequence[NDArray[np.uint64]], out: NDArray[np.float64]
) -> NDArray[np.bool_] | None:
    """Cut the fields out of their words and turn them into values; `dbc.decoding.plan` says how.

    Returns where a J1939 signal says that it has no value; None for other messages.
    """
    bits = out.view(np.uint64)
    for lane, word in zip(block.lanes, words, strict=True):
        part = slice(lane.start, lane.stop)
        np.right_shift(word, block.shift[part], out=bits[part])
    bits &= block.mask
    unavailable = None if block.limit is None else bits >= block.limit
    bits ^= block.flip
    out -= block.bias
    if block.scale is not None:
        out *= block.scale
    if block.offset is not None:
        out += block.offset
    return unavailable
