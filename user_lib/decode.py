"""Recorded logs to decoded signals, offline: the engine of ``oodida decode``.

What is read, matched and decoded here is what a vehicle would read, match and decode. The policies
are fixed: an unknown multiplexer value loses only the multiplexed signals, unless asked otherwise;
a signal beyond a short payload is absent; extra bytes are ignored; J1939 "not available" and
"error" are absent. All of it is counted in the `DecodeSummary`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.signals.frame_time import Bitrate
from dbc import (
    DatabaseRef,
    Decoded,
    Decoder,
    DecodeStats,
    MessageDef,
    MessageStats,
    SignalDef,
    Transform,
    load,
)
from dbc.pages import has_unknown_page
from hw import read_log
from user_lib.contract.frames import FrameBatch
from user_lib.decode_load import BusLoads
from user_lib.decode_outputs import check_output, open_output
from user_lib.decode_quality import QualityCount, add_frames
from user_lib.decode_rows import Part
from user_lib.decode_summary import AbsentSummary, DecodeSummary, MessageSummary
from user_lib.decode_warnings import has_long_identifiers, unheard, why_nothing

__all__ = ["DecodeSummary", "MessageSummary", "decode_log"]

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
    decoding = _Decoding(Decoder(catalog, log.channels), keep_unknown_pages=keep_unknown_pages)
    loads = BusLoads(log.channels, bitrates or {})
    with open_output(out, names=names) as output:
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
        out=str(out),
        channels=log.channels,
        malformed=log.malformed,
        first_malformed=log.first_damage,
        warnings=tuple(warnings),
        buses=loads.summary(),
        seconds=(time.monotonic_ns() - started_ns) / 1e9,
        **decoding.counts(),
    )


def _source_label(source: int | None) -> str:
    """Return a J1939 source address as outputs name it; empty for other messages."""
    return "" if source is None else f"{source:02X}"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one message appears in the output: its own signals, then mapped ones, converted."""

    channel: str
    label: str
    signals: tuple[str, ...]
    units: tuple[str, ...]
    value_names: tuple[Mapping[float, str], ...]
    can_id: str
    """As written in hexadecimal, with an ``x`` behind a 29-bit identifier."""
    mapped: tuple[tuple[int, Transform | None], ...]
    """The column behind each mapped signal, and what converts it."""

    def part(self, decoded: Decoded, time_ns: NDArray[np.int64]) -> Part:
        values = decoded.values
        if self.mapped:
            own = values.shape[1]
            wider = np.empty((len(values), own + len(self.mapped)))
            wider[:, :own] = values
            for place, (column, transform) in enumerate(self.mapped, own):
                picked = values[:, column]
                wider[:, place] = picked if transform is None else transform.apply(picked)
            values = wider
        return Part(
            channel=self.channel,
            message=self.label,
            source=_source_label(decoded.source),
            signals=self.signals,
            units=self.units,
            value_names=self.value_names,
            time_ns=time_ns,
            order=decoded.rows,
            values=values,
        )


def _layouts(decoder: Decoder) -> list[_Layout]:
    """Lay out every message; of two with one name on one channel, each gets its identifier too."""
    names = Counter((m.channel, m.name) for m in decoder.messages)
    mapped: dict[int, list[tuple[str, str, int, Transform | None]]] = {}
    for info in decoder.catalog.signals():
        if info.vss:
            ref = decoder.catalog.resolve(info.name)
            mapped.setdefault(ref.message, []).append(
                (info.name, ref.unit, ref.column, ref.transform)
            )
    layouts = []
    for index, message in enumerate(decoder.messages):
        alone = names[message.channel, message.name] == 1
        extra = mapped.get(index, [])
        layouts.append(
            _Layout(
                channel=message.channel or "",
                label=message.name if alone else f"{message.name}~{_identifier(message)}",
                signals=(*(s.name for s in message.signals), *(name for name, *_ in extra)),
                units=(*(s.unit for s in message.signals), *(unit for _, unit, *_ in extra)),
                value_names=(
                    *(s.value_names for s in message.signals),
                    *(_names_of(message.signals[c], transform) for *_, c, transform in extra),
                ),
                can_id=_identifier(message),
                mapped=tuple((column, transform) for *_, column, transform in extra),
            )
        )
    return layouts


def _names_of(signal: SignalDef, transform: Transform | None) -> Mapping[float, str]:
    if transform is None:
        return signal.value_names
    return {float(value): name for value, name in transform.choices.items()}


def _identifier(message: MessageDef) -> str:
    return f"{message.can_id:X}{'x' if message.extended else ''}"


@dataclass(slots=True)
class _SeriesCount:
    can_id: str
    signals: int
    frames: int = 0
    values: int = 0
    first_ns: int = 0
    last_ns: int = 0
    quality: QualityCount = field(default_factory=QualityCount)

    def add(self, part: Part) -> None:
        if not self.frames:
            self.first_ns = int(part.time_ns[0])
        self.last_ns = int(part.time_ns[-1])
        self.frames += len(part.time_ns)
        self.values += int(np.count_nonzero(~np.isnan(part.values)))
        self.quality.add_times(part.time_ns)

    def summary(self, channel: str, message: str, source: str) -> MessageSummary:
        return MessageSummary(
            channel=channel,
            message=message,
            source=source,
            can_id=self.can_id,
            signals=self.signals,
            frames=self.frames,
            values=self.values,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            longest_gap_ns=self.quality.longest_gap_ns,
            counter_errors=self.quality.counter_errors,
            checksum_errors=self.quality.checksum_errors,
        )


class _Decoding:
    """Decodes batch after batch and counts what becomes of the frames."""

    def __init__(self, decoder: Decoder, *, keep_unknown_pages: bool) -> None:
        self._decoder = decoder
        self._keep_unknown_pages = keep_unknown_pages
        self._layouts = _layouts(decoder)
        self._series: dict[tuple[str, str, str], _SeriesCount] = {}
        self.frames = 0

    def parts(self, batch: FrameBatch) -> list[Part]:
        """Decode a batch into a part for each message (and source) in it."""
        self.frames += len(batch)
        found = self._decoder.decode_batch(batch)
        decoded = list(found)
        if not self._keep_unknown_pages:
            extra = decoded[len(decoded) - len(found.extra) :]
            own = decoded[: len(decoded) - len(extra)]
            decoded = [kept for each in own if len((kept := self._known(each, batch)).rows)] + extra
        parts = []
        for each in _joined(decoded):
            layout = self._layouts[each.message]
            part = layout.part(each, batch.time_ns[each.rows])
            self._count_of(each).add(part)
            parts.append(part)
        for each in decoded[: len(decoded) - len(found.extra)]:
            add_frames(self._count_of(each).quality, self._decoder, each, batch)
        return parts

    def _known(self, decoded: Decoded, batch: FrameBatch) -> Decoded:
        """Return what was decoded without the frames that have an unknown page."""
        message = self._decoder.messages[decoded.message]
        keep = ~has_unknown_page(message, batch.data[decoded.rows], decoded.values)
        if keep.all():
            return decoded
        return Decoded(decoded.message, decoded.rows[keep], decoded.values[keep], decoded.source)

    def _count_of(self, decoded: Decoded) -> _SeriesCount:
        layout = self._layouts[decoded.message]
        key = (layout.channel, layout.label, _source_label(decoded.source))
        count = self._series.get(key)
        if count is None:
            count = self._series[key] = _SeriesCount(layout.can_id, len(layout.signals))
        return count

    @property
    def nothing(self) -> bool:
        """Whether no frame so far gave anything to write."""
        return not self._series

    def stats(self) -> DecodeStats:
        """Return what the decoder met so far."""
        return self._decoder.stats()

    def counts(self) -> dict[str, Any]:
        """Return the counts of a `DecodeSummary`."""
        stats = self.stats()
        other = stats.remote_frames + stats.error_frames
        return {
            "frames": stats.frames,
            "decoded_frames": stats.frames - stats.unmatched_frames - stats.transport_frames,
            "unmatched_frames": stats.unmatched_frames - other,
            "remote_frames": stats.remote_frames,
            "error_frames": stats.error_frames,
            "transport_frames": stats.transport_frames,
            "transfers_completed": stats.transfers.completed,
            "transfers_dropped": stats.transfers.dropped,
            "messages": tuple(self._series[key].summary(*key) for key in sorted(self._series)),
            "absent": tuple(self._absent(stats.messages)),
        }

    def _absent(self, messages: Mapping[int, MessageStats]) -> Iterator[AbsentSummary]:
        for index, (frames, *absent) in ((i, astuple(m)) for i, m in messages.items()):
            if frames and any(absent):
                layout = self._layouts[index]
                yield AbsentSummary(layout.channel, layout.label, *absent)


def _joined(decoded: Sequence[Decoded]) -> Iterator[Decoded]:
    """Put together what one batch holds of one series: its frames, and its longer payloads."""
    by_series: dict[tuple[int, int | None], list[Decoded]] = {}
    for each in decoded:
        by_series.setdefault((each.message, each.source), []).append(each)
    for (message, source), several in by_series.items():
        if len(several) == 1:
            yield several[0]
            continue
        rows = np.concatenate([each.rows for each in several])
        order = np.argsort(rows, kind="stable")
        values = np.concatenate([each.values for each in several])
        yield Decoded(message, rows[order], values[order], source)
