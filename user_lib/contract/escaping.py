r"""Text that others wrote, on its way to a terminal: what would steer it is written out instead.

A vehicle's tags, a job's name, a log's channels, an exception's words cross from one person's
machine to another's. Whatever is no visible character stays a text there: ``\x1b[2J`` clears
nothing.
"""

import unicodedata

__all__ = ["LINES", "escaped", "steers"]

LINES = "\n\t"
"""What a text of several lines may keep."""
_STEERING = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
"""Unicode's categories of controls, formats (bidi among them), separators, half characters."""


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return the text with all that steers a terminal, but what is in ``keep``, written out.

    >>> print(escaped("a\x1b[2J\u202eb\n"))
    a\x1b[2J\u202eb\x0a
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if c not in keep and steers(c) else c for c in text)


def steers(text: str) -> bool:
    """Whether there is a character in it that shows nothing, and may steer what shows the rest."""
    if text.isprintable():
        return False
    return any(unicodedata.category(c) in _STEERING for c in text)


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
