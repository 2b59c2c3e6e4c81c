"""When the interfaces of a vehicle were away, in the time of its frames."""

from collections import defaultdict
from collections.abc import Collection, Iterator

__all__ = ["OUTAGES_KEPT", "Outages"]

OUTAGES_KEPT = 1024
"""Of each channel. Of more, the two oldest become one that lasts over what was between them: what
is told is then too much, never too little."""


class Outages:
    """Of each channel the intervals ``start <= t < stop`` in which its interface was away."""

    def __init__(self) -> None:
        self._over: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """By time; no two of them touch."""
        self._since: dict[str, int] = {}
        """Of the outages that last, when they began."""

    def note(self, away: Collection[str], now_ns: int | None) -> None:
        """Take in which channels are away now; None, as long as no frame tells the time."""
        if now_ns is None or not (away or self._since):
            return
        for channel in away:
            self._since.setdefault(channel, now_ns)
        for channel in self._since.keys() - set(away):
            self._keep(channel, self._since.pop(channel), now_ns)

    def _keep(self, channel: str, start_ns: int, stop_ns: int) -> None:
        kept = self._over[channel]
        if kept and start_ns <= kept[-1][1]:  # time is estimated, so that it may step back a bit
            kept[-1] = kept[-1][0], max(kept[-1][1], stop_ns)
        elif start_ns < stop_ns:
            kept.append((start_ns, stop_ns))
        if len(kept) > OUTAGES_KEPT:
            kept[:2] = [(kept[0][0], kept[1][1])]

    def between(self, channels: Collection[str | None], start_ns: int, stop_ns: int) -> int:
        """Return for how long, in ns of that time, any of these channels was away.

        What still lasts counts up to ``stop_ns``; what several have in common counts once.
        """
        total_ns, done_ns = 0, start_ns
        for begin_ns, end_ns in sorted(self._of(channels, stop_ns)):
            begin_ns, end_ns = max(begin_ns, done_ns), min(end_ns, stop_ns)
            if begin_ns < end_ns:
                total_ns += end_ns - begin_ns
                done_ns = end_ns
        return total_ns

    def _of(self, channels: Collection[str | None], stop_ns: int) -> Iterator[tuple[int, int]]:
        for channel in channels:
            if channel is not None:
                yield from self._over.get(channel, ())
                if channel in self._since:
                    yield self._since[channel], stop_ns
