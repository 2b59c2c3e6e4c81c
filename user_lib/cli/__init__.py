"""The command ``oodida``: one module a group of commands, each with ``add_parser`` and ``run``."""

import sys
from collections.abc import Sequence

from user_lib.cli.status import INTERRUPTED

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; Ctrl-C shows no traceback while it still loads."""
    try:
        from user_lib.cli import entry  # takes long enough for a Ctrl-C to fall into it

        return entry.main(argv)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
