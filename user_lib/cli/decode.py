"""``oodida decode``: a recorded log and its databases to files of signals, without any cloud."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from user_lib.cli.options import Subparsers, add_command, remark, show, show_json
from user_lib.cli.status import BAD_INPUT, OK
from user_lib.progress import Progress
from user_lib.tables import render_text

if TYPE_CHECKING:
    from agent.signals.quality.frame_time import Bitrate
    from user_lib.decode.summary import DecodeSummary, MessageSummary

__all__ = ["add_parser", "database", "run"]

_SHOWN_WARNINGS = 10
_PROGRESS_FROM_FRAMES = 500_000
"""Fewer are decoded before anyone would look."""


_OUTPUTS = """what the outputs hold:
  .npz      arrays CHANNEL/MESSAGE/time_ns (int64) and CHANNEL/MESSAGE/SIGNAL (float64), an entry a
            frame of that message, in the order of the log; NaN where the signal is absent
  .csv      a row a value that is there, in the order of the log:
            time_ns,channel,message,source,signal,value,unit (and name, with --names)
  .parquet  the columns of the .csv
  CHANNEL   as the log names it: can0; 1 where it has numbers (ASC and BLF as in the file, where
            python-can counts from 0); empty where it names none (TRC 1.0 and 1.1), so that keys of
            .npz begin with /
  MESSAGE   as in the database, by its long name if it has one; with _ID behind it where two on one
            channel have the same, and MESSAGE@SA, the source address in two hexadecimal digits,
            with --j1939 (in .csv: source)
  SIGNAL    likewise, and with --mapping also the VSS paths; strings that a mapping gives are
            numbered in its order (--names spells them)
  time_ns   ns as in the log: since 1970 (candump, BLF, TRC with a start time, MF4), or since the
            start of its measurement (ASC, GVRET); a payload of several frames has the time of the
            last one
  values    raw * factor + offset, in the unit of the database; booleans are 0 and 1; J1939's "not
            available" and "error" are absent; so is what a short payload does not hold
  --json    the summary of what was decoded and what was not: by message, with identifiers, and by
            channel, with the bus load"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    command = add_command(
        subparsers, "decode", about="decode a recorded log to .npz, .csv or .parquet",
        example="oodida decode drive.asc --dbc 0=powertrain.dbc --dbc 1=chassis.dbc -o drive.npz",
        cloud=False, more=_OUTPUTS,
    )  # fmt: skip
    command.add_argument(
        "log", type=Path, metavar="LOG",
        help="candump .log, .asc, .blf, .trc, .csv of GVRET, python-can or CANedge, .mf4; all but "
        ".mf4 also with .gz",
    )  # fmt: skip
    command.add_argument(
        "--dbc", action="append", required=True, type=database, metavar="[CHANNEL=]FILE",
        help="a DBC, KCD or SYM file, for one channel as the log names it or for all; repeatable",
    )  # fmt: skip
    command.add_argument(
        "--j1939", action="store_true",
        help="match by parameter group; a series for each source address",
    )  # fmt: skip
    command.add_argument(
        "--mapping", type=Path, metavar="FILE",
        help="VSS mapping: add the mapped signals, converted, under their paths",
    )  # fmt: skip
    command.add_argument("--strict", action="store_true", help="refuse databases that need repair")
    command.add_argument(
        "--names", action="store_true",
        help="add a column with the names of values (.csv and .parquet)",
    )  # fmt: skip
    command.add_argument(
        "--keep-unknown-pages", action="store_true",
        help="of frames with an unknown multiplexer value, keep what is not multiplexed, as a "
        "vehicle does; else they are counted and left out, as by cantools",
    )  # fmt: skip
    command.add_argument(
        "--bitrate", action="append", default=[], type=_bitrate, metavar="[CHANNEL=]BITS[/DATA]",
        help="bit/s of a channel or of all, for the bus load (500000/2000000); repeatable",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", dest="out",
        help=".npz: arrays CHANNEL/MESSAGE/SIGNAL; .csv, .parquet: a value a row; a file of "
        "that name is replaced once all is decoded, and stays where nothing was (exit code 2)",
    )  # fmt: skip
    command.set_defaults(run=run)


def database(text: str) -> tuple[str | None, Path]:
    """Read ``[CHANNEL=]FILE``; a file whose own name has an equals sign is taken as it is."""
    channel, equals, file = text.partition("=")
    if not equals or Path(text).is_file():
        return None, Path(text)
    return channel, Path(file)


def _bitrate(text: str) -> "tuple[str, Bitrate]":
    """Read ``[CHANNEL=]BITS[/DATA]``."""
    from agent.signals.quality.frame_time import Bitrate

    read = re.fullmatch(r"(?:(.*)=)?([1-9]\d{0,9})(?:/([1-9]\d{0,9}))?", text)
    if read is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no speed; expected bit/s such as 250000, or 1=500000/2000000"
        )
    rate = Bitrate(bitrate=int(read[2]))
    return read[1] or "", Bitrate(rate.bitrate, int(read[3])) if read[3] else rate


def run(args: argparse.Namespace) -> int:
    """Decode, print what was found and what was not, and return the exit code.

    Raises: OodidaError, for a bad log, database or output; the entry says so and returns 2.
    """
    from dbc import DatabaseRef  # `oodida --help` needs no databases
    from user_lib.decode.log import decode_log

    watched = sys.stderr.isatty()
    progress = Progress(shown=watched or not args.json)
    step = 0.01 if watched else 0.1  # in a file, ten lines tell as much as a hundred

    def tell(frames: int, share: float) -> None:
        if frames >= _PROGRESS_FROM_FRAMES:
            progress.say(f"decoding {args.log.name}: {share // step * step:.0%}")

    databases = [
        DatabaseRef(path=path, channel=channel, j1939=args.j1939) for channel, path in args.dbc
    ]
    summary = decode_log(
        args.log,
        databases,
        out=args.out,
        mapping=args.mapping,
        strict=args.strict,
        names=args.names,
        keep_unknown_pages=args.keep_unknown_pages,
        bitrates=dict(args.bitrate),
        progress=tell,
    )
    progress.close()
    if args.json:
        show_json(summary)
    else:
        show(_report(summary))
    if not summary.messages:
        remark(f"oodida: {summary.warnings[-1]}; {args.out} was not written")
        return BAD_INPUT
    return OK


def _report(summary: "DecodeSummary") -> str:
    parts = [_series_table(summary), "", *_totals(summary)]
    # Why there is nothing at all is said at the end, apart from these.
    warnings = summary.warnings if summary.messages else summary.warnings[:-1]
    if warnings:
        rest = len(warnings) - _SHOWN_WARNINGS
        parts += ["", "warnings:", *(f"  {w}" for w in warnings[:_SHOWN_WARNINGS])]
        parts += [f"  and {rest} more (--json lists all)"] if rest > 0 else []
    return "\n".join(parts)


def _series_table(summary: "DecodeSummary") -> str:
    headings = ["channel", "message", "frames", "signals", "values", "absent", "seconds", "gap ms"]
    return render_text(headings, [_series_row(series) for series in summary.messages])


def _series_row(series: "MessageSummary") -> list[str]:
    label = f"{series.message}@{series.source}" if series.source else series.message
    absent = series.frames * series.signals - series.values
    seconds = (series.last_ns - series.first_ns) / 1e9
    numbers = [str(n) for n in (series.frames, series.signals, series.values, absent)]
    longest_ms = series.longest_gap_ns / 1e6
    return [_channel(series.channel), label, *numbers, f"{seconds:.3f}", f"{longest_ms:.1f}"]


def _totals(summary: "DecodeSummary") -> list[str]:
    """Say in words what was not decoded, and only of what there was."""
    counted = [
        (summary.unmatched_frames, "with an identifier that no database has"),
        (summary.remote_frames, "remote"),
        (summary.error_frames, "error"),
    ]
    lines = [
        f"{summary.log}: {summary.frames} frames on {_named(summary.channels)}, "
        f"{summary.decoded_frames} decoded in {summary.seconds:.1f} s"
        + (f" to {summary.out}" if summary.out else "")
    ]
    lines += [f"  {n} frames {what}" for n, what in counted if n]
    lines += [
        f"  {_channel(bus.channel)} was busy {bus.load_percent:.1f} % of the time at "
        f"{bus.bitrate / 1000:g} kbit/s, {bus.busiest_second_percent:.1f} % in its busiest second"
        for bus in summary.buses
    ]
    if summary.transport_frames:
        lines.append(
            f"  {summary.transport_frames} frames were parts of longer payloads: "
            f"{summary.transfers_completed} of these put together, "
            f"{summary.transfers_dropped} dropped for a missing part"
        )
    for each in summary.absent:
        reasons = [
            (each.short_frames, "shorter than the database says (what is missing is absent)"),
            (each.long_frames, "longer (the rest is ignored)"),
            (each.unknown_switch_frames, "with an unknown multiplexer value"),
        ]
        reasons = [(n, f"frames {what}") for n, what in reasons]
        reasons.append((each.unavailable_values, 'values "not available" or "error" (absent)'))
        said = ", ".join(f"{n} {what}" for n, what in reasons if n)
        lines.append(f"  {_channel(each.channel)} {each.message}: {said}")
    lines += [line for series in summary.messages for line in _errors(series)]
    if summary.malformed:
        lines.append(f"  {summary.malformed} malformed, the first at {summary.first_malformed}")
    return lines


def _errors(series: "MessageSummary") -> list[str]:
    """Say how often a counter or a checksum of a message was wrong, if it ever was."""
    counted = [
        (series.counter_errors or 0, "counter did not count on by one"),
        (series.checksum_errors or 0, "checksum was wrong"),
    ]
    said = ", ".join(f"the {what} {n} times" for n, what in counted if n)
    return [f"  {_channel(series.channel)} {series.message}: {said}"] if said else []


def _channel(name: str) -> str:
    return name or "(unnamed)"


def _named(channels: tuple[str, ...]) -> str:
    return ", ".join(_channel(name) for name in channels) or "no channel"
