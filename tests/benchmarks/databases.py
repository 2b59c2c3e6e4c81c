"""How long a large database takes to load: ``python -m tests.benchmarks.databases``.

Of a generated DBC of some 1 MB, at first and then from where what was read is kept. Medians of CPU
time, since a start waits for nothing else.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dbc import DatabaseRef, load

MESSAGES, SIGNALS = 900, 14
RUNS = 5


def lines() -> Iterator[str]:
    yield "BS_:\nBU_: ECU"
    for number in range(MESSAGES):
        yield f"BO_ {number + 256} Message_{number:04}: 56 ECU"
        for place in range(SIGNALS):
            signal = f"Subsystem_{number:04}_Quantity_{place:02}"
            yield f' SG_ {signal} : {place * 32}|16@1+ (0.01,-100) [-100|555.35] "km/h" ECU'


def load_s(file: Path, cache: Path) -> float:
    began_s = time.process_time()
    load([DatabaseRef(path=file)], cache=cache)
    return time.process_time() - began_s


def main() -> int:
    firsts, seconds = [], []
    with TemporaryDirectory() as folder:
        file = Path(folder, "large.dbc")
        file.write_text("\n".join(lines()) + "\n")
        for run in range(RUNS):
            firsts.append(load_s(file, Path(folder, f"cache-{run}")))
            seconds.append(load_s(file, Path(folder, f"cache-{run}")))
        sys.stdout.write(
            f"{file.stat().st_size / 1e6:.2f} MB, {MESSAGES * SIGNALS} signals: "
            f"{statistics.median(firsts):.3f} s the first time, "
            f"{statistics.median(seconds):.3f} s then\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
