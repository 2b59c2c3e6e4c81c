"""Find the messages of a KCD or SYM file that cannot be read, so that the others still can be.

The files are read by cantools, whole or not at all. A file that it refuses is tried without its
messages, and then with ever smaller parts of them, until those are left that it refuses alone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Finding", "lines_of_messages", "sound_part"]

Finding = tuple[int, str]
"""A line of the file, and what was found there and done about it."""

_MESSAGES = {
    "kcd": re.compile(r"<Message\b[^>]*?(?:/>|>.*?</Message\s*>)", re.DOTALL),
    "sym": re.compile(r"^\[[^\]\n]*\][^\n]*(?:\n(?![ \t]*[\[{])[^\n]*)*", re.MULTILINE),
}
_NAMES = {"kcd": re.compile(r'\bname="([^"]*)"'), "sym": re.compile(r'\["?([^\]"\n]*)')}
_MOST_TRIES = 300
_TOO_LONG = "is more than 11 bits"


@dataclass(frozen=True, slots=True)
class _Block:
    """A message as it stands in the file: all its pages, for SYM has a block for each."""

    start: int
    stop: int
    name: str
    text: str


def sound_part(
    text: str, kind: str, cause: Callable[[str], str]
) -> tuple[str, list[Finding]] | None:
    """Return the text of a refused file without the messages that are to blame, and their lines.

    ``cause`` reads a text and says why it cannot be read; empty, if it can be. None: what is wrong
    lies elsewhere, or in too many places to find them.
    """
    search = _Search(text, _blocks(text, kind), cause)
    if not search.blocks or cause(search.with_blocks([])):
        return None
    kept = search.sound(search.blocks)
    if search.tries > _MOST_TRIES or not kept:
        return None
    return search.with_blocks(kept), sorted(search.findings)


def lines_of_messages(text: str, kind: str) -> dict[str, int]:
    """Return the line on which each message begins, by its name."""
    return {block.name: _line(text, block) for block in reversed(_blocks(text, kind))}


def _line(text: str, block: _Block) -> int:
    return text.count("\n", 0, block.start) + 1


def _blocks(text: str, kind: str) -> list[_Block]:
    blocks: list[_Block] = []
    for found in _MESSAGES[kind].finditer(text):
        name = named[1] if (named := _NAMES[kind].search(found[0])) else ""
        start = found.start()
        if kind == "sym" and blocks and blocks[-1].name == name:
            start = blocks.pop().start
        blocks.append(_Block(start, found.end(), name, text[start : found.end()]))
    return blocks


class _Search:
    """Looks for the blocks to blame by halving, and remembers what it found."""

    def __init__(self, text: str, blocks: list[_Block], cause: Callable[[str], str]) -> None:
        self.blocks = blocks
        self.findings: list[Finding] = []
        self.tries = 0
        self._text, self._cause = text, cause

    def with_blocks(self, blocks: Sequence[_Block]) -> str:
        """Return the file with these of its messages only."""
        kept = {block.start: block.text for block in blocks}
        parts, at = [], 0
        for block in self.blocks:
            parts += [self._text[at : block.start], kept.get(block.start, "")]
            at = block.stop
        return "".join([*parts, self._text[at:]])

    def sound(self, blocks: list[_Block]) -> list[_Block]:
        """Return the blocks that can be read, and note the others."""
        self.tries += 1
        if self.tries > _MOST_TRIES:
            return []
        cause = self._cause(self.with_blocks(blocks))
        if not cause:
            return blocks
        if len(blocks) > 1:
            half = len(blocks) // 2
            return self.sound(blocks[:half]) + self.sound(blocks[half:])
        (block,) = blocks
        line = _line(self._text, block)
        longer = _as_29_bit(block) if _TOO_LONG in cause else None
        if longer is not None and not self._cause(self.with_blocks([longer])):
            self.findings.append((line, f"{cause}; taken as 29-bit id"))
            return [longer]
        self.findings.append((line, f"message {block.name} cannot be read ({cause}); dropped"))
        return []


def _as_29_bit(block: _Block) -> _Block | None:
    """Return a KCD message with the mark of an extended identifier; None, if it is no KCD."""
    if not block.text.startswith("<Message"):
        return None
    tag, rest = block.text[: len("<Message")], block.text[len("<Message") :]
    head, close, body = rest.partition(">")
    head = re.sub(r'\bformat="[^"]*"', "", head)
    return _Block(
        block.start, block.stop, block.name, f'{tag} format="extended"{head}{close}{body}'
    )
