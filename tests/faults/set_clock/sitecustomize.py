"""The wall clock of a process, set by a file: what a person or NTP does to a machine's.

Python imports this first, since the campaign puts its folder on the path. The file's name is that
of the process's configuration; it holds how many seconds the clock is off.
"""

import os
import sys
import time
from pathlib import Path

FOLDER = os.environ.get("OODIDA_FAULTS_CLOCKS")
CONFIG = next((Path(a).stem for a in sys.orig_argv if a.endswith(".yaml")), "")

if FOLDER and CONFIG:
    file, real_ns = Path(FOLDER) / f"{CONFIG}.clock", time.time_ns

    def time_ns() -> int:
        try:
            offset_s = int(file.read_text() or 0)
        except OSError:
            offset_s = 0
        return real_ns() + offset_s * 1_000_000_000

    time.time_ns = time_ns
