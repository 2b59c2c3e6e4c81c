"""Does the sandbox hold? Many iterations without growth; a calm agent while hostile tasks run.

    python tests/benchmarks/sandbox_soak.py [--iterations 2000] [--hostile 20]

Prints, before and after the iterations: the agent's and the zygote's resident memory and
descriptors, the zombies, the mounts. Then the latency of a thread that wakes every 10 ms in the
agent, alone and beside hostile tasks that spin, hog memory, flood their prints and sleep.
"""

# ruff: noqa: T201 - a benchmark prints its table
import argparse
import os
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.sandbox import Job, Limits, Sandbox, SandboxConfig, window_of

WINDOW = window_of(np.arange(1000.0))
GOOD = "def custom(xs):\n    return float(xs.mean())\n"
HOSTILE = (
    "def custom(xs):\n    while True: pass\n",
    "def custom(xs):\n    kept = []\n    while True: kept.append(bytearray(10**6))\n",
    "def custom(xs):\n    while True: print('x' * 1000)\n",
    "import time\ndef custom(xs):\n    time.sleep(60)\n",
)
TICK_S = 0.01


def job(source: str) -> Job:
    limits = Limits(cpu_s=2.0, memory_mb=64, wall_s=3.0)
    return Job(half="onboard", method="custom", source=source, window=WINDOW, limits=limits)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(sandbox: Sandbox) -> str:
    launcher = sandbox.zygote_pid
    (zygote,) = children(launcher or 0)
    told = []
    for name, pid in (("agent", os.getpid()), ("zygote", zygote)):
        status = Path(f"/proc/{pid}/status").read_text()
        resident_kb = next(int(s.split()[1]) for s in status.splitlines() if s[:5] == "VmRSS")
        told.append(f"{name} {resident_kb / 1024:.1f} MB {len(os.listdir(f'/proc/{pid}/fd'))} fds")
    mounts = Path(f"/proc/{zygote}/mountinfo").read_text().count("\n")
    return f"{', '.join(told)}, {len(children(zygote))} workers, {mounts} mounts"


def soak(iterations: int) -> None:
    with Sandbox(SandboxConfig(spares=1)) as sandbox:
        for _ in range(50):
            sandbox.run(job(GOOD))
        print("before:", state(sandbox))
        began = time.perf_counter()
        for _ in range(iterations):
            outcome = sandbox.run(job(GOOD))
            if not outcome.ok:
                sys.exit(f"an iteration failed: {outcome}")
        spent_s = time.perf_counter() - began
        print("after: ", state(sandbox))
        print(f"{iterations} iterations, {iterations / spent_s:.0f} a second")


def lateness_ms(stop: threading.Event) -> list[float]:
    late: list[float] = []
    due = time.perf_counter()
    while not stop.wait(max(0.0, due - time.perf_counter())):
        late.append((time.perf_counter() - due) * 1000)
        due += TICK_S
    return late


def measured(sandbox: Sandbox, hostile: int) -> list[float]:
    stop = threading.Event()
    with ThreadPoolExecutor(hostile + 1) as pool:
        ticking = pool.submit(lateness_ms, stop)
        if hostile:
            sources = [HOSTILE[i % len(HOSTILE)] for i in range(hostile)]
            list(pool.map(sandbox.run, map(job, sources)))
        else:
            time.sleep(3)
        stop.set()
        return ticking.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--hostile", type=int, default=20)
    asked = parser.parse_args()
    soak(asked.iterations)
    with Sandbox(SandboxConfig(spares=0)) as sandbox:
        sandbox.start()
        for hostile in (0, asked.hostile):
            late = measured(sandbox, hostile)
            p99 = statistics.quantiles(late, n=100)[-1]
            print(
                f"tick beside {hostile:2} hostile tasks: p50 {statistics.median(late):.2f} ms, "
                f"p99 {p99:.2f} ms late"
            )


if __name__ == "__main__":
    main()
