"""The laboratory of guest machines, from the tests' side."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["POWER_CUT", "ROOT", "VMLAB", "Boot", "boot"]

ROOT = Path(__file__).resolve().parents[2]
VMLAB = ROOT.parent / "shared" / "vm" / "vmlab"
POWER_CUT = 137
SHOWN = 30_000
"""Characters of what it said in its despair: the states of its units, and their logs."""
MARGIN_S = 240
"""For the laboratory itself: building its image takes a minute or two."""


@dataclass(frozen=True)
class Boot:
    """What a guest said from its boot to its end."""

    code: int
    lines: tuple[str, ...]
    errors: str

    @property
    def found(self) -> dict[str, Any]:
        """What its script found; judged on this side."""
        merged: dict[str, Any] = {}
        for line in self.lines:
            if line.startswith("FOUND "):
                merged |= json.loads(line.removeprefix("FOUND "))
        return merged

    def said(self, word: str) -> list[str]:
        """Return what followed a word at the beginning of a line."""
        return [x.removeprefix(f"{word} ") for x in self.lines if x.startswith(f"{word} ")]

    def __str__(self) -> str:
        told = [x for x in self.lines if not x.startswith(("COMMITTED ", "EVENT "))]
        return "\n".join([f"the guest ended with {self.code}", *told[-60:], self.errors[-SHOWN:]])


def boot(job: Path, command: str, *options: str, timeout_s: float = 600) -> Boot:
    """Boot a guest with ``job`` at /job, run a command as root, and pass on what it tells.

    Raises: subprocess.TimeoutExpired, when not even the laboratory's own limit held.
    """
    words: Sequence[str] = (
        str(VMLAB), "run", "-v", "--copy-in", f"{job}:/job", "--timeout", str(timeout_s), *options,
        "--", f"cd /job && PYTHONDONTWRITEBYTECODE=1 {command}",
    )  # fmt: skip
    lines: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as guest:
        assert guest.stdout is not None
        assert guest.stderr is not None
        alarm = threading.Timer(timeout_s + MARGIN_S, guest.terminate)  # it ends its guest, too
        alarm.start()
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.extend(guest.stderr or ()))
        reader.start()
        for line in guest.stdout:
            lines.append(line.rstrip("\n"))
            if not line.startswith(("FOUND ", "COMMITTED ", "EVENT ")):
                sys.stdout.write(f"  {line}")
                sys.stdout.flush()
        code = guest.wait()
        alarm.cancel()
        reader.join()
    return Boot(code, tuple(lines), "".join(errors))
