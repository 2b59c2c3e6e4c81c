"""Load databases and a mapping from files into one catalog, repairing what is damaged."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from dbc.cache import DatabaseCache, ParsedDatabase
from dbc.catalog import Catalog
from dbc.mapping import MappedSignal, parse_mapping
from dbc.model import DatabaseRef, MessageDef, Repair
from user_lib.contract.digest import sha256
from user_lib.contract.errors import DatabaseError

__all__ = ["load"]

_log = logging.getLogger(__name__)
_SHOWN = 20


def load(
    refs: Sequence[DatabaseRef],
    *,
    mapping: Path | None = None,
    strict: bool = False,
    cache: Path | None = None,
    logged: bool = True,
) -> Catalog:
    """Load any number of DBC, KCD and SYM files and, optionally, a VSS mapping.

    Local damage is repaired, kept in ``Catalog.repairs`` and logged once, unless the caller, who
    shows it otherwise, says not ``logged``. Where two files, or two messages of one file, give the
    same id on the same channel, the later one counts. ``cache`` is a folder for what was read, so
    that the same file need not be read again the next time.

    Raises: DatabaseError, if a file cannot be read, holds no message that can be, or - if
            ``strict`` - needed any repair; the message names file, line and cause.
    """
    digests: list[str] = []
    messages: list[MessageDef] = []
    repairs: list[Repair] = []
    kept = None if cache is None else DatabaseCache(cache)
    for ref in refs:
        content = _read(ref.path)
        parsed = _parsed(content, ref.path, kept)
        repairs += parsed.repairs
        messages += [
            msgspec.structs.replace(m, channel=ref.channel, j1939=ref.j1939)
            for m in parsed.messages
        ]
        digests.append(f"{sha256(content).hex()} {ref.channel!r} {ref.j1939}")
    mapped: tuple[MappedSignal, ...] = ()
    if mapping is not None:
        content = _read(mapping)
        parsed_mapping = parse_mapping(content, mapping.name)
        mapped = parsed_mapping.signals
        repairs += parsed_mapping.repairs
        _tell_of_commands(mapping, parsed_mapping.to_bus)
        digests.append(f"{sha256(content).hex()} mapping")
    distinct, repeated = _distinct(messages)
    repairs += repeated
    catalog = Catalog(
        messages=distinct, hash=sha256("\n".join(sorted(digests)).encode()).hex(), mapping=mapped
    )
    if mapping is not None:
        repairs += _unknown_values(catalog, mapping.name)
    _report(repairs, strict=strict, logged=logged)
    if catalog.unmapped:
        _log.warning(
            "%d VSS paths have no signal in the databases: %s",
            len(catalog.unmapped),
            ", ".join(catalog.unmapped[:_SHOWN]),
        )
    return replace(catalog, repairs=tuple(repairs))


def _tell_of_commands(mapping: Path, paths: Sequence[str]) -> None:
    if paths:
        _log.warning(
            "%s: vss2dbc of %d paths is ignored, for nothing is ever written to a bus: %s",
            mapping.name,
            len(paths),
            ", ".join(paths[:_SHOWN]),
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read: {error.strerror or error}") from error


def _parsed(content: bytes, path: Path, kept: DatabaseCache | None) -> ParsedDatabase:
    """Return what a file says, from where it is kept if it is there."""
    known = None if kept is None else kept.get(content, path.name)
    if known is not None:
        return known
    parsed = ParsedDatabase(*_parse(content, path))
    if kept is not None:
        kept.put(content, path.name, parsed)
    return parsed


def _parse(content: bytes, path: Path) -> tuple[tuple[MessageDef, ...], tuple[Repair, ...]]:
    # A database that is cached needs no reader: an agent's second start is without.
    from dbc.parsing.dbcfile import parse_dbc
    from dbc.parsing.foreign import FORMATS, parse_foreign
    from dbc.parsing.statements import decode_text

    kind = path.suffix.casefold().lstrip(".")
    text = decode_text(content)
    if kind in FORMATS:
        return parse_foreign(text, path.name, kind)
    return parse_dbc(text, path.name)


def _distinct(messages: Iterable[MessageDef]) -> tuple[tuple[MessageDef, ...], list[Repair]]:
    """Keep one message an id and channel, the last, and give each a name of its own."""
    by_id: dict[tuple[str | None, int, bool, bool], MessageDef] = {}
    repairs: list[Repair] = []
    for message in messages:
        key = (message.channel, message.can_id, message.extended, message.j1939)
        earlier = by_id.pop(key, None)
        if earlier is not None and earlier.signals != message.signals:
            what = f"message {message.name} has the id of {earlier.name} ({earlier.database}), "
            repairs.append(Repair(message.database, 0, what + "which is not used"))
        by_id[key] = message
    taken: set[tuple[str | None, str]] = set()
    named = []
    for message in by_id.values():
        if (message.channel, message.name) in taken:
            renamed = f"{message.name}_{message.can_id:X}"
            what = f"a second message {message.name} on one channel; renamed {renamed}"
            repairs.append(Repair(message.database, 0, what))
            message = msgspec.structs.replace(message, name=renamed)
        taken.add((message.channel, message.name))
        named.append(message)
    return tuple(named), repairs


def _unknown_values(catalog: Catalog, file: str) -> list[Repair]:
    return [
        Repair(file, 0, f"{mapped.path}: {signal.name} has no value named {value!r}; row dropped")
        for mapped, signal in catalog.mapped_signals()
        for value in mapped.unknown_values(signal)
    ]


def _report(repairs: Sequence[Repair], *, strict: bool, logged: bool) -> None:
    if not repairs:
        return
    shown = "\n".join(f"  {repair}" for repair in repairs[:_SHOWN])
    rest = f"\n  and {len(repairs) - _SHOWN} more" if len(repairs) > _SHOWN else ""
    if strict:
        raise DatabaseError(f"the databases need {len(repairs)} repairs:\n{shown}{rest}")
    if logged:
        _log.warning("databases loaded with %d repairs:\n%s%s", len(repairs), shown, rest)
