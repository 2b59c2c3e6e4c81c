"""How fast an iteration starts: plain interpreter, on demand, ready spare; paired, in one run.

    python tests/benchmarks/sandbox.py [--pairs 30]

Each pair starts all three one after the other, so that a busy machine slows all of them; the table
gives medians and the median of the ratios within pairs. Then iterations a second, in sequence.
"""

# ruff: noqa: T201 - a benchmark prints its table
import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.sandbox import Job, Sandbox, SandboxConfig, window_of

SOURCE = "def custom(xs):\n    return float(xs.mean())\n"
SETTLE_S = 0.05


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def job(samples: int) -> Job:
    window = window_of(np.arange(float(samples)))
    return Job(half="onboard", method="custom", source=SOURCE, window=window)


def runner(sandbox: Sandbox, samples: int = 10) -> Callable[[], None]:
    given = job(samples)

    def run() -> None:
        outcome = sandbox.run(given)
        if not outcome.ok:
            sys.exit(f"the benchmark's job failed: {outcome}")

    return run


def plain() -> None:
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    rows: dict[str, list[float]] = {}
    with Sandbox(SandboxConfig(spares=1)) as ready, Sandbox(SandboxConfig(spares=0)) as bare:
        ways: dict[str, Callable[[], object]] = {
            "plain start": plain,
            "on demand": runner(bare),
            "ready spare": runner(ready),
            "ready spare, 10 k samples": runner(ready, 10_000),
            "ready spare, 1 M samples": runner(ready, 1_000_000),
        }
        for action in ways.values():
            action()
        for _ in range(pairs):
            for name, action in ways.items():
                time.sleep(SETTLE_S)
                rows.setdefault(name, []).append(milliseconds(action))
        print(f"{'':28} {'p50 ms':>8} {'p90 ms':>8} {'of plain':>9}")
        for name, times in rows.items():
            ratio = statistics.median(
                t / p for t, p in zip(times, rows["plain start"], strict=True)
            )
            p90 = statistics.quantiles(times, n=10)[-1]
            print(
                f"{name:28} {statistics.median(times):8.2f} {p90:8.2f} {'1/%.0f' % (1 / ratio):>9}"
            )
        for name, sandbox in (("without spares", bare), ("one spare", ready)):
            run = runner(sandbox)
            spent = milliseconds(lambda run=run: [run() for _ in range(200)])  # type: ignore[misc]
            print(f"in sequence, {name}: {200_000 / spent:.0f} iterations a second")


if __name__ == "__main__":
    main()
