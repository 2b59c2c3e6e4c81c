"""What became of a log's frames when it was decoded."""

import msgspec

__all__ = ["AbsentSummary", "BusSummary", "DecodeSummary", "MessageSummary"]


class MessageSummary(msgspec.Struct, frozen=True):
    """One series of the output: a message on a channel, and of one J1939 source."""

    channel: str
    message: str
    source: str
    can_id: str
    """The identifier of the database in hexadecimal, with an ``x`` behind one of 29 bits."""
    signals: int
    frames: int
    values: int
    """Values that were there; the others of ``frames`` times ``signals`` were absent."""
    first_ns: int
    last_ns: int
    longest_gap_ns: int = 0
    """The longest time between two frames."""
    counter_errors: int | None = None
    """Counters that did not count on by one; None where the database marks no counter."""
    checksum_errors: int | None = None
    """Checksums that are wrong; None where the database marks none."""


class AbsentSummary(msgspec.Struct, frozen=True):
    """Frames of one message that did not hold all it has, or held more than it has."""

    channel: str
    message: str
    short_frames: int
    long_frames: int
    unknown_switch_frames: int
    unavailable_values: int
    """Values by which J1939 says "error" or "not available"."""


class BusSummary(msgspec.Struct, frozen=True):
    """How busy one channel was, at the speed that was given for it.

    A frame's time counts one stuff bit in twelve, as the load of a vehicle's ``@bus`` signals does.
    """

    channel: str
    frames: int
    error_frames: int
    load_percent: float
    """From the log's first frame, on any channel, to its last."""
    busiest_second_percent: float
    """A part of a second at the log's beginning or end counts with the second beside it."""
    bitrate: int
    data_bitrate: int


class DecodeSummary(msgspec.Struct, frozen=True):
    """What was decoded, and everything that was not."""

    log: str
    format: str
    out: str
    """The file that was written; empty where nothing was decoded, and so nothing written."""
    channels: tuple[str, ...]
    frames: int
    decoded_frames: int
    unmatched_frames: int
    """Frames with an identifier that no database has on that channel."""
    remote_frames: int
    error_frames: int
    transport_frames: int
    """Parts of payloads longer than a frame (J1939 transport, ISO-TP)."""
    transfers_completed: int
    transfers_dropped: int
    """Longer payloads of which a part was missing or out of order."""
    malformed: int
    """Lines or records of the log that hold no readable frame."""
    first_malformed: str
    buses: tuple[BusSummary, ...]
    messages: tuple[MessageSummary, ...]
    absent: tuple[AbsentSummary, ...]
    warnings: tuple[str, ...]
    """Repairs of databases; databases and bit rates for channels that the log does not have.

    The last one says why nothing was decoded, where nothing was: ``messages`` is empty then.
    """
    seconds: float
