"""Compile a policy to a seccomp filter (classic BPF, instruction by instruction) and load it.

The agent compiles, the worker loads: what a worker runs is only bytes by then. A filter begins by
killing a process that calls by another architecture's numbers (32-bit or x32 entry points).
"""

import ctypes
import errno
import struct

from agent.sandbox import linux
from agent.sandbox.lockdown import syscalls
from agent.sandbox.lockdown.policy import Any, Masked, Policy, Rule

__all__ = ["compile_filter", "load"]

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

LOAD = 0x20
JUMP_EQUAL = 0x15
JUMP_AT_LEAST = 0x35
AND = 0x54
RETURN = 0x06

NR_AT, ARCH_AT, ARGS_AT = 0, 4, 16
AUDIT_ARCH = {syscalls.X86_64: 0xC000003E, syscalls.AARCH64: 0xC00000B7}
X32_BIT = 0x40000000
SET_MODE_FILTER = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def compile_filter(policy: Policy, machine: str) -> bytes:
    """Return the filter's instructions for an architecture.

    A call that the architecture does not have is left out.
    Raises: KeyError, for an architecture without system call numbers here.
    """
    numbers = syscalls.numbers_of(machine)
    code = [
        _op(LOAD, ARCH_AT),
        _op(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _op(RETURN, KILL_PROCESS),
        _op(LOAD, NR_AT),
    ]
    if machine == syscalls.X86_64:
        code += [_op(JUMP_AT_LEAST, X32_BIT, 0, 1), _op(RETURN, KILL_PROCESS)]
    for name in sorted(policy.allowed):
        if name in numbers:
            code += [_op(JUMP_EQUAL, numbers[name], 0, 1), _op(RETURN, ALLOW)]
    for name in policy.missing:
        code += [_op(JUMP_EQUAL, numbers[name], 0, 1), _op(RETURN, ERRNO | errno.ENOSYS)]
    for name, rule in policy.checked:
        if name in numbers:
            block = _block(rule)
            code += [_op(JUMP_EQUAL, numbers[name], 0, len(block)), *block]
    code.append(_op(RETURN, ERRNO | errno.EPERM))
    return b"".join(code)


def load(compiled: bytes) -> None:
    """Put this thread and all it starts under a filter, for good; needs no_new_privs.

    Raises: OSError.
    """
    held = ctypes.create_string_buffer(compiled, len(compiled))
    program = _Program(len(compiled) // 8, ctypes.addressof(held))
    linux.syscall("seccomp", SET_MODE_FILTER, 0, ctypes.addressof(program))


def _block(rule: Rule) -> list[bytes]:
    """Return what decides a call by an argument; every kernel check used reads its low 32 bits."""
    match rule:
        case Masked(argument, mask, value, equal):
            meets, fails = ALLOW, ERRNO | errno.EPERM
            if not equal:
                meets, fails = fails, meets
            return [
                _op(LOAD, ARGS_AT + 8 * argument),
                _op(AND, mask),
                _op(JUMP_EQUAL, value, 0, 1),
                _op(RETURN, meets),
                _op(RETURN, fails),
            ]
        case Any(argument, values):
            block = [_op(LOAD, ARGS_AT + 8 * argument)]
            for value in values:
                block += [_op(JUMP_EQUAL, value, 0, 1), _op(RETURN, ALLOW)]
            return [*block, _op(RETURN, ERRNO | errno.EPERM)]


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)
