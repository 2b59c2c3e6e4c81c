"""All ratios in one table: ``python -m tests.benchmarks [decode] [logs] [live]``.

Ratios are medians of paired runs: every round measures both programs at the same work, one after
the other, so that a busy machine slows both alike. They are of CPU time, the kernel's included.
All input is generated. Exit code 1 when a ratio that is to be reached was missed.
"""

import argparse
import json
import sys
from dataclasses import asdict

from tests.benchmarks import decode, live, log_reading
from tests.benchmarks.ratios import table

PARTS = {"decode": decode.run, "logs": log_reading.run, "live": live.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    for unknown in set(arguments.parts) - set(PARTS):
        parser.error(f"no part {unknown!r}; there are {', '.join(PARTS)}")
    rows = []
    for part in arguments.parts or PARTS:
        for row in PARTS[part]():
            sys.stderr.write(f"{row.what}, against {row.against}: {row.ratio:.1f}\n")
            rows.append(row)
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(r) | {"reached": r.reached} for r in rows]) + "\n")
    else:
        sys.stdout.write(table(rows) + "\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
