"""What a process and those that it has started take of the machine, as the kernel counts it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "descendants", "usage"]

TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """One process; ``cpu_s`` with the kernel's work for it and its ended children's.

    ``pss_mb`` counts a page that n processes share as its n-th part, so that sums are true;
    ``rss_mb`` counts it whole for each.
    """

    cpu_s: float
    rss_mb: float
    pss_mb: float
    descriptors: int
    zombies: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.cpu_s + other.cpu_s,
            self.rss_mb + other.rss_mb,
            self.pss_mb + other.pss_mb,
            self.descriptors + other.descriptors,
            self.zombies + other.zombies,
        )


def usage(pid: int) -> Usage:
    """Read one process. Raises: OSError, when it is gone."""
    process = Path(f"/proc/{pid}")
    words = (process / "stat").read_text().rpartition(") ")[2].split()
    cpu_s = sum(map(int, words[11:15])) / TICKS_HZ
    if words[0] == "Z":
        return Usage(cpu_s, 0, 0, 0, zombies=1)
    kb = {}
    for line in (process / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        kb[name] = int(rest.split()[0])
    return Usage(cpu_s, kb["Rss"] / 1024, kb["Pss"] / 1024, len(os.listdir(process / "fd")))


def descendants(root: int) -> Iterator[int]:
    """Yield the processes that ``root`` has started, and those that they have."""
    for task in Path(f"/proc/{root}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in map(int, children):
            yield child
            yield from descendants(child)
