"""Runs a module as a program that ends when its parent does: ``-m user_lib.demo.bound_child``.

Whoever starts a fleet on one machine may be killed; no process of the fleet may outlive it.
"""

import ctypes
import os
import runpy
import signal
import sys

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take ``PARENT_PID MODULE ARGUMENT…`` from the command line and become that module."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(f"{module}: the process that started this one is gone")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
