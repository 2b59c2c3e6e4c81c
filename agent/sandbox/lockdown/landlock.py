"""Landlock: which files a process may touch from now on, by paths; no privilege needed.

Rights that this kernel's ABI does not know are left out; `MIN_ABI` is what we insist on.
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Mapping

from agent.sandbox import linux

__all__ = ["EXECUTE_READ", "MIN_ABI", "READ", "READ_WRITE", "SCRATCH", "abi", "restrict"]

MIN_ABI = 1
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE, MAKE = (1 << 4) | (1 << 5), 0x1FC0
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
ONLY_DIRECTORIES = READ_DIR | REMOVE | MAKE | REFER
MAKE_DEVICES = (1 << 6) | (1 << 11)

READ = READ_FILE | READ_DIR
EXECUTE_READ = READ | EXECUTE
READ_WRITE = READ_FILE | WRITE_FILE | TRUNCATE
SCRATCH = READ | WRITE_FILE | TRUNCATE | REMOVE | (MAKE & ~MAKE_DEVICES) | REFER

FILE_RIGHTS_BY_ABI = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
TCP = 0b11
SCOPES = 0b11
"""Abstract unix sockets and signals stay inside."""


def abi() -> int:
    """Return the kernel's Landlock ABI; 0 without Landlock."""
    try:
        return linux.syscall("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(rules: Mapping[str, int], version: int) -> None:
    """Allow this process only what the rules allow, for good; needs no_new_privs.

    A path that does not exist is left out: there is nothing to allow.
    Raises: OSError.
    """
    handled = FILE_RIGHTS_BY_ABI[min(version, max(FILE_RIGHTS_BY_ABI))]
    attributes = struct.pack("=Q", handled)
    if version >= 4:
        attributes += struct.pack("=Q", TCP)
    if version >= 6:
        attributes += struct.pack("=Q", SCOPES)
    held = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = linux.syscall("landlock_create_ruleset", ctypes.addressof(held), len(attributes), 0)
    try:
        _add(ruleset, rules.items(), handled)
        linux.syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, rules: Iterable[tuple[str, int]], handled: int) -> None:
    for path, rights in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not os.path.isdir(path):
                rights &= ~ONLY_DIRECTORIES
            beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights & handled, fd), 12)
            linux.syscall(
                "landlock_add_rule", ruleset, RULE_PATH_BENEATH, ctypes.addressof(beneath), 0
            )
        finally:
            os.close(fd)
