"""A measured figure with its target, as a row of a table, and what a process has used."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HEAD", "Figure", "children_of", "cpu_s", "rss_kb"]

TICKS = os.sysconf("SC_CLK_TCK")
HEAD = f"{'':52} {'measured':>12} {'':4} {'target':>10}"


@dataclass(frozen=True)
class Figure:
    """``most`` is the target where lower is better, else ``least``."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the target is met; without one it is."""
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    def row(self) -> str:
        """Return the figure with its verdict."""
        target = "" if self.most is None else f"<= {self.most:g}"
        target = target if self.least is None else f">= {self.least:g}"
        verdict = ("yes" if self.reached else "NO") if target else ""
        return f"{self.what:52} {self.value:12.3f} {self.unit:4} {target:>10} {verdict:>4}"


def rss_kb(pid: int) -> int:
    """Return how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time that processes used so far, the kernel's included."""
    used = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(stat[11]) + int(stat[12])
    return used / TICKS


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
