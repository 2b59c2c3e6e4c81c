"""What each process of a run took: share of a core, memory; told in rows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.benchmarks.processes import Usage, descendants, usage

__all__ = ["Processes"]


@dataclass
class Process:
    """What one process took from the first look at it to the last; ``last.rss_mb`` 0 once ended."""

    name: str
    first: Usage
    last: Usage
    most_mb: float = 0.0

    @property
    def cpu_s(self) -> float:
        return self.last.cpu_s - self.first.cpu_s


class Processes:
    """The agent with its workers, and others by name: looked at by and by."""

    def __init__(self, named: dict[str, int], agent: int) -> None:
        self._named, self._agent = named, agent
        self._began = time.monotonic()
        self._seen: dict[int, Process] = {}
        self.look()

    def look(self) -> None:
        names = {pid: name for name, pid in self._named.items()}
        names = {pid: f"worker {pid}" for pid in descendants(self._agent)} | names
        for pid in [*names, *(pid for pid in self._seen if pid not in names)]:
            try:
                used = usage(pid)
            except OSError:  # it has ended
                if pid in self._seen:
                    self._seen[pid].last = replace(self._seen[pid].last, rss_mb=0, pss_mb=0)
                continue
            process = self._seen.setdefault(pid, Process(names.get(pid, "?"), used, used))
            process.last, process.most_mb = used, max(process.most_mb, used.rss_mb)

    def rows(self) -> Iterator[str]:
        seconds = time.monotonic() - self._began
        ended = [process for process in self._seen.values() if not process.last.rss_mb]
        for process in self._seen.values():
            if process.last.rss_mb:
                yield (
                    f"{process.name:22} {process.cpu_s / seconds:6.1%} of a core, "
                    f"{process.last.rss_mb:6.1f} MB, {process.most_mb:.1f} MB at most"
                )
        share = sum(process.cpu_s for process in ended) / seconds
        yield f"{f'{len(ended)} ended workers':22} {share:6.1%} of a core"
        others = [pid for pid in self._named.values() if pid != self._agent]
        own = [process for pid, process in self._seen.items() if pid not in others]
        share = sum(process.cpu_s for process in own) / seconds
        pss_mb = sum(process.last.pss_mb for process in own)
        yield (
            f"{'agent with its workers':22} {share:6.1%} of a core, {pss_mb:6.1f} MB, "
            "shared pages counted once"
        )
