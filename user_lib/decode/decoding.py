"""Batches of frames to the parts of an output, and counts of what became of every frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from dbc import Decoded, Decoder, DecodeStats, MessageStats
from dbc.pages import has_unknown_page
from user_lib.contract.frames import FrameBatch
from user_lib.decode.layout import layouts, source_label
from user_lib.decode.quality import QualityCount, add_frames
from user_lib.decode.rows import Part
from user_lib.decode.summary import AbsentSummary, MessageSummary

__all__ = ["Decoding"]


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


class Decoding:
    """Decodes batch after batch and counts what becomes of the frames."""

    def __init__(self, decoder: Decoder, *, keep_unknown_pages: bool) -> None:
        self._decoder = decoder
        self._keep_unknown_pages = keep_unknown_pages
        self._layouts = layouts(decoder)
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
        key = (layout.channel, layout.label, source_label(decoded.source))
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
