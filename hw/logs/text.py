"""Blocks of text as numpy sees them: bytes, words, lines, and the rows that need a second look."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.logs.reading import Reading
from user_lib.contract.frames import FrameBatch

__all__ = ["PAD_BYTES", "Lines", "Positions", "Text", "Words", "in_pieces", "reread"]

Words = NDArray[np.uint64]
Positions = NDArray[np.int64]

PAD_BYTES = 24
"""Zero bytes around a block, so that a word next to its ends can be loaded."""


class Text:
    """A block of text, padded, as bytes, as 16-bit pairs and as 64-bit words at any position."""

    def __init__(self, block: bytes) -> None:
        padded = bytes(PAD_BYTES) + block + bytes(PAD_BYTES)
        self.raw = padded
        self.bytes = np.frombuffer(padded, np.uint8)
        self._pairs: NDArray[np.uint16] = np.ndarray(
            (len(padded) - 1,), "<u2", padded, strides=(1,)
        )
        self._words: Words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))

    def word(self, position: Positions) -> Words:
        """Return the eight characters from each position on."""
        return self._words[position]

    def pair(self, position: Positions) -> NDArray[np.uint16]:
        """Return the two characters at each position."""
        return self._pairs[position]

    def find(self, character: bytes) -> Positions:
        """Return every position of one character."""
        return np.flatnonzero(self.bytes == character[0])


@dataclass(frozen=True)
class Lines:
    """The lines of a block that are not empty: where each begins and ends, and its number.

    Shapes: ``start``, ``stop`` and ``number`` (n,); ``stop`` is past the last character.
    """

    text: Text
    start: Positions
    stop: Positions
    number: Positions
    count: int
    """Lines of the block, the empty ones included."""

    @classmethod
    def split(cls, block: bytes, lines_before: int) -> "Lines":
        r"""Split a block of whole lines, each ended by ``\n`` or ``\r\n``."""
        text = Text(block)
        newline = text.find(b"\n")
        start = np.empty(len(newline), np.int64)
        start[:1] = PAD_BYTES
        start[1:] = newline[:-1] + 1
        stop = newline - (text.bytes[newline - 1] == ord("\r"))
        filled = stop > start
        number = np.flatnonzero(filled) + 1 + lines_before
        return cls(text, start[filled], stop[filled], number, len(newline))

    def __len__(self) -> int:
        return len(self.start)

    def line(self, row: int) -> bytes:
        """Return one line's characters."""
        return self.text.raw[self.start[row] : self.stop[row]]

    def first(self, character: bytes, after: Positions) -> Positions:
        """Return each line's first place of a character from ``after`` on; else the line's end.

        When every line holds it exactly once, the n-th found belongs to the n-th line.
        """
        found = self.text.find(character)
        if len(found) == len(after) and ((found >= after) & (found < self.stop)).all():
            return found
        found = np.append(found, len(self.text.bytes))
        return np.minimum(found[np.searchsorted(found, after)], self.stop)


def reread(
    lines: Lines,
    batch: FrameBatch,
    ok: NDArray[np.bool_],
    reading: Reading,
    read_line: Callable[[bytes], FrameBatch | None],
) -> FrameBatch:
    """Read alone the lines that are not ``ok``; report and drop those that hold no frame at all.

    ``batch`` has a row for each line. The order of the lines is kept.
    """
    if ok.all():
        return batch
    rows = [np.flatnonzero(ok)]
    parts = [batch.take(ok)]
    for row in np.flatnonzero(~ok).tolist():
        line = lines.line(row)
        frame = read_line(line)
        if frame is not None:
            parts.append(frame)
            rows.append(np.array([row]))
        elif line.strip():
            reading.damage.report(f"line {lines.number[row]}", line)
    return FrameBatch.concatenate(parts).take(np.argsort(np.concatenate(rows)))


def in_pieces(batch: FrameBatch, most: int) -> list[FrameBatch]:
    """Cut a batch into batches of at most ``most`` frames."""
    return [batch.take(slice(i, i + most)) for i in range(0, len(batch), most)]
