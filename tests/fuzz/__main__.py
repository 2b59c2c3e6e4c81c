"""``python -m tests.fuzz [TARGET …]``: coverage-guided fuzzing of what reads files and messages.

Each target gets its own process, corpus and time; a crash, a hang of 20 s or 256 MiB for one piece
of memory ends it and leaves the input in the corpus folder. Needs ``pip install atheris``.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

from tests.fuzz.links import LINK_TARGETS
from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS

ALL = (*TARGETS, *LINK_TARGETS)
HANG_S = 20
PIECE_MB = 256
MEMORY_MB = 4096
"""In all: the fuzzer itself takes more with every run, up to 14 KB."""


def main() -> int:
    """Fuzz the targets one after another; 1, if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(ALL)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--corpus", type=Path, default=Path(gettempdir()) / "oodida-fuzz")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(ALL):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    failed = [t for t in args.targets or ALL if not fuzzed(t, args.seconds, args.corpus / t)]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "no target failed\n")
    return 1 if failed else 0


def fuzzed(target: str, seconds: int, corpus: Path) -> bool:
    """Fuzz one target; tell whether it held."""
    corpus.mkdir(parents=True, exist_ok=True)
    write_seeds(target, corpus)
    command = [
        *(sys.executable, "-m", "tests.fuzz.one", target, str(corpus)),
        *(f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}"),
        f"-malloc_limit_mb={PIECE_MB}",
        *("-max_len=16384", "-print_final_stats=1", f"-artifact_prefix={corpus}/failed-"),
    ]
    sys.stdout.write(f"{target}: {seconds} s, corpus {corpus}\n")
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
