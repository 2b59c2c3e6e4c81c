"""A recorded log to decoded signals, offline.

What is read, matched and decoded here is what a vehicle would read, match and decode. The policies
are fixed: an unknown multiplexer value loses only the multiplexed signals, unless asked otherwise;
a signal beyond a short payload is absent; extra bytes are ignored; J1939 "not available" and
"error" are absent. All of it is counted in the `DecodeSummary`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.signals.quality.frame_time import Bitrate
from dbc import DatabaseRef, Decoder, load
from hw import read_log
from user_lib.decode.bus_load import BusLoads
from user_lib.decode.decoding import Decoding
from user_lib.decode.outputs import check_output, open_output
from user_lib.decode.remarks import has_long_identifiers, unheard, why_nothing
from user_lib.decode.summary import DecodeSummary

__all__ = ["decode_log"]

Progress = Callable[[int, float], None]
"""Told after every batch: frames so far, and the share of the log that was read, 0 to 1."""

BATCH_FRAMES = 16_384
_SCAN_SHARE = 0.1
"""How much of the work the first pass is."""


def decode_log(  # noqa: PLR0913 - the options of a command
    log_path: Path | str,
    databases: Sequence[DatabaseRef],
    *,
    out: Path | str,
    mapping: Path | None = None,
    strict: bool = False,
    names: bool = False,
    keep_unknown_pages: bool = False,
    bitrates: Mapping[str, Bitrate] | None = None,
    progress: Progress | None = None,
) -> DecodeSummary:
    """Decode every frame of a log that the databases know, and write all signals to ``out``.

    ``.npz``: keys ``CHANNEL/MESSAGE/time_ns`` (int64, as in the log) and ``CHANNEL/MESSAGE/SIGNAL``
    (float64, NaN where absent), a row a frame of that message; ``MESSAGE@SA`` for J1939. ``.csv``
    and ``.parquet``: a row a value. With a ``mapping``, a mapped signal also appears, converted,
    under its VSS path. ``strict`` refuses databases that need repair. ``names`` adds a column with
    the names of values (``.csv`` and ``.parquet`` only). A frame with a multiplexer value that the
    database does not know is counted and left out, as cantools does, unless ``keep_unknown_pages``
    asks for what of it is not multiplexed, as a vehicle has it. ``bitrates``, on which the bus load
    of the summary depends, gives the speed of a channel by its name, or by "" of every other one.
    Where nothing at all was decoded no file is written, and ``out`` of the summary is empty.

    Raises: SourceError, for the log; DatabaseError, for a database; ConfigError, for the output.
    """
    started_ns = time.monotonic_ns()
    out = Path(out)
    check_output(out, names=names)
    catalog = load(databases, mapping=mapping, strict=strict, logged=False)  # in the summary
    log = read_log(log_path, batch_frames=BATCH_FRAMES)
    tell = progress or (lambda frames, share: None)
    # A first pass finds the channels: a decoder that changed with them would lose the transfers
    # that are under way when a new one appears.
    long_identifiers = False
    for batch in log:
        long_identifiers = long_identifiers or has_long_identifiers(batch)
        tell(0, _SCAN_SHARE * log.fraction_read)
    decoding = Decoding(Decoder(catalog, log.channels), keep_unknown_pages=keep_unknown_pages)
    loads = BusLoads(log.channels, bitrates or {})
    with open_output(out, names=names, unless=lambda: decoding.nothing) as output:
        for batch in log:
            output.add(decoding.parts(batch))
            loads.add(batch)
            tell(decoding.frames, _SCAN_SHARE + (1 - _SCAN_SHARE) * log.fraction_read)
    warnings = [str(r) for r in catalog.repairs] + unheard(databases, bitrates or {}, log.channels)
    if decoding.nothing:
        stats = decoding.stats()
        warnings.append(
            why_nothing(databases, log.channels, stats, long_identifiers=long_identifiers)
        )
    return DecodeSummary(
        log=str(log.path),
        format=log.format,
        out="" if decoding.nothing else str(out),
        channels=log.channels,
        malformed=log.malformed,
        first_malformed=log.first_damage,
        warnings=tuple(warnings),
        buses=loads.summary(),
        seconds=(time.monotonic_ns() - started_ns) / 1e9,
        **decoding.counts(),
    )
