"""What a hostile case is: some code, and what must come of it at each level of the lock-down.

Expectations, tried in this order:
``denied``      the code met a wall: it returned "denied" (see PRELUDE) or ended with an OSError
``harmless``    it may do this, and nothing outside is touched (the suite looks at the canaries)
``killed:x``    killed or failed with reason x
``value:x``     it returned x
Several are joined by ``|``.
"""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from agent.sandbox import Outcome
from agent.sandbox.lockdown import syscalls

__all__ = ["PRELUDE", "Case", "met", "numbers"]

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

NEEDS_SCRATCH = {
    "scratch_works_and_is_small", "map_code_from_scratch", "setuid_file", "scratch_inodes",
}  # fmt: skip

PRELUDE = '''
import ctypes, errno, mmap, os, platform, signal, socket, sys, threading, time

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {numbers}

def denied(action, *args, **more):
    """Do it; "denied" if the system refuses, else what came of it."""
    try:
        return repr(action(*args, **more))
    except (OSError, RuntimeError, MemoryError) as error:
        return "denied"

def call(name, *args):
    """Make a raw system call; "denied" or the result."""
    if name not in NUMBERS:
        return "denied"
    given = [a if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in args]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *given)
    code = ctypes.get_errno() if result == -1 else 0
    if code in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ESRCH):
        return "denied"
    return [result, code]

def read(path):
    with open(path, "rb") as file:
        return file.read(100)

def custom(data, params):
'''


@dataclass(frozen=True)
class Case:
    """One attack: ``body`` is the inside of ``custom(data, params)``."""

    name: str
    body: str
    expect: str = "denied"
    degraded: str = ""
    """The expectation at level no-namespaces; empty where it is the same."""

    def expected_at(self, level: str) -> str:
        if level == "full":
            return self.expect
        return "denied" if self.name in NEEDS_SCRATCH else self.degraded or self.expect


def met(expected: str, out: Outcome) -> bool:
    """Whether an outcome is one of those expected."""
    return any(_one(e, out) for e in expected.split("|"))


def _one(expected: str, out: Outcome) -> bool:
    word, _, detail = expected.partition(":")
    if word == "denied":
        refused = ("PermissionError", "FileNotFoundError", "OSError", "BlockingIOError")
        return (out.ok and out.value == "denied") or (
            out.reason == "traceback" and any(r in out.detail for r in refused)
        )
    if word == "harmless":
        return out.ok
    if word == "killed":
        return not out.ok and out.reason == detail
    return out.ok and str(out.value) == detail


def numbers() -> dict[str, int]:
    """Every system call number that the machine's headers name, or those we know."""
    if platform.machine() == "x86_64" and HEADER.exists():
        found = re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())
        return {name: int(number) for name, number in found}
    return dict(syscalls.numbers_of(platform.machine()))
