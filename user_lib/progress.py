"""One line on stderr that says how far long work has come; plain lines where no one watches."""

import sys
from typing import TextIO

from user_lib.contract.escaping import escaped

__all__ = ["Progress"]

WIDTH = 110


class Progress:
    """Shows the latest state of long work: rewritten in place on a terminal, else on change."""

    def __init__(self, *, shown: bool, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = shown
        self._in_place = shown and self._stream.isatty()
        self._last = ""

    def say(self, text: str) -> None:
        """Show ``text`` instead of what was shown before."""
        text = escaped(text)
        text = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
        if not self._shown or text == self._last:
            return
        if self._in_place:
            self._stream.write(f"\r{text.ljust(len(self._last))}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
        self._last = text

    def close(self) -> None:
        """Leave the last state standing on a line of its own."""
        if self._in_place and self._last:
            self._stream.write("\n")
            self._stream.flush()
