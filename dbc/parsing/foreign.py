"""KCD and SYM databases, read by cantools and turned into our own definitions.

cantools is imported when such a file is met and not before: a DBC needs nothing of it.
"""

from typing import Any

from dbc.model import MessageDef, Repair, SignalDef
from dbc.parsing.layout import repaired_signals
from dbc.parsing.salvage import lines_of_messages, sound_part
from user_lib.contract.errors import DatabaseError

__all__ = ["FORMATS", "parse_foreign"]

FORMATS = ("kcd", "sym")


def parse_foreign(
    text: str, file: str, kind: str
) -> tuple[tuple[MessageDef, ...], tuple[Repair, ...]]:
    """Return the messages of a KCD or SYM file and what was repaired in them.

    A message that cantools cannot read is dropped and named.

    Raises: DatabaseError, if cantools cannot read the rest either; the message holds its words.
    """
    database, cause = _load(text, kind)
    repairs: list[Repair] = []
    sound = sound_part(text, kind, lambda part: _load(part, kind)[1]) if cause else None
    if sound is not None:
        database, cause = _load(sound[0], kind)
        repairs += [Repair(file, line, what) for line, what in sound[1]]
    if cause:
        raise DatabaseError(f"{file} cannot be read as {kind.upper()}: {cause}")
    messages, line_of = [], lines_of_messages(text, kind)
    for message in getattr(database, "messages", ()):
        signals = [_signal(s) for s in message.signals]
        kept, found = repaired_signals(
            message.name, message.length, signals, [line_of.get(message.name, 0)] * len(signals)
        )
        repairs += [Repair(file, line, what) for line, what in found]
        messages.append(
            MessageDef(
                name=message.name,
                can_id=message.frame_id,
                extended=message.is_extended_frame,
                length=message.length,
                signals=kept,
                database=file,
                sender=message.senders[0] if message.senders else "",
                fd=message.is_fd,
                cycle_time_ms=message.cycle_time,
            )
        )
    return tuple(messages), tuple(repairs)


def _load(text: str, kind: str) -> tuple[Any, str]:
    """Return the database, or why there is none."""
    import cantools

    try:
        return cantools.database.load_string(text, database_format=kind, strict=False), ""
    except Exception as error:  # noqa: BLE001 - cantools lets any error of a damaged file through
        cause = (
            " ".join(str(error).split()).removeprefix(f"{kind.upper()}: ").strip('"').rstrip(".")
        )
        return None, cause or type(error).__name__


def _signal(signal: Any) -> SignalDef:  # noqa: ANN401 - cantools is untyped here
    ids = sorted(signal.multiplexer_ids or ())
    return SignalDef(
        name=signal.name,
        start=signal.start,
        length=signal.length,
        big_endian=signal.byte_order == "big_endian",
        signed=signal.is_signed,
        is_float=signal.conversion.is_float,
        scale=float(signal.scale),
        offset=float(signal.offset),
        unit=signal.unit or "",
        minimum=None if signal.minimum is None else float(signal.minimum),
        maximum=None if signal.maximum is None else float(signal.maximum),
        choices={int(raw): str(name) for raw, name in (signal.choices or {}).items()},
        is_switch=signal.is_multiplexer,
        multiplexed_by=(signal.multiplexer_signal or "") if ids else "",
        multiplex_ids=tuple((i, i) for i in ids),
    )
