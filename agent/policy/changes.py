"""What an owner changed: the difference between two sets of rules, in words for log and audit."""

from collections.abc import Iterable, Mapping

import msgspec

from agent.policy.rules import AnalystRule, Policy, SignalRule

__all__ = ["changes"]

_NAMED = ("signals", "analysts")
"""Lists of rules that have names; the other keys stand for themselves."""


def changes(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return a line for each rule that was added, removed or changed; nothing where none was."""
    found = _named("signal rule", before.signals, after.signals)
    found += _named("analyst rule", before.analysts or (), after.analysts or ())
    if (before.analysts is None) != (after.analysts is None):
        whose = "every trusted analyst" if after.analysts is None else "the analysts named"
        found.append(f"analysts: orders of {whose} are taken")
    plain = [key for key in Policy.__struct_fields__ if key not in _NAMED]
    return (*found, *_differences(before, after, plain))


def _named(
    kind: str,
    before: Iterable[SignalRule] | Iterable[AnalystRule],
    after: Iterable[SignalRule] | Iterable[AnalystRule],
) -> list[str]:
    old: Mapping[str, SignalRule | AnalystRule] = {r.rule: r for r in before}
    new: Mapping[str, SignalRule | AnalystRule] = {r.rule: r for r in after}
    found = [f"{kind} {name} removed" for name in old if name not in new]
    for name, rule in new.items():
        if name not in old:
            found.append(f"{kind} {name} added: {_words(rule)}")
        elif rule != old[name]:
            told = _differences(old[name], rule, rule.__struct_fields__)
            found.append(f"{kind} {name} changed: {'; '.join(told)}")
    return found


def _differences(before: msgspec.Struct, after: msgspec.Struct, fields: Iterable[str]) -> list[str]:
    return [
        f"{_key(after, field)} {_words(getattr(after, field))}, "
        f"was {_words(getattr(before, field))}"
        for field in fields
        if getattr(before, field) != getattr(after, field)
    ]


def _key(rule: msgspec.Struct, field: str) -> str:
    """Return the name that the file has for a field."""
    written = rule.__struct_encode_fields__
    return written[rule.__struct_fields__.index(field)]


def _words(value: object) -> str:
    if value is None or value == ():
        return "not set"
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        set_keys = {k: v for k, v in plain.items() if k != "rule" and v not in (None, (), [])}
        return msgspec.json.encode(set_keys).decode()
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
