"""Cut a DBC file into statements, keeping each one's line, whatever damage lies between them.

A DBC has no error recovery of its own: one stray quote and a strict parser reads nothing. Here a
statement that does not read as it should is dropped and named, and reading goes on at the next line
that begins with a keyword.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Statement", "decode_text", "statements"]

_INT = r"\d{1,18}"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NAME = r'[^\s:;|@"(),\[\]]+'
_TEXT = r'(?:\\"|[^"])*+'  # possessive: a lost quote must not cost exponential time
_PAIRS = rf'(?:\s*{_NUMBER}\s*"{_TEXT}")*+'
_VALUE = rf'(?P<value>{_NUMBER}|"{_TEXT}")'
_END = r"\s*(?P<end>;|\Z)"

_PATTERNS = {
    "BO_": (
        rf"BO_\s+(?P<id>{_INT})\s+(?P<name>{_NAME})\s*"
        rf":\s*(?P<length>{_INT})[ \t]*(?P<sender>[^\s;]*)"
    ),
    "SG_": (
        rf"SG_\s+(?P<name>{_NAME})(?:\s+(?P<mux>M|m(?:{_INT})?M?))?\s*"
        rf":\s*(?P<start>{_INT})\s*\|\s*(?P<length>{_INT})\s*@\s*(?P<order>[01])\s*(?P<sign>[-+])"
        rf"\s*\(\s*(?P<scale>{_NUMBER})\s*,\s*(?P<offset>{_NUMBER})\s*\)"
        rf"\s*\[\s*(?P<minimum>{_NUMBER})\s*\|\s*(?P<maximum>{_NUMBER})\s*\]"
        rf'\s*"(?P<unit>{_TEXT})"(?P<receivers>(?:[^\n;]*,[ \t]*\n)*+[^\n;]*)'
    ),
    "VAL_": (
        rf"VAL_\s+(?:(?P<id>{_INT})\s+)?(?P<name>{_NAME})"
        rf"(?:(?P<pairs>{_PAIRS})|\s+(?P<table>\w+)){_END}"
    ),
    "VAL_TABLE_": rf"VAL_TABLE_\s+(?P<name>{_NAME})(?P<pairs>{_PAIRS}){_END}",
    "SIG_VALTYPE_": (
        rf"SIG_VALTYPE_\s+(?P<id>{_INT})\s+(?P<name>{_NAME})\s*:?\s*(?P<type>\d){_END}"
    ),
    "SG_MUL_VAL_": (
        rf"SG_MUL_VAL_\s+(?P<id>{_INT})\s+(?P<name>{_NAME})\s+(?P<switch>{_NAME})"
        rf"\s+(?P<ranges>{_INT}\s*-\s*{_INT}(?:\s*,\s*{_INT}\s*-\s*{_INT})*){_END}"
    ),
    "BA_DEF_": (
        rf'BA_DEF_\s+(?:(?P<kind>BO_|SG_|BU_|EV_)\s+)?"(?P<name>{_TEXT})"\s*(?P<type>\w+)'
        rf'(?P<values>[^;"]*+(?:"{_TEXT}"[^;"]*+)*+){_END}'
    ),
    "BA_DEF_DEF_": rf'BA_DEF_DEF_\s+"(?P<name>{_TEXT})"\s*{_VALUE}{_END}',
    "BA_": (
        rf'BA_\s+"(?P<name>{_TEXT})"'
        rf"(?:\s*(?:BO_\s+(?P<message>{_INT})|SG_\s+(?P<owner>{_INT})\s+(?P<signal>{_NAME})"
        rf"|(?:BU_|EV_)\s+(?P<other>{_NAME})))?\s*{_VALUE}{_END}"
    ),
    "CM_": (
        rf"CM_\s*(?:(?:SG_\s+\d+\s+{_NAME}|BO_\s+\d+|(?:EV_|BU_)\s+{_NAME})\s*)?"
        rf'"(?P<text>{_TEXT})"{_END}'
    ),
}
"""How a statement that we use must read. The others are skipped up to their semicolon."""

_READ = {keyword: re.compile(pattern) for keyword, pattern in _PATTERNS.items()}

_SKIPPED = (
    *("BO_TX_BU_", "BU_SG_REL_", "BU_EV_REL_", "BU_BO_REL_", "BA_DEF_SGTYPE_", "BA_DEF_DEF_REL_"),
    *("BA_DEF_REL_", "BA_SGTYPE_", "BA_REL_", "CAT_DEF_", "CAT_", "ENVVAR_DATA_", "EV_DATA_"),
    *("EV_", "FILTER", "SGTYPE_VAL_", "SGTYPE_", "SIGTYPE_VALTYPE_", "SIG_TYPE_REF_", "SIG_GROUP_"),
)
_SECTIONS = ("VERSION", "NS_DESC_", "NS_", "BS_", "BU_")
_KEYWORDS = sorted([*_READ, *_SKIPPED, *_SECTIONS], key=len, reverse=True)
_KEYWORD = re.compile(rf"[ \t]*(?P<keyword>{'|'.join(_KEYWORDS)})(?![A-Za-z0-9_])")
_SEMICOLON = re.compile(r'(?:[^";]|"(?:\\"|[^"])*+")*+;')
_BLANK = re.compile(r"(?:\s+|//[^\n]*|;)+")
_WORDS = re.compile(r"[\w \t,]*(?=\n|\Z)")
_NEXT = re.compile(rf"\n[ \t]*(?:{'|'.join([*_READ, *_SKIPPED])})\s+[\w\"]")
"""Where another statement begins at the latest: a string that reaches past it has lost its end."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, or what was found in the place of one.

    ``fields`` holds its parts by name; None, if it could not be read: then ``text`` is its line.
    """

    keyword: str
    line: int
    fields: dict[str, str | None] | None
    text: str = ""


def decode_text(content: bytes) -> str:
    """Return the text of a database file: UTF-8, and cp1252 for the lines that are not.

    Never raises: the few bytes that neither knows become the replacement character.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(_decode_line(line) for line in content.split(b"\n"))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a DBC in order; those of no use to decoding are left out.

    Damage is yielded in place, with ``fields`` None; a run of unreadable lines counts as one.
    """
    newlines = [m.start() for m in re.finditer("\n", text)]
    position, section, broken_until = 0, "", -1
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        line = bisect_right(newlines, position - 1) + 1
        found = _KEYWORD.match(text, position)
        if found is None or (section == "NS_" and _alone_on_its_line(text, found.end())):
            end = _end_of_line(text, position)
            if not (section and _WORDS.match(text, position)) and line > broken_until + 1:
                yield Statement("", line, None, text[position:end].strip())
            broken_until = line if not section else -1
            position = end
            continue
        keyword = found["keyword"]
        section = keyword if keyword in ("NS_", "BU_") else ""
        statement, position = _read(text, keyword, found.start("keyword"), line)
        if statement is not None:
            yield statement


def _read(text: str, keyword: str, start: int, line: int) -> tuple[Statement | None, int]:
    """Read one statement; return it, if it matters, and where the next one begins."""
    if keyword in _SECTIONS:
        end = _end_of_line(text, start)
        return Statement(keyword, line, {"text": text[start:end]}), end
    following = _NEXT.search(text, start)
    limit = following.start() if following else len(text)
    if keyword in _READ:
        read = _READ[keyword].match(text, start, limit)
        if read is not None:
            return Statement(keyword, line, read.groupdict(), ""), read.end()
    elif skipped := _SEMICOLON.match(text, start, limit):
        return None, skipped.end()
    end = _end_of_damage(text, start)
    return Statement(keyword, line, None, text[start : _end_of_line(text, start)].strip()), end


def _alone_on_its_line(text: str, position: int) -> bool:
    return not text[position : _end_of_line(text, position)].strip()


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _end_of_damage(text: str, position: int) -> int:
    """Return the end of the damaged statement: before the next line that begins with a keyword."""
    end = _end_of_line(text, position)
    while end < len(text) and not _KEYWORD.match(text, end + 1):
        end = _end_of_line(text, end + 1)
    return end
