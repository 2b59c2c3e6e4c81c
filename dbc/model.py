"""What a CAN database says, whatever format it was written in: messages, signals, repairs."""

from pathlib import Path

import msgspec

__all__ = ["NO_IDENTIFIER", "DatabaseRef", "MessageDef", "Repair", "SignalDef", "SignalRole"]

NO_IDENTIFIER = 0xFFFF_FFFF
"""The ``can_id`` of a message that no bus carries: its rows are made on the vehicle."""

SignalRole = str
"""What a signal guards: "", or "counter", "xor8", "sum8" (checksums of the other bytes)."""


class DatabaseRef(msgspec.Struct, frozen=True):
    """One database file, and the channel on which it is spoken.

    ``channel`` None: on every channel. ``j1939``: match by parameter group number, whatever the
    priority, destination and source; each source address becomes a series of its own.
    """

    path: Path
    channel: str | None = None
    j1939: bool = False


class Repair(msgspec.Struct, frozen=True, order=True):
    """One damaged place of a database, and what was done about it.

    ``line`` counts from 1; 0, if what was found is not in one place.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class SignalDef(msgspec.Struct, frozen=True, kw_only=True):
    """One signal of a message, as its database defines it.

    ``start`` counts as DBC does: the lowest bit of a little-endian signal, the highest of a
    big-endian one (bit 7 is the top of byte 0). A value is ``raw * scale + offset``.
    ``multiplexed_by`` names the switch signal on whose value this one depends, ``multiplex_ids``
    the inclusive ranges of that value with which it is there.
    """

    name: str
    start: int
    length: int
    big_endian: bool = False
    signed: bool = False
    is_float: bool = False
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: dict[int, str] = {}
    is_switch: bool = False
    multiplexed_by: str = ""
    multiplex_ids: tuple[tuple[int, int], ...] = ()
    role: SignalRole = ""
    variants: "tuple[SignalDef, ...]" = ()
    """Further places of this signal, each with other values of the switch."""

    @property
    def first_bit(self) -> int:
        """The first bit in the order of transmission; bit 0 is the top of byte 0 if big-endian."""
        if self.big_endian:
            return 8 * (self.start // 8) + 7 - self.start % 8
        return self.start

    @property
    def first_byte(self) -> int:
        """The first byte that the signal touches."""
        return self.first_bit // 8

    @property
    def value_names(self) -> dict[float, str]:
        """The names of decoded values."""
        return {raw * self.scale + self.offset: name for raw, name in self.choices.items()}

    @property
    def needed_bytes(self) -> int:
        """How long a payload must be to hold the whole signal."""
        return (self.first_bit + self.length + 7) // 8


class MessageDef(msgspec.Struct, frozen=True, kw_only=True):
    """One message, and the channel on which it is expected; ``channel`` None: on every one."""

    name: str
    can_id: int
    extended: bool
    length: int
    signals: tuple[SignalDef, ...]
    channel: str | None = None
    database: str = ""
    sender: str = ""
    fd: bool = False
    cycle_time_ms: float | None = None
    j1939: bool = False

    @property
    def columns(self) -> dict[str, int]:
        """The column of each signal, by name."""
        return {signal.name: column for column, signal in enumerate(self.signals)}
