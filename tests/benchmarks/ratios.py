"""What every benchmark gives: one row a comparison, with the ratio that is to be reached."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Row", "cpu_ns", "medians", "table"]


@dataclass(frozen=True)
class Row:
    """One comparison of two programs at the same work.

    ``ratio`` says how many times less ours needs, or, with ``most``, how many times more it may.
    """

    what: str
    against: str
    ours: str
    theirs: str
    ratio: float
    least: float | None = None
    aim: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool:
        if self.most is not None:
            return self.ratio <= self.most
        return self.least is None or self.ratio >= self.least

    @property
    def wanted(self) -> str:
        if self.most is not None:
            return f"<= {self.most:g} (aim {self.aim:g})"
        return "" if self.least is None else f">= {self.least:g} (aim {self.aim:g})"


def cpu_ns(function: Callable[[], object], frames: int, at_least_s: float = 0.0) -> float:
    """CPU time a frame, from as many calls as fill the given time."""
    calls, start = 0, time.process_time_ns()
    while True:
        function()
        calls += 1
        spent = time.process_time_ns() - start
        if spent >= at_least_s * 1e9:
            return spent / (calls * frames)


def medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Of paired measurements (ours, theirs): both medians, and the median of theirs / ours.

    Pairs, since a busy machine slows both alike.
    """
    return (
        statistics.median(ours for ours, _ in rounds),
        statistics.median(theirs for _, theirs in rounds),
        statistics.median(theirs / ours for ours, theirs in rounds),
    )


def table(rows: Sequence[Row]) -> str:
    heads = ("what", "ours", "against", "theirs", "ratio", "wanted", "")
    lines = [
        (
            r.what,
            r.ours,
            r.against,
            r.theirs,
            f"{r.ratio:.1f}",
            r.wanted,
            "" if r.reached else "MISSED",
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (heads, *lines)
    )
