"""What the grammar expects at a key, in the words of YAML and JSON instead of msgspec's."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["in_words"]

_MISSING = re.compile(r"missing required field `(?P<key>[^`]*)`")
_ALLOWED: Mapping[str, str] = {
    "signals": "a list of names such as [Vehicle.Speed], at least one, each once",
    "onboard": "a method's name such as mean",
    "window": "{samples: N} or {seconds: S}",
    "vehicles": "all, a list of ids such as [car-1], {fraction: 0.5}, {where: ...} or {limit: 100}",
    "iterations": "a whole number from 1 to 10000000, or forever",
    "when": 'a condition such as "Vehicle.Speed > 100", or {condition: ..., before_s: 5}',
    "when.condition": 'such as "Vehicle.Speed > 100"',
    "onboard_params": "a mapping such as {q: [0.5]}",
    "offboard_params": "a mapping of names and values",
    "limits": "a mapping such as {cpu_s: 2, memory_mb: 256, wall_s: 10}",
    "start": "now, or a time such as 2026-05-01T08:00:00Z",
    "until": 'a condition such as "loss < 0.01"',
}
"""What a key may hold, where its types alone would not say it."""
_KINDS: Mapping[str, str] = {
    "array": "a list",
    "object": "a mapping",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_STEPS = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def in_words(message: str, spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return the path of the key that a message of msgspec is about, and what to do about it."""
    message, _, path = message.partition(" - at `$")
    path = path.strip("`.")
    if missing := _MISSING.search(message):
        path = f"{path}.{missing['key']}".strip(".")
        return path, f"is required: {_ALLOWED.get(path, 'see oodida schema')}"
    return path, f"expected {_expected(message, path)}{_found(spec, path)}"


def _expected(message: str, path: str) -> str:
    if path in _ALLOWED:
        return _ALLOWED[path]
    said = message.replace("`", "").partition(", got ")[0].removeprefix("Expected ")
    said = re.sub(r"\w+", lambda word: _KINDS.get(word[0], word[0]), said)
    return said.replace(" | ", " or ")


def _found(spec: Mapping[str, Any], path: str) -> str:
    """Quote the value at a path such as ``window.samples`` or ``signals[0]``."""
    value: Any = spec
    for key, index in _STEPS.findall(path):
        try:
            value = value[int(index)] if index else value[key]
        except (LookupError, TypeError):
            return ""
    return f"; found {value!r:.80}"
