"""Names of signals that are no names in Python, such as ``@bus.can0.load``, inside expressions.

``@`` and ``:`` mean nothing in the language of expressions, so whatever has one of them is a name:
``@message.Motion.gap_ms``, ``can0:Motion.Speed``, ``EEC1@00.EngineSpeed``. Its parts are letters,
digits and underscores.
"""

import re

__all__ = ["stand_ins"]

_TEXT_OR_NAME = re.compile(
    r"""
    '[^'\\]*(?:\\.[^'\\]*)*' | "[^"\\]*(?:\\.[^"\\]*)*"     # a text: left as it is
    | (?<![\w.@:]) (?P<name>
        (?:\w*:)?                                           # a channel
        @?\w+(?:\.\w+)*
        (?:@[0-9A-Fa-f]{2}(?:\.\w+)+)?                      # a J1939 source address
      ) (?![\w@:])
    """,
    re.VERBOSE | re.DOTALL,
)


def stand_ins(text: str) -> tuple[str, dict[str, str]]:
    """Put a name of Python's in the place of each that is none; return the text and which is which.

    The stand-ins occur nowhere in the text otherwise.
    """
    if "@" not in text and ":" not in text:
        return text, {}
    prefix = "name_"
    while prefix in text:
        prefix += "_"
    by_name: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None or ("@" not in name and ":" not in name):
            return match[0]
        return by_name.setdefault(name, f"{prefix}{len(by_name)}")

    replaced = _TEXT_OR_NAME.sub(replace, text)
    return replaced, {stand_in: name for name, stand_in in by_name.items()}
