"""What a check found, and the screen that shows it."""

import textwrap
from collections.abc import Sequence
from typing import Literal

import msgspec

from user_lib.contract.escaping import LINES, escaped

__all__ = ["Finding", "Level", "screen"]

Level = Literal["ok", "warn", "fail"]

WIDTH = 100
_MARKS: dict[Level, str] = {"ok": " ok ", "warn": "WARN", "fail": "FAIL"}
_INDENT = len("FAIL  ") + 12


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: ``fix`` is what to do when it is not ok."""

    name: str
    level: Level
    found: str
    fix: str = ""


def screen(findings: Sequence[Finding]) -> str:
    """Return the findings as lines of at most `WIDTH` columns, each fix below its finding."""
    lines: list[str] = []
    for finding in findings:
        first = f"{_MARKS[finding.level]}  {finding.name:<10}  "
        lines += _wrapped(finding.found, first)
        if finding.fix:
            lines += _wrapped(finding.fix, " " * _INDENT + "fix: ")
    bad = sum(f.level == "fail" for f in findings)
    doubtful = sum(f.level == "warn" for f in findings)
    verdict = "this vehicle is fit" if not bad else f"{bad} things keep this vehicle from its work"
    if bad == 1:
        verdict = "one thing keeps this vehicle from its work"
    lines.append("")
    lines.append(verdict + (f"; {doubtful} to look at" if doubtful else ""))
    return "\n".join(lines)


def _wrapped(text: str, first: str) -> list[str]:
    rest = " " * (_INDENT if first.strip() != "fix:" else _INDENT + len("fix: "))
    words = escaped(text, keep=LINES)  # which are wrapped as blanks
    return textwrap.wrap(words, WIDTH, initial_indent=first, subsequent_indent=rest)
